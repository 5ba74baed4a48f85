//! The guard of one process.

use crate::adaptive::{Estimator, Fixed, LimitAlgorithm, WindowSetup};
use crate::criticality::Criticality;
use crate::error::ConfigError;
use crate::permit::{ConcurrencyGuard, Gate, GateSetup, Lease, Outcome, Shed, Status, Totals};
use crate::time::{Clock, LocalTime};
use std::sync::Arc;
use std::time::Duration;

/// Keeps the requests in flight of this process below a limit, found from latency or fixed.
///
/// Cloning is cheap; clones share the slots.
///
/// # Examples
/// ```
/// use tidegate::adaptive::LocalGuard;
/// use tidegate::{ConcurrencyGuard, Criticality};
///
/// let guard = LocalGuard::fixed(100);
/// let lease = guard.try_acquire(Criticality::Default)?;
/// // ... call the backend ...
/// lease.success();
/// # Ok::<(), tidegate::Shed>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalGuard {
    gate: Arc<Gate>,
}

impl LocalGuard {
    /// A guard whose limit `algorithm` finds.
    #[must_use]
    pub fn new(algorithm: impl LimitAlgorithm + 'static) -> Self {
        Self::builder(algorithm).open()
    }

    /// A guard with a limit of `limit` slots that never changes.
    #[must_use]
    pub fn fixed(limit: u32) -> Self {
        Self::new(Fixed::new(limit))
    }

    /// As [`Self::new`], with options.
    pub fn builder(algorithm: impl LimitAlgorithm + 'static) -> LocalGuardBuilder {
        LocalGuardBuilder {
            name: "local".into(),
            estimator: Estimator::new(algorithm),
            clock: Clock::system(),
            window: WindowSetup::default(),
        }
    }

    /// As [`Self::new`], on a clock of the caller's: for tests and simulations.
    #[must_use]
    pub fn with_clock(algorithm: impl LimitAlgorithm + 'static, clock: Clock) -> Self {
        Self::builder(algorithm).clock(clock).open()
    }

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.gate.sample().0
    }

    #[cfg(all(test, feature = "tower"))]
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Slots in use.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.gate.sample().1
    }

    /// What has happened so far. Takes a lock that no request waits for.
    #[must_use]
    pub fn stats(&self) -> LocalStats {
        let (totals, peak_in_flight) = self.gate.totals_and_peak();
        let (limit, in_flight) = self.gate.sample();
        LocalStats {
            limit,
            in_flight,
            peak_in_flight,
            totals,
        }
    }

    /// Admits nothing more. What is in flight goes on; its slots come back as usual.
    pub fn close(&self) {
        self.gate.set_status(Status::Closed);
        self.gate.set_ceiling(0);
    }
}

impl ConcurrencyGuard for LocalGuard {
    #[inline]
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        self.gate.try_acquire(class)
    }

    #[cfg(feature = "fleet")]
    fn acquire(&self, class: Criticality, max_wait: Duration) -> crate::permit::Acquire {
        self.gate.acquire(class, max_wait)
    }

    #[cfg(feature = "fleet")]
    #[inline]
    fn acquire_or_queue(&self, class: Criticality, max_wait: Duration) -> crate::permit::Queueing {
        self.gate.acquire_or_queue(class, max_wait)
    }
}

/// Options of a [`LocalGuard`]. Made by [`LocalGuard::builder`].
///
/// # Defaults
/// The name `local`; the system's clock; windows of 250 ms (or twice the latency, if that is longer) and at least 10 samples.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LocalGuardBuilder {
    name: Arc<str>,
    estimator: Estimator,
    clock: Clock,
    window: WindowSetup,
}

impl LocalGuardBuilder {
    /// What operators see it by: the label `guard` of [its metrics](crate::observe), for programs with several.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The clock to count on: for tests and simulations.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long latencies are pooled before the algorithm sees their mean, from 1 ms to 1 minute. Shorter reacts
    /// faster and to more noise; at 250 ms and 100 requests a second a window holds 25 samples.
    pub fn window(mut self, length: Duration) -> Self {
        self.window.length = length;
        self
    }

    /// How many samples a window needs to count, at least 1; one with fewer goes on.
    pub fn min_samples(mut self, samples: u32) -> Self {
        self.window.min_samples = samples;
        self
    }

