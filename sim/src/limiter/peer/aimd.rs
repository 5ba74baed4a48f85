//! AIMD, as Netflix's concurrency-limits has it: one more for each answer, a tenth less for each drop.

use super::{Algorithm, Sample};
use crate::engine::{Nanos, SECOND};

const MIN: u32 = 20;
const BACKOFF: f64 = 0.9;
const TIMEOUT: Nanos = 5 * SECOND;

#[derive(Debug)]
pub(in crate::limiter) struct Aimd {
    limit: u32,
}

impl Aimd {
    pub(in crate::limiter) const fn new(initial: u32) -> Self {
        Self { limit: initial }
    }
}

impl Algorithm for Aimd {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn sample(&mut self, sample: Sample) {
        if sample.dropped || sample.latency > TIMEOUT {
            self.limit = (f64::from(self.limit) * BACKOFF) as u32;
        } else if sample.in_flight * 2 >= self.limit {
            self.limit += 1;
        }
        self.limit = self.limit.max(MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_published() {
        let mut aimd = Aimd::new(40);
        let mut step = |latency, in_flight, dropped| {
            aimd.sample(Sample {
                now: 0,
                latency,
                in_flight,
                dropped,
            });
            aimd.limit
        };
        assert_eq!(step(1, 20, false), 41);
        assert_eq!(step(1, 20, false), 41, "hardly used");
        assert_eq!(step(1, 1, true), 36);
        assert_eq!(step(5 * SECOND + 1, 40, false), 32);
        assert_eq!(
            [
                step(1, 1, true),
                step(1, 1, true),
                step(1, 1, true),
                step(1, 1, true),
                step(1, 1, true)
            ],
            [28, 25, 22, 20, 20]
        );
    }
}
