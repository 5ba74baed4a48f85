//! Samples of several windows, pooled.

use crate::adaptive::Window;

/// Number and sum of latencies, and the most in flight.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Pool {
    windows: u32,
    samples: u64,
    sum_nanos: u128,
    peak_in_flight: u32,
}

impl Pool {
    pub(super) const EMPTY: Self = Self {
        windows: 0,
        samples: 0,
        sum_nanos: 0,
        peak_in_flight: 0,
    };

    pub(super) const fn samples(&self) -> u64 {
        self.samples
    }

    pub(super) const fn windows(&self) -> u32 {
        self.windows
    }

    pub(super) fn peak_in_flight(&self) -> f64 {
        f64::from(self.peak_in_flight)
    }

    /// Adds a window; one without latency adds nothing but its peak.
    pub(super) fn add(&mut self, window: &Window) {
        self.windows = self.windows.saturating_add(1);
        self.peak_in_flight = self.peak_in_flight.max(window.peak_in_flight);
        if !window.mean_rtt.is_zero() {
            let sum = window
                .mean_rtt
                .as_nanos()
                .saturating_mul(u128::from(window.successes));
            self.samples = self.samples.saturating_add(window.successes);
            self.sum_nanos = self.sum_nanos.saturating_add(sum);
        }
    }

    /// The mean latency, if there is any.
    pub(super) fn mean_nanos(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum_nanos as f64 / self.samples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_mean_is_weighted_by_samples() {
        let mut pool = Pool::EMPTY;
        pool.add(&Window::new(1, Duration::from_millis(10)).with_in_flight(3, 9));
        pool.add(&Window::new(3, Duration::from_millis(50)).with_in_flight(2, 9));
        pool.add(&Window::new(0, Duration::ZERO));
        assert_eq!(pool.mean_nanos(), Some(40e6));
        assert_eq!(
            (pool.samples(), pool.windows(), pool.peak_in_flight()),
            (4, 3, 3.0)
        );
    }

    #[test]
    fn absurd_sums_saturate() {
        let mut pool = Pool::EMPTY;
        for _ in 0..3 {
            pool.add(&Window::new(u64::MAX, Duration::MAX));
        }
        assert!(pool.mean_nanos().is_some_and(f64::is_finite));
        assert_eq!(Pool::EMPTY.mean_nanos(), None);
    }
}
