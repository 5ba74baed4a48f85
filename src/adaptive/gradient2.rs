//! Gradient2: the limit that follows the ratio of long-term to present latency.

use crate::adaptive::limits::factor;
use crate::adaptive::probe::{Probe, Step};
use crate::adaptive::{LimitAlgorithm, Limits, Window};
use crate::error::ConfigError;
use std::time::Duration;

/// Compares the latency of a window with a long-term average and shrinks in proportion.
///
/// With L the limit, R the mean latency of a window and `long` its average over about 600 windows:
///
/// ```text
/// gradient = clamp(tolerance * long / R, 0.5, 1)
/// L        = (1 - smoothing) * L + smoothing * (gradient * L + 4)
/// ```
///
/// Source: Netflix concurrency-limits, `Gradient2Limit`. Other than there:
/// * Overloads count: a window with more than 2 % of them makes `L * 0.9` and teaches nothing.
/// * `long` is not learnt from windows that are overloaded, idle, or slower than `sqrt(tolerance) * long`: else it
///   follows the queue it should detect, and the limit drifts up for ever.
/// * A dip of the limit now and then measures the latency without a queue and replaces `long`.
/// * While latency shows no queue for three windows the limit grows by a quarter a window (slow start).
///
/// With tolerance t it settles at about t times the backend's capacity, the price of telling noise from load without
/// a minimum. [`Vegas`](crate::adaptive::Vegas) queues less.
///
/// # Defaults
/// [`Limits::default`], tolerance 1.5, smoothing 0.2, a probe in 240 windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient2 {
    limits: Limits,
    limit: f64,
    tolerance: f64,
    smoothing: f64,
    long: Long,
    /// Windows in a row without a sign of a queue.
    clear: u32,
    probe: Probe,
}

/// The slots that may queue.
const QUEUE: f64 = 4.0;
/// What an overloaded window leaves of the limit.
const BACKOFF: f64 = 0.9;
/// Growth while there is no sign of a queue, and after how many windows.
const FAST: f64 = 1.25;
const CLEAR: u32 = 3;

impl Gradient2 {
    /// A limit within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit: f64::from(limits.initial()),
            tolerance: 1.5,
            smoothing: 0.2,
            long: Long::default(),
            clear: CLEAR,
            probe: Probe::new(240),
        }
    }

    /// How many times the long-term latency is still fine, from 1 to 10. Raise it where latencies vary by themselves
    /// and the limit is too low; lower it for less queueing.
    ///
    /// # Errors
    /// [`ConfigError::Factor`] outside of that range.
    pub fn with_tolerance(mut self, tolerance: f64) -> Result<Self, ConfigError> {
        self.tolerance = factor("the tolerance", tolerance, 1.0, 10.0)?;
        Ok(self)
    }

    /// How much a single window counts, from 0.01 to 1: higher reacts faster and jitters more.
    ///
    /// # Errors
    /// [`ConfigError::Factor`] outside of that range.
    pub fn with_smoothing(mut self, smoothing: f64) -> Result<Self, ConfigError> {
        self.smoothing = factor("the smoothing", smoothing, 0.01, 1.0)?;
        Ok(self)
    }

    /// Dips the limit to 7/10 for three windows after each `windows` windows under load, to look at the latency
    /// without a queue; 0 never does, and a limit that started too high then never comes down.
    #[must_use]
    pub const fn with_probe_every(mut self, windows: u32) -> Self {
        self.probe = Probe::new(windows);
        self
    }

    fn decide(&mut self, window: &Window) -> f64 {
        if window.is_overloaded() {
            self.clear = 0;
            return self.limit * BACKOFF;
        }
        if window.is_idle() || window.mean_rtt.is_zero() {
            return self.limit;
        }
        let rtt = window.mean_rtt.as_nanos() as f64;
        let long = self.long.see(rtt, self.tolerance);
        let gradient = (self.tolerance * long / rtt).clamp(0.5, 1.0);
        let fast = self.clear >= CLEAR;
        self.clear = if is_clear(rtt, long, self.tolerance) {
            self.clear.saturating_add(1)
        } else {
            0
        };
        if fast && self.clear > 0 {
            return self.limit * FAST + QUEUE;
        }
        self.limit + self.smoothing * (gradient * self.limit + QUEUE - self.limit)
    }
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl LimitAlgorithm for Gradient2 {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn baseline(&self) -> Option<Duration> {
        // A float's conversion saturates.
        (self.long.windows > 0).then(|| Duration::from_nanos(self.long.nanos as u64))
    }

    fn update(&mut self, window: &Window) -> u32 {
        let next = match self.probe.step(window, self.limit, &self.limits) {
            Step::Hold(limit) => limit,
            Step::Learn { limit, unloaded } => {
                self.long.learn(unloaded.mean_nanos());
                limit
            }
            Step::Decide => self.decide(window),
        };
        self.limit = self.limits.clamp(next);
        self.limit()
    }

    fn begin_at(&mut self, limit: u32) {
        self.limit = self.limits.clamp(f64::from(limit));
        self.clear = 0;
        self.probe.begin();
    }
}

fn is_clear(rtt: f64, long: f64, tolerance: f64) -> bool {
    rtt <= tolerance.sqrt() * long
}

/// The long-term latency: an arithmetic mean of the first ten windows, then exponential.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Long {
    nanos: f64,
    windows: u32,
}

