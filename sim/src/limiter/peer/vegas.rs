//! Vegas, as Netflix's concurrency-limits has it: keep between 3 lg L and 6 lg L requests queued.

use super::window::{Closed, Window};
use super::{Algorithm, Sample};
use fastrand::Rng;

const PROBE: f64 = 30.0;

#[derive(Debug)]
pub(in crate::limiter) struct Vegas {
    limit: f64,
    baseline: f64,
    updates: f64,
    jitter: f64,
    rng: Rng,
    window: Window,
}

impl Vegas {
    pub(in crate::limiter) fn new(initial: u32, mut rng: Rng) -> Self {
        Self {
            limit: f64::from(initial),
            baseline: f64::INFINITY,
            updates: 0.0,
            jitter: jitter(&mut rng),
            rng,
            window: Window::default(),
        }
    }

    fn update(&mut self, window: Closed) {
        self.updates += 1.0;
        if self.jitter * PROBE * self.limit <= self.updates {
            self.jitter = jitter(&mut self.rng);
            self.updates = 0.0;
            self.baseline = window.latency;
            return;
        }
        if window.latency < self.baseline {
            self.baseline = window.latency;
            return;
        }
        let queue = (self.limit * (1.0 - self.baseline / window.latency)).ceil();
        let lg = self.limit.log10().floor().max(1.0);
        let next = if window.dropped {
            self.limit - lg
        } else if f64::from(window.in_flight) * 2.0 < self.limit {
            return;
        } else if queue <= lg {
            self.limit + 6.0 * lg
        } else if queue < 3.0 * lg {
            self.limit + lg
        } else if queue > 6.0 * lg {
            self.limit - lg
        } else {
            return;
        };
        self.limit = next.max(1.0);
    }
}

/// Half to one.
fn jitter(rng: &mut Rng) -> f64 {
    f64::midpoint(rng.f64(), 1.0)
}

impl Algorithm for Vegas {
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
        let mut vegas = Vegas::new(20, Rng::with_seed(1));
        let mut step = |latency: f64, in_flight, dropped| {
            vegas.update(Closed {
                latency,
                in_flight,
                dropped,
            });
            vegas.limit
        };
        assert_eq!(step(100.0, 20, false), 20.0, "the baseline");
        // No queue: 6 lg 20 more.
        assert_eq!(step(100.0, 20, false), 26.0);
        // ceil(26 (1 - 100 / 108)) = 2: one more.
        assert_eq!(step(108.0, 20, false), 27.0);
        // ceil(27 (1 - 100 / 120)) = 5, between 3 and 6.
        assert_eq!(step(120.0, 20, false), 27.0);
        // ceil(27 (1 - 100 / 140)) = 8.
        assert_eq!(step(140.0, 20, false), 26.0);
        assert_eq!(step(140.0, 12, false), 26.0, "hardly used");
        assert_eq!(step(140.0, 12, true), 25.0, "a drop counts all the same");
    }

    #[test]
    fn a_probe_takes_whatever_comes_for_the_baseline() {
        let mut vegas = Vegas::new(1, Rng::with_seed(1));
        for _ in 0..30 {
            vegas.limit = 1.0;
            vegas.update(Closed {
                latency: 100.0,
                in_flight: 1,
                dropped: false,
            });
        }
        vegas.limit = 1.0;
        vegas.updates = 30.0;
        vegas.update(Closed {
            latency: 900.0,
            in_flight: 1,
            dropped: false,
        });
        assert_eq!((vegas.baseline, vegas.limit), (900.0, 1.0));
    }
}
