//! A window of samples, and the step from its sums to an algorithm's new limit.

use crate::adaptive::limits::span;
use crate::error::ConfigError;
use crate::permit::Totals;
use std::fmt;
use std::time::Duration;

/// What was seen during one window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Window {
    /// Requests served.
    pub successes: u64,
    /// Mean latency of those; zero if there were none.
    pub mean_rtt: Duration,
    /// Requests the backend refused or let time out.
    pub overloads: u64,
    /// The most in flight at one instant.
    pub peak_in_flight: u32,
    /// The ceiling in force when the window closed: what utilisation is judged against.
    pub ceiling: u32,
}

impl Window {
    /// A window of `successes` requests with a mean latency of `mean_rtt`, and nothing else: to be completed by the
    /// `with_` methods. For tests and simulations of algorithms.
    #[must_use]
    pub const fn new(successes: u64, mean_rtt: Duration) -> Self {
        Self {
            successes,
            mean_rtt,
            overloads: 0,
            peak_in_flight: 0,
            ceiling: 0,
        }
    }

    /// The same with so many requests that the backend refused or let time out.
    #[must_use]
    pub const fn with_overloads(mut self, overloads: u64) -> Self {
        self.overloads = overloads;
        self
    }

    /// The same with at most `peak` in flight, under a ceiling of `ceiling`.
    #[must_use]
    pub const fn with_in_flight(mut self, peak: u32, ceiling: u32) -> Self {
        self.peak_in_flight = peak;
        self.ceiling = ceiling;
        self
    }

    /// Whether less than half of the ceiling was ever used, or there was none to use: there is nothing to learn about
    /// a higher limit.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.ceiling == 0 || 2 * (self.peak_in_flight as u64) < self.ceiling as u64
    }

    /// Whether more than 2 % of the requests that say something were refused or timed out. Fewer are a bug or a
    /// network that drops a connection now and then, and must not pull the limit down for ever.
    #[must_use]
    pub const fn is_overloaded(&self) -> bool {
        self.overloads > 0 && self.successes / 49 < self.overloads
    }
}

/// Decides a limit from windows. Pure state: time, samples and ceilings come in with the [`Window`].
pub trait LimitAlgorithm: fmt::Debug + Send {
    /// The limit now.
    fn limit(&self) -> u32;

    /// The latency of an unloaded backend as far as the algorithm knows; `None` if it does not keep one.
    fn baseline(&self) -> Option<Duration> {
        None
    }

    /// Takes in a closed window and answers the limit from now on, at least 1.
    fn update(&mut self, window: &Window) -> u32;

    /// Goes on from `limit`, within its bounds: what it found beside somebody who knew better, a fleet that has dealt this
    /// process so much until now, is no limit of its own. By default it stays where it is, as one that somebody configured
    /// does.
    fn begin_at(&mut self, limit: u32) {
        let _ = limit;
    }
}

/// When a window closes.
///
/// # Defaults
/// 250 ms and at least 10 samples; a window with fewer goes on. With latencies above half of that, twice their mean,
/// at most 5 s: the answer to a limit must be in the next window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WindowSetup {
    pub(crate) length: Duration,
    pub(crate) min_samples: u32,
}

impl WindowSetup {
    /// Whether it can be meant: a length from 1 ms to 1 minute, and at least one sample.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(60));
        span("the length of a window", self.length, least, most)?;
        if self.min_samples == 0 {
            return Err(ConfigError::TooFew {
                what: "the samples of a window",
                least: 1,
            });
        }
        Ok(())
    }

    /// How long the window after one with `seen` is; `None` if `seen` is too little to close it.
    pub(crate) fn next(&self, seen: &Totals) -> Option<Duration> {
        if seen.successes + seen.overloads < u64::from(self.min_samples) {
            return None;
        }
        let mean_us = seen.success_us.checked_div(seen.successes).unwrap_or(0);
        let settled = Duration::from_micros(2 * mean_us).min(Duration::from_secs(5));
        Some(self.length.max(settled))
    }
}

impl Default for WindowSetup {
    fn default() -> Self {
        Self {
            length: Duration::from_millis(250),
            min_samples: 10,
        }
    }
}

/// An algorithm behind the gate's books.
#[derive(Debug)]
pub(crate) struct Estimator(Box<dyn LimitAlgorithm>);

impl Estimator {
    pub(crate) fn new(algorithm: impl LimitAlgorithm + 'static) -> Self {
        Self(Box::new(algorithm))
    }

    pub(crate) fn limit(&self) -> u32 {
        self.0.limit()
    }

    pub(crate) fn baseline(&self) -> Option<Duration> {
        self.0.baseline()
    }

    /// Goes on from `limit`; answers what that makes it.
    #[cfg(feature = "fleet")]
    pub(crate) fn begin_at(&mut self, limit: u32) -> u32 {
        self.0.begin_at(limit);
        self.limit().max(1)
    }

    /// Closes a window.
    pub(crate) fn close(&mut self, seen: &Totals, peak_in_flight: u32, ceiling: u32) -> u32 {
        let sum = Duration::from_micros(seen.success_us).as_nanos();
        let mean = sum.checked_div(u128::from(seen.successes)).unwrap_or(0);
        self.0
            .update(&Window {
                successes: seen.successes,
                mean_rtt: Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)),
                overloads: seen.overloads,
                peak_in_flight,
                ceiling,
            })
            .max(1)
    }
}

impl From<Box<dyn LimitAlgorithm>> for Estimator {
    fn from(algorithm: Box<dyn LimitAlgorithm>) -> Self {
        Self(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_of_overloads_are_forgiven_and_more_are_not() {
        let window = |served, refused| Window::new(served, Duration::ZERO).with_overloads(refused);
        assert!(!window(98, 2).is_overloaded());
        assert!(window(97, 2).is_overloaded());
        assert!(window(0, 1).is_overloaded());
        assert!(!window(0, 0).is_overloaded());
        assert!(window(u64::MAX, u64::MAX).is_overloaded());
    }

    #[test]
    fn half_of_the_ceiling_is_not_idle() {
        let window = |peak, ceiling| Window::new(1, Duration::ZERO).with_in_flight(peak, ceiling);
        assert!(window(4, 9).is_idle());
        assert!(!window(5, 9).is_idle());
        assert!(window(0, 0).is_idle());
        assert!(!window(u32::MAX, u32::MAX).is_idle());
    }
}