/// As `2 / (600 + 1)`: the published window of 600.
const FACTOR: f64 = 2.0 / 601.0;
const WARM_UP: u32 = 10;

impl Long {
    /// Takes in a window; answers the average to compare with.
    fn see(&mut self, rtt: f64, tolerance: f64) -> f64 {
        if self.windows == 0 {
            self.learn(Some(rtt));
            return rtt;
        }
        if is_clear(rtt, self.nanos, tolerance) {
            self.windows = self.windows.saturating_add(1);
            let factor = if self.windows <= WARM_UP {
                1.0 / f64::from(self.windows)
            } else {
                FACTOR
            };
            self.nanos += factor * (rtt - self.nanos);
        }
        // Recovering from a long slow time takes too long otherwise (as published).
        if self.nanos > 2.0 * rtt {
            self.nanos *= 0.95;
        }
        self.nanos
    }

    fn learn(&mut self, nanos: Option<f64>) {
        if let Some(nanos) = nanos {
            *self = Self { nanos, windows: 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The published formula, with a long-term latency of 20 ms of many windows.
    fn at(limit: u32) -> Gradient2 {
        let mut gradient = Gradient2::new(Limits::new(1, limit, 1000).unwrap()).with_probe_every(0);
        gradient.long = Long {
            nanos: 20e6,
            windows: 600,
        };
        gradient.clear = 0;
        gradient
    }

    fn full(limit: u32, us: u64) -> Window {
        Window::new(1000, Duration::from_micros(us)).with_in_flight(limit, limit)
    }

    #[test]
    fn steps_of_the_published_formula() {
        // (latency in us, next limit of 100); long stays 20 ms above sqrt(1.5) * 20 = 24.49 ms
        for (us, next) in [
            (30_000, 100.8), // gradient 1: .8 * 100 + .2 * 104
            (25_000, 100.8), // tolerance 1.5 forgives
            (40_000, 95.8),  // gradient .75: .8 * 100 + .2 * 79
            (60_000, 90.8),  // gradient .5: .8 * 100 + .2 * 54
            (900_000, 90.8), // no less than .5
        ] {
            let mut gradient = at(100);
            gradient.update(&full(100, us));
            assert!(
                (gradient.limit - next).abs() < 1e-9,
                "{us}: {}",
                gradient.limit
            );
            assert_eq!(gradient.long.nanos, 20e6);
        }
    }

    #[test]
    fn the_long_term_latency_is_the_published_average() {
        let mut long = Long::default();
        for (rtt, mean) in [(20.0, 20.0), (22.0, 21.0), (24.0, 22.0)] {
            assert!((long.see(rtt, 1.5) - mean).abs() < 1e-9);
        }
        let mut long = Long {
            nanos: 20e6,
            windows: 600,
        };
        assert!((long.see(23.005e6, 1.5) - 20.01e6).abs() < 1e-3); // 20 + 3.005 * 2 / 601
        let mut long = Long {
            nanos: 50e6,
            windows: 600,
        };
        let expected = (50e6 - 30e6 * 2.0 / 601.0) * 0.95;
        assert!((long.see(20e6, 1.5) - expected).abs() < 1e-3);
    }

    #[test]
    fn overload_cuts_a_tenth_and_idle_holds_and_neither_teaches() {
        let mut gradient = at(100);
        assert_eq!(gradient.update(&full(100, 1_000).with_overloads(100)), 90);
        assert_eq!(
            gradient.update(&full(90, 22_000).with_in_flight(44, 90)),
            90
        );
        assert_eq!(gradient.long.nanos, 20e6);
    }

    #[test]
    fn a_standing_queue_never_becomes_the_long_term_latency() {
        let mut gradient = at(100);
        for _ in 0..100_000 {
            let limit = gradient.limit();
            gradient.update(&full(limit, 29_000));
        }
        assert_eq!(gradient.long.nanos, 20e6);
    }

    #[test]
    fn it_grows_fast_while_there_is_no_sign_of_a_queue() {
        let mut gradient = Gradient2::default().with_probe_every(0);
        let limits: Vec<u32> = (0..3)
            .map(|_| gradient.update(&full(gradient.limit(), 20_000)))
            .collect();
        assert_eq!(limits, [29, 40, 54]); // 20 * 1.25 + 4 = 29, 40.25, 54.31
    }

    /// Beside a fleet a limit grows as long as the share is all in use, wherever that leads.
    #[test]
    fn it_goes_on_from_what_was_dealt_with_the_latency_that_it_knows_and_no_dip_on_its_mind() {
        let mut gradient = Gradient2::default().with_probe_every(240);
        for _ in 0..40 {
            gradient.update(&full(13, 20_000));
        }
        assert!(gradient.limit() > 500, "{gradient:?}");
        let known = gradient.baseline();
        gradient.begin_at(13);
        assert_eq!((gradient.limit(), gradient.baseline()), (13, known));
        for _ in 0..20 {
            // Thrice the latency: a queue. A dip of before would go back up to where it began.
            let limit = gradient.update(&full(13, 60_000));
            assert!(limit <= 13, "{limit}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for value in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert!(Gradient2::default().with_tolerance(value).is_err());
            assert!(Gradient2::default().with_smoothing(value).is_err());
        }
        assert!(Gradient2::default().with_tolerance(1.0).is_ok());
    }
}
