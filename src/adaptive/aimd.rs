//! AIMD: one more while it goes well, a tenth less when it does not.

use crate::adaptive::limits::{factor, span};
use crate::adaptive::{LimitAlgorithm, Limits, Window};
use crate::error::ConfigError;
use std::time::Duration;

/// Additive increase, multiplicative decrease: for backends that say no.
///
/// | window | next limit |
/// |---|---|
/// | more than 2 % overloads, or a mean latency above the bound | `L * 0.9` |
/// | less than half of the ceiling used | L |
/// | before the first decrease (slow start) | `L * 1.5` |
/// | else | `L + 1` |
///
/// Knows no baseline, so nothing can poison it; finds a queue only when the backend refuses, times out, or is slower
/// than [`Self::with_latency_bound`]. Source: Netflix concurrency-limits, `AIMDLimit`; slow start as TCP (RFC 5681
/// 3.1).
///
/// # Defaults
/// [`Limits::default`], back-off 0.9, latency bound 5 s.
#[derive(Clone, Debug, PartialEq)]
pub struct Aimd {
    limits: Limits,
    limit: u32,
    backoff: f64,
    latency_bound: Duration,
    slow_start: bool,
}

impl Aimd {
    /// A limit within `limits`.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit: limits.initial(),
            backoff: 0.9,
            latency_bound: Duration::from_secs(5),
            slow_start: true,
        }
    }

    /// What is left of the limit after overload, from 0.1 to 0.99: lower reacts harder and wastes more. 0.5 is TCP's.
    ///
    /// # Errors
    /// [`ConfigError::Factor`] outside of that range.
    pub fn with_backoff(mut self, backoff: f64) -> Result<Self, ConfigError> {
        self.backoff = factor("the back-off", backoff, 0.1, 0.99)?;
        Ok(self)
    }

    /// A mean latency above this counts as overload: about what your callers are willing to wait.
    ///
    /// # Errors
    /// [`ConfigError::Span`] unless it is from a microsecond to an hour.
    pub fn with_latency_bound(mut self, bound: Duration) -> Result<Self, ConfigError> {
        let (least, most) = (Duration::from_micros(1), Duration::from_secs(3600));
        self.latency_bound = span("the latency bound", bound, least, most)?;
        Ok(self)
    }
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl LimitAlgorithm for Aimd {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn update(&mut self, window: &Window) -> u32 {
        let limit = f64::from(self.limit);
        let next = if window.is_overloaded() || window.mean_rtt > self.latency_bound {
            self.slow_start = false;
            (limit * self.backoff).floor()
        } else if window.is_idle() || window.successes == 0 {
            limit
        } else if self.slow_start {
            (limit * 1.5).ceil()
        } else {
            limit + 1.0
        };
        self.limit = self.limits.clamp(next) as u32;
        self.limit
    }

    fn begin_at(&mut self, limit: u32) {
        self.limit = self.limits.clamp(f64::from(limit)) as u32;
        self.slow_start = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(limit: u32) -> Window {
        Window::new(100, Duration::from_millis(20)).with_in_flight(limit, limit)
    }

    #[test]
    fn steps_of_the_published_formula() {
        let mut aimd = Aimd::new(Limits::new(5, 100, 120).unwrap());
        let drops = full(100).with_overloads(10);
        assert_eq!(aimd.update(&drops), 90);
        assert_eq!(aimd.update(&full(90)), 91);
        assert_eq!(aimd.update(&full(91).with_in_flight(45, 91)), 91);
        assert_eq!(aimd.update(&drops), 81);
        let slow = Window::new(100, Duration::from_secs(6)).with_in_flight(81, 81);
        assert_eq!(aimd.update(&slow), 72);
        for _ in 0..100 {
            aimd.update(&drops);
        }
        assert_eq!(aimd.limit(), 5);
        for _ in 0..200 {
            aimd.update(&full(120));
        }
        assert_eq!(aimd.limit(), 120);
    }

    #[test]
    fn it_starts_fast_until_the_first_decrease() {
        let mut aimd = Aimd::default();
        assert_eq!(aimd.update(&full(20)), 30);
        assert_eq!(aimd.update(&full(30)), 45);
        assert_eq!(aimd.update(&full(45).with_overloads(50)), 40);
        assert_eq!(aimd.update(&full(40)), 41);
    }

    #[test]
    fn one_refusal_in_a_hundred_is_noise() {
        let mut aimd = Aimd::new(Limits::new(1, 20, 20).unwrap());
        assert_eq!(aimd.update(&full(20).with_overloads(1)), 20);
    }

    #[test]
    fn contradictions_are_refused() {
        for backoff in [f64::NAN, 0.0, 1.0, -1.0, f64::INFINITY] {
            assert!(Aimd::default().with_backoff(backoff).is_err());
        }
        assert!(Aimd::default().with_latency_bound(Duration::ZERO).is_err());
    }
}
