//! A window of samples, and the step from its sums to an algorithm's new limit.

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
    /// Whether less than half of the ceiling was ever used: there is nothing to learn about a higher limit.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        2 * (self.peak_in_flight as u64) < self.ceiling as u64
    }
}

/// Decides a limit from windows. Pure state: time, samples and ceilings come in with the [`Window`].
pub trait LimitAlgorithm: fmt::Debug + Send {
    /// The limit now.
    fn limit(&self) -> u32;

    /// Takes in a closed window and answers the limit from now on, at least 1.
    fn update(&mut self, window: &Window) -> u32;
}

/// When a window closes.
///
/// # Defaults
/// 250 ms and at least 10 samples; a window with fewer goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WindowSetup {
    pub(crate) length: Duration,
    pub(crate) min_samples: u32,
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

    /// Closes a window.
    pub(crate) fn close(&mut self, seen: &Totals, peak_in_flight: u32, ceiling: u32) -> u32 {
        let mean_us = seen.success_us.checked_div(seen.successes).unwrap_or(0);
        self.0
            .update(&Window {
                successes: seen.successes,
                mean_rtt: Duration::from_micros(mean_us),
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
