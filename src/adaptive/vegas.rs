//! Vegas: the limit that keeps a few requests queued.

use crate::adaptive::baseline::Baseline;
use crate::adaptive::limits::factor;
use crate::adaptive::probe::{Probe, Step};
use crate::adaptive::{LimitAlgorithm, Limits, Window};
use crate::error::ConfigError;
use std::time::Duration;

/// Estimates the queue from latency, `q = ceil(L * (1 - R0 / R))`, and keeps it between 3 and 6 times `log10 L`.
///
/// L is the limit, R the mean latency of a window and R0 the baseline: the lowest mean of at least 100 samples. With
/// `lg = max(1, floor(log10 L))`:
///
/// | window | next limit |
/// |---|---|
/// | more than 2 % overloads | `L - max(lg, L / 10)` |
/// | less than half of the ceiling used | L |
/// | `q <= lg` | `L + 6 lg` |
/// | `q < 3 lg` | `L + lg` |
/// | `q > 6 lg` | `L - lg` |
/// | else | L |
///
/// Source: Netflix concurrency-limits, `VegasLimit`. Other than there: the baseline is a minimum of means with an
/// allowance for their noise, never of single samples; it is learnt anew from a dip of the limit instead of from
/// whatever sample comes along; overload cuts a tenth, so that a limit of 1000 comes down in seconds.
///
/// # Defaults
/// [`Limits::default`], variation 1, a probe in 240 windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Vegas {
    limits: Limits,
    limit: u32,
    baseline: Baseline,
    probe: Probe,
}

impl Vegas {
    /// A limit within `limits`.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit: limits.initial(),
            baseline: Baseline::new(1.0),
            probe: Probe::new(240),
        }
    }

    /// The coefficient of variation of a single request's latency (standard deviation / mean), from 0 to 10: how far
    /// the mean of a window may be off by chance. 1 suits most backends; raise it where latencies are heavy-tailed
    /// and the limit stalls below the capacity; 0 is the published formula.
    ///
    /// # Errors
    /// [`ConfigError::Factor`] outside of that range.
    pub fn with_variation(mut self, variation: f64) -> Result<Self, ConfigError> {
        self.baseline = Baseline::new(factor("the variation of latencies", variation, 0.0, 10.0)?);
        Ok(self)
    }

    /// Dips the limit to 7/10 for three windows after each `windows` windows under load, to look at the latency
    /// without a queue; 0 never does, and a baseline that has moved is then only found again by idle traffic.
    #[must_use]
    pub const fn with_probe_every(mut self, windows: u32) -> Self {
        self.probe = Probe::new(windows);
        self
    }

    fn decide(&self, window: &Window) -> f64 {
        let limit = f64::from(self.limit);
        let lg = limit.log10().floor().max(1.0);
        if window.is_overloaded() {
            return limit - lg.max((limit / 10.0).floor());
        }
        let (Some(unloaded), false) = (self.baseline.nanos(), window.mean_rtt.is_zero()) else {
            return limit;
        };
        if window.is_idle() {
            return limit;
        }
        let queue = (limit * (1.0 - unloaded / window.mean_rtt.as_nanos() as f64)).ceil();
        if queue <= lg {
            limit + 6.0 * lg
        } else if queue < 3.0 * lg {
            limit + lg
        } else if queue > 6.0 * lg {
            limit - lg
        } else {
            limit
        }
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl LimitAlgorithm for Vegas {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn baseline(&self) -> Option<Duration> {
        // A float's conversion saturates.
        self.baseline
            .nanos()
            .map(|nanos| Duration::from_nanos(nanos as u64))
    }

    fn update(&mut self, window: &Window) -> u32 {
        let step = self.probe.step(window, f64::from(self.limit), &self.limits);
        let next = match step {
            Step::Hold(limit) => limit,
            Step::Learn { limit, unloaded } => {
                self.baseline.learn(&unloaded);
                limit
            }
            Step::Decide => {
                if !window.is_overloaded() {
                    self.baseline.see(window);
                }
                self.decide(window)
            }
        };
        self.limit = self.limits.clamp(next) as u32;
        self.limit
    }

    fn begin_at(&mut self, limit: u32) {
        self.limit = self.limits.clamp(f64::from(limit)) as u32;
        self.probe.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The published formula, with a baseline of 20 ms.
    fn at(limit: u32) -> Vegas {
        let limits = Limits::new(1, limit, 1000).unwrap();
        let mut vegas = Vegas::new(limits)
            .with_variation(0.0)
            .unwrap()
            .with_probe_every(0);
        vegas
            .baseline
            .see(&Window::new(1000, Duration::from_millis(20)));
        vegas
    }

    fn full(limit: u32, us: u64) -> Window {
        Window::new(1000, Duration::from_micros(us)).with_in_flight(limit, limit)
    }

    #[test]
    fn steps_of_the_published_formula() {
        // (limit, latency in us, next limit); q = ceil(L * (1 - 20000 / R))
        for (limit, us, next) in [
            (20, 20_000, 26),   // q = 0 <= 1
            (20, 21_000, 26),   // q = ceil(0.95) = 1 <= 1
            (20, 22_000, 21),   // q = ceil(1.82) = 2 < 3
            (20, 23_000, 20),   // q = ceil(2.61) = 3
            (20, 28_000, 20),   // q = ceil(5.71) = 6
            (20, 29_000, 19),   // q = ceil(6.21) = 7 > 6
            (100, 20_000, 112), // lg 2
            (100, 20_700, 102), // q = ceil(3.38) = 4 < 6
            (100, 22_000, 100), // q = ceil(9.09) = 10
            (100, 23_000, 98),  // q = ceil(13.04) = 14 > 12
            (999, 20_000, 1000),
            (1, 400_000, 7), // q = 1 <= 1: a single slot always looks unqueued
        ] {
            assert_eq!(
                at(limit).update(&full(limit, us)),
                next,
                "{limit} at {us} us"
            );
        }
    }

    #[test]
    fn overload_cuts_a_tenth_and_at_least_one() {
        let drops = |limit| full(limit, 20_000).with_overloads(21);
        assert_eq!(at(100).update(&drops(100)), 90);
        assert_eq!(at(5).update(&drops(5)), 4);
        assert_eq!(at(1).update(&drops(1)), 1);
    }

    #[test]
    fn half_used_holds_and_overload_still_cuts() {
        let idle = full(100, 90_000).with_in_flight(49, 100);
        assert_eq!(at(100).update(&idle), 100);
        assert_eq!(at(100).update(&idle.with_overloads(500)), 90);
    }

    #[test]
    fn utilisation_is_judged_against_the_ceiling_in_force() {
        // A share of 10 of an estimate of 40, fully used.
        let window = full(40, 20_000).with_in_flight(10, 10);
        assert_eq!(at(40).update(&window), 46);
    }

    #[test]
    fn overload_never_enters_the_baseline() {
        let mut vegas = at(20);
        vegas.update(&full(20, 1).with_overloads(1000));
        assert_eq!(vegas.baseline.nanos(), Some(20e6));
    }

    #[test]
    fn a_variation_that_is_not_a_number_is_refused() {
        for variation in [f64::NAN, -1.0, f64::INFINITY] {
            assert!(Vegas::default().with_variation(variation).is_err());
        }
    }
}
