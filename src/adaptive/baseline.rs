//! The latency of an unloaded backend, as a minimum of means.

use crate::adaptive::Window;
use crate::adaptive::pool::Pool;

/// The lowest mean latency seen, over batches of at least [`BATCH`] samples.
///
/// A minimum of noisy means is biased low, and a limit that compares with it stalls below the capacity ("noise alone
/// looks like a queue"). So each mean stands for its upper confidence bound, `mean * (1 + 2 * variation / sqrt(n))`,
/// and the lowest *bound* counts: a small lucky batch says less than a large one.
///
/// It rises by two ways alone: an accepted probe, and idle traffic. Batches of idle windows fill two generations of
/// [`GENERATION`] batches; the older one is forgotten. Windows under load only ever lower it, so that a standing
/// queue cannot become the baseline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Baseline {
    variation: f64,
    batch: Pool,
    /// Lowest bound of this generation and of the one before, in nanoseconds.
    recent: f64,
    previous: f64,
    idle_batches: u32,
}

/// How many samples say something: a mean of fewer is off by more than a tenth.
const BATCH: u64 = 100;
/// Idle batches after which older ones are forgotten.
const GENERATION: u32 = 64;
/// A bound is at most this far above its mean, however few the samples.
const MAX_ALLOWANCE: f64 = 0.5;

impl Baseline {
    pub(super) const fn new(variation: f64) -> Self {
        Self {
            variation,
            batch: Pool::EMPTY,
            recent: f64::INFINITY,
            previous: f64::INFINITY,
            idle_batches: 0,
        }
    }

    /// The baseline in nanoseconds, once there is one.
    pub(super) fn nanos(&self) -> Option<f64> {
        let lowest = self.recent.min(self.previous);
        lowest.is_finite().then_some(lowest)
    }

    /// Takes in a window without overload.
    pub(super) fn see(&mut self, window: &Window) {
        self.batch.add(window);
        let bound = self.bound(&self.batch);
        if self.batch.samples() < BATCH {
            // Better than nothing, and no better than that.
            if self.nanos().is_none() {
                self.recent = bound.unwrap_or(f64::INFINITY);
            }
            return;
        }
        let Some(bound) = bound else { return };
        self.batch = Pool::EMPTY;
        self.recent = self.recent.min(bound);
        if window.is_idle() {
            self.idle_batches += 1;
            if self.idle_batches >= GENERATION {
                self.idle_batches = 0;
                self.previous = self.recent;
                self.recent = bound;
            }
        }
    }

    /// A probe has measured the backend without a queue.
    pub(super) fn learn(&mut self, probed: &Pool) {
        if let Some(bound) = self.bound(probed) {
            self.batch = Pool::EMPTY;
            self.recent = bound;
            self.previous = f64::INFINITY;
            self.idle_batches = 0;
        }
    }

    fn bound(&self, pool: &Pool) -> Option<f64> {
        let allowance = 2.0 * self.variation / (pool.samples().max(1) as f64).sqrt();
        Some(pool.mean_nanos()? * (1.0 + allowance.min(MAX_ALLOWANCE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn busy(samples: u64, ms: u64) -> Window {
        Window::new(samples, Duration::from_millis(ms)).with_in_flight(10, 10)
    }

    fn idle(samples: u64, ms: u64) -> Window {
        busy(samples, ms).with_in_flight(1, 10)
    }

    #[test]
    fn it_is_the_lowest_mean_under_load() {
        let mut baseline = Baseline::new(0.0);
        assert_eq!(baseline.nanos(), None);
        for ms in [20, 30, 15, 40, 40, 40] {
            baseline.see(&busy(100, ms));
        }
        assert_eq!(baseline.nanos(), Some(15e6));
    }

    #[test]
    fn a_few_lucky_samples_are_averaged_with_their_batch() {
        let mut baseline = Baseline::new(0.0);
        baseline.see(&busy(1000, 20));
        baseline.see(&busy(10, 1));
        assert_eq!(baseline.nanos(), Some(20e6));
        baseline.see(&busy(90, 30));
        // (10 * 1 + 90 * 30) / 100 = 27.1
        assert_eq!(baseline.nanos(), Some(20e6));
    }

    #[test]
    fn a_large_batch_beats_a_slightly_luckier_small_one() {
        let mut baseline = Baseline::new(1.0);
        baseline.see(&busy(100, 20)); // bound 20 * 1.2
        baseline.see(&busy(10_000, 22)); // bound 22 * 1.02
        assert_eq!(baseline.nanos(), Some(22e6 * 1.02));
    }

    #[test]
    fn idle_traffic_forgets_a_backend_that_is_no_more() {
        let mut baseline = Baseline::new(0.0);
        baseline.see(&idle(100, 20));
        for _ in 0..127 {
            baseline.see(&idle(100, 40));
        }
        assert_eq!(baseline.nanos(), Some(40e6));
        for _ in 0..1000 {
            baseline.see(&busy(100, 90));
        }
        assert_eq!(baseline.nanos(), Some(40e6), "load never raises it");
    }
}
