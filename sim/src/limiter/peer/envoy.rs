//! Envoy's gradient controller: a baseline measured at 3 in flight every minute, and a gradient ten times a second.

use super::{Algorithm, Sample};
use crate::engine::{MS, Nanos, SECOND};
use fastrand::Rng;

const MIN: f64 = 3.0;
/// Kept as published: nothing else holds a controller that does not ask whether its limit is used.
const MAX: f64 = 1000.0;
const BASELINE_SAMPLES: usize = 50;
const BASELINE_EVERY: Nanos = 60 * SECOND;
/// Up to this part more, at random.
const JITTER: f64 = 0.15;
const UPDATE_EVERY: Nanos = 100 * MS;
const BUFFER: f64 = 0.25;
/// So many updates in a row at the minimum ask for a new baseline.
const AT_MINIMUM: u32 = 5;

#[derive(Debug)]
pub(in crate::limiter) struct Envoy {
    limit: f64,
    /// To go back to after the baseline was measured.
    kept: f64,
    measuring: bool,
    /// Requests that began before this do not count.
    epoch: Nanos,
    baseline: f64,
    latencies: Vec<Nanos>,
    next_update: Nanos,
    next_baseline: Nanos,
    at_minimum: u32,
    rng: Rng,
}

impl Envoy {
    pub(in crate::limiter) const fn new(rng: Rng) -> Self {
        Self {
            limit: MIN,
            kept: MIN,
            measuring: true,
            epoch: 0,
            baseline: 0.0,
            latencies: Vec::new(),
            next_update: 0,
            next_baseline: Nanos::MAX,
            at_minimum: 0,
            rng,
        }
    }

    fn pass(&mut self, now: Nanos) {
        if self.measuring {
            return;
        }
        if now >= self.next_baseline {
            self.measure(now);
        } else if now >= self.next_update {
            self.next_update = now + UPDATE_EVERY;
            if let Some(median) = median(&mut self.latencies) {
                self.update(median);
            }
            if self.at_minimum >= AT_MINIMUM {
                self.measure(now);
            }
        }
    }

    fn measure(&mut self, now: Nanos) {
        self.kept = self.limit;
        self.limit = MIN;
        self.measuring = true;
        self.epoch = now;
        self.latencies.clear();
        self.at_minimum = 0;
    }

    fn update(&mut self, median: f64) {
        let gradient = (self.baseline * (1.0 + BUFFER) / median).clamp(0.5, 2.0);
        let limit = self.limit * gradient;
        self.limit = (limit + limit.sqrt()).floor().clamp(MIN, MAX);
        self.at_minimum = if self.limit > MIN {
            0
        } else {
            self.at_minimum + 1
        };
    }
}

/// Of what was collected, which begins anew.
fn median(latencies: &mut Vec<Nanos>) -> Option<f64> {
    let middle = latencies.len().checked_sub(1)? / 2;
    let median = *latencies.select_nth_unstable(middle).1 as f64;
    latencies.clear();
    Some(median)
}

impl Algorithm for Envoy {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn asked(&mut self, now: Nanos, _in_flight: u32) {
        self.pass(now);
    }

    fn sample(&mut self, sample: Sample) {
        self.pass(sample.now);
        if sample.dropped || sample.now - sample.latency < self.epoch {
            return;
        }
        self.latencies.push(sample.latency);
        if self.measuring && self.latencies.len() >= BASELINE_SAMPLES {
            self.baseline = median(&mut self.latencies).expect("there are enough");
            self.measuring = false;
            self.limit = self.kept;
            let jitter = self.rng.f64() * JITTER * BASELINE_EVERY as f64;
            self.next_baseline = sample.now + BASELINE_EVERY + jitter as Nanos;
            self.next_update = sample.now + UPDATE_EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(now: Nanos, latency: Nanos) -> Sample {
        Sample {
            now: now * MS,
            latency: latency * MS,
            in_flight: 1,
            dropped: false,
        }
    }

    #[test]
    fn steps_are_as_published() {
        let mut envoy = Envoy::new(Rng::with_seed(1));
        (0..50).for_each(|n| envoy.sample(sample(100 + n, 10)));
        assert_eq!((envoy.measuring, envoy.baseline), (false, 10e6));
        // 3 * 1.25 + sqrt(3.75) = 5.69.
        envoy.sample(sample(200, 10));
        envoy.asked(249 * MS, 1);
        assert_eq!(envoy.limit(), 5);
        // Twice the buffered baseline: 5 / 2 + sqrt(2.5) = 4.08.
        envoy.sample(sample(300, 25));
        envoy.asked(349 * MS, 1);
        assert_eq!(envoy.limit(), 4);
        // Nothing seen, nothing done.
        envoy.asked(449 * MS, 1);
        assert_eq!(envoy.limit(), 4);
    }

    #[test]
    fn a_new_baseline_is_measured_after_a_minute_and_counts_only_what_began_after() {
        let mut envoy = Envoy::new(Rng::with_seed(1));
        (0..50).for_each(|n| envoy.sample(sample(100 + n, 10)));
        envoy.limit = 40.0;
        envoy.asked(70 * SECOND, 1);
        assert_eq!((envoy.measuring, envoy.limit()), (true, 3));
        (0..50).for_each(|n| envoy.sample(sample(70_010 + n, 500)));
        assert!(envoy.measuring, "these began before");
        (0..50).for_each(|n| envoy.sample(sample(70_100 + n, 20)));
        assert_eq!(
            (envoy.measuring, envoy.baseline, envoy.limit()),
            (false, 20e6, 40)
        );
    }

    #[test]
    fn five_updates_at_the_minimum_ask_for_a_new_baseline() {
        let mut envoy = Envoy::new(Rng::with_seed(1));
        (0..50).for_each(|n| envoy.sample(sample(1100 + n, 10)));
        for n in 1..=5 {
            assert!(!envoy.measuring);
            envoy.sample(sample(1150 + n * 100 - 50, 900));
            envoy.asked((1150 + n * 100) * MS, 1);
        }
        assert!(envoy.measuring);
    }
}
