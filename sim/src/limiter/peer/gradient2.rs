//! Gradient2, as Netflix's concurrency-limits has it: follow the ratio of long-term to present latency.

use super::window::{Closed, Window};
use super::{Algorithm, Sample};

/// As published.
const MIN: u32 = 20;
const QUEUE: f64 = 4.0;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
/// Of the long-term mean, in windows.
const SPAN: f64 = 600.0;
/// So many windows are averaged before the mean begins to forget.
const WARM_UP: u32 = 10;

#[derive(Debug)]
pub(in crate::limiter) struct Gradient2 {
    limit: f64,
    min: u32,
    long: f64,
    sum: f64,
    count: u32,
    window: Window,
}

impl Gradient2 {
    pub(in crate::limiter) fn new(initial: u32) -> Self {
        Self {
            limit: f64::from(initial),
            min: MIN,
            long: 0.0,
            sum: 0.0,
            count: 0,
            window: Window::default(),
        }
    }

    /// With another lower bound.
    pub(super) const fn at_least(self, min: u32) -> Self {
        Self { min, ..self }
    }

    fn update(&mut self, window: Closed) {
        let short = window.latency;
        if self.count < WARM_UP {
            self.count += 1;
            self.sum += short;
            self.long = self.sum / f64::from(self.count);
        } else {
            let factor = 2.0 / (SPAN + 1.0);
            self.long = self.long * (1.0 - factor) + short * factor;
        }
        if self.long / short > 2.0 {
            self.long *= 0.95;
        }
        if f64::from(window.in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long / short).clamp(0.5, 1.0);
        let next = self.limit * gradient + QUEUE;
        self.limit = (self.limit * (1.0 - SMOOTHING) + next * SMOOTHING).max(f64::from(self.min));
    }
}

impl Algorithm for Gradient2 {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn sample(&mut self, sample: Sample) {
        if let Some(window) = self.window.add(sample) {
            self.update(window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_published() {
        let mut gradient = Gradient2::new(50);
        let mut step = |latency: f64, in_flight| {
            gradient.update(Closed {
                latency,
                in_flight,
                dropped: true,
            });
            (gradient.limit * 1000.0).round() / 1000.0
        };
        // Drops are ignored. Gradient 1: 50 * .8 + 54 * .2.
        assert_eq!(step(100.0, 50), 50.8);
        assert_eq!(step(100.0, 25), 50.8, "hardly used");
        // Long (100 + 100 + 700) / 3 = 300; gradient 1.5 * 300 / 700 = .643: 50.8 (.8 + .2 * .643) + .8.
        assert_eq!(step(700.0, 50), 47.971);
        // Long (300 * 3 + 50) / 4 = 237.5, more than twice 50, so 225.625; gradient 1.
        assert_eq!(step(50.0, 50), 48.771);
        assert_eq!(gradient.long, 225.625);
    }
}