    /// The guard.
    ///
    /// # Errors
    /// [`ConfigError::Span`] for a window, [`ConfigError::TooFew`] for a number of samples outside of its range.
    pub fn build(self) -> Result<LocalGuard, ConfigError> {
        self.window.check()?;
        Ok(self.open())
    }

    fn open(self) -> LocalGuard {
        LocalGuard {
            gate: Arc::new(Gate::new(GateSetup {
                name: self.name,
                clock: self.clock,
                ceiling: self.estimator.limit(),
                status: Status::Open,
                fence_at: LocalTime::NEVER,
                estimator: self.estimator,
                window: self.window,
                estimator_rules: true,
            })),
        }
    }
}

/// What happened at a [`LocalGuard`] since it was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalStats {
    limit: u32,
    in_flight: u32,
    peak_in_flight: u32,
    totals: Totals,
}

impl LocalStats {
    /// The limit in force.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Slots in use.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The most slots ever in use at one instant.
    #[must_use]
    pub const fn peak_in_flight(&self) -> u32 {
        self.peak_in_flight
    }

    /// How many requests came to `outcome`. One that was dropped counts as [`Outcome::Ignore`].
    #[must_use]
    pub const fn outcomes(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Success => self.totals.successes,
            Outcome::Failure => self.totals.failures,
            Outcome::Overload => self.totals.overloads,
            Outcome::Ignore => self.totals.ignored,
        }
    }

    /// How many requests were refused for `reason`.
    #[must_use]
    pub const fn sheds(&self, reason: Shed) -> u64 {
        self.totals.sheds[reason.index()]
    }

    /// How many requests found no slot at once, waited for one and got it.
    #[must_use]
    pub const fn waits(&self) -> u64 {
        self.totals.waits
    }

    /// The mean latency of all successes; zero if there were none.
    #[must_use]
    pub fn mean_latency(&self) -> Duration {
        let mean_us = self.totals.success_us.checked_div(self.totals.successes);
        Duration::from_micros(mean_us.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_name_everything_that_happened() {
        let (clock, lever) = Clock::manual();
        let guard = LocalGuard::builder(Fixed::new(2))
            .clock(clock)
            .build()
            .unwrap();
        let admit = || guard.try_acquire(Criticality::Default);
        let (first, second) = (admit().unwrap(), admit().unwrap());
        assert_eq!(admit().unwrap_err(), Shed::Full);
        lever.advance(Duration::from_millis(3));
        first.success();
        second.overload();
        admit().unwrap().failure();
        drop(admit());
        let stats = guard.stats();
        let outcome = |outcome| stats.outcomes(outcome);
        assert_eq!(outcome(Outcome::Success), 1);
        assert_eq!(outcome(Outcome::Overload), 1);
        assert_eq!(outcome(Outcome::Failure), 1);
        assert_eq!(outcome(Outcome::Ignore), 1);
        assert_eq!((stats.sheds(Shed::Full), stats.sheds(Shed::Closed)), (1, 0));
        assert_eq!(
            (stats.limit(), stats.in_flight(), stats.peak_in_flight()),
            (2, 0, 2)
        );
        assert_eq!(stats.mean_latency(), Duration::from_millis(3));
    }

    #[test]
    fn a_closed_guard_refuses_and_takes_its_slots_back() {
        let guard = LocalGuard::fixed(2);
        let lease = guard.try_acquire(Criticality::Default).unwrap();
        guard.close();
        assert_eq!(
            guard.try_acquire(Criticality::Critical).unwrap_err(),
            Shed::Closed
        );
        assert_eq!(guard.in_flight(), 1);
        lease.success();
        assert_eq!((guard.limit(), guard.in_flight()), (0, 0));
    }

    #[test]
    fn windows_that_cannot_be_meant_are_refused() {
        let builder = || LocalGuard::builder(Fixed::new(1));
        assert!(builder().window(Duration::ZERO).build().is_err());
        assert!(builder().window(Duration::MAX).build().is_err());
        assert!(builder().min_samples(0).build().is_err());
        assert!(
            builder()
                .window(Duration::from_secs(1))
                .min_samples(1)
                .build()
                .is_ok()
        );
    }
}
