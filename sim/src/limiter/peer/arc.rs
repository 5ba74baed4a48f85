//! Vector's adaptive request concurrency (ARC): one more a round trip while latency does not rise.

use super::{Algorithm, Sample};
use crate::engine::Nanos;

const ALPHA: f64 = 0.4;
const DECREASE: f64 = 0.9;
/// So many standard deviations above the mean are a rise.
const DEVIATIONS: f64 = 2.5;

#[derive(Debug)]
pub(in crate::limiter) struct Arc {
    limit: u32,
    /// Exponentially weighted, of the means of intervals: mean and variance.
    past: Option<(f64, f64)>,
    sum: f64,
    count: u32,
    reached_limit: bool,
    back_pressure: bool,
    next_update: Nanos,
}

impl Arc {
    pub(in crate::limiter) const fn new(initial: u32) -> Self {
        Self {
            limit: initial,
            past: None,
            sum: 0.0,
            count: 0,
            reached_limit: false,
            back_pressure: false,
            next_update: 0,
        }
    }

    fn update(&mut self, now: Nanos) {
        let current = (self.count > 0).then(|| self.sum / f64::from(self.count));
        match (self.past, current) {
            (None, Some(current)) => self.past = Some((current, 0.0)),
            (None, None) => {}
            (Some((mean, variance)), current) => {
                let at = current.unwrap_or(mean);
                let threshold = mean + DEVIATIONS * variance.sqrt();
                if self.reached_limit && !self.back_pressure && at <= mean {
                    self.limit += 1;
                } else if self.back_pressure || at >= threshold {
                    self.limit = ((f64::from(self.limit) * DECREASE) as u32).max(1);
                }
                let difference = at - mean;
                let increment = ALPHA * difference;
                let spread = (1.0 - ALPHA) * (variance + difference * increment);
                self.past = Some((mean + increment, spread));
            }
        }
        let length = self.past.map_or(0.0, |(mean, _)| mean);
        self.next_update = now + length as Nanos;
        (self.sum, self.count) = (0.0, 0);
        (self.reached_limit, self.back_pressure) = (false, false);
    }
}

impl Algorithm for Arc {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn asked(&mut self, _now: Nanos, in_flight: u32) {
        // Also who takes the last slot has reached the limit.
        self.reached_limit |= in_flight + 1 >= self.limit;
    }

    fn sample(&mut self, sample: Sample) {
        if sample.dropped {
            self.back_pressure = true;
        } else {
            self.sum += sample.latency as f64;
            self.count += 1;
        }
        if sample.now >= self.next_update {
            self.update(sample.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_published() {
        let mut arc = Arc::new(10);
        let mut step = |now, latency, in_flight, dropped| {
            arc.asked(now, in_flight);
            arc.sample(Sample {
                now,
                latency,
                in_flight,
                dropped,
            });
            (arc.limit, arc.next_update)
        };
        assert_eq!(step(1000, 100, 9, false), (10, 1100), "the first mean");
        assert_eq!(step(1050, 100, 9, false), (10, 1100), "not yet");
        assert_eq!(step(1100, 100, 9, false), (11, 1200));
        assert_eq!(
            step(1200, 100, 3, false),
            (9, 1300),
            "without variance, as much as before is too much"
        );
        // 100 + .4 * 50; variance .6 * 50 * 20 = 600.
        assert_eq!(step(1300, 150, 9, false), (8, 1420));
        // Below 120 + 2.5 * 24.5 and above 120: hold. 120 + .4 * 30.
        assert_eq!(step(1420, 150, 7, false), (8, 1552));
        assert_eq!(step(1552, 1, 7, true), (7, 1684), "back-pressure");
    }
}
