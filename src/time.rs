//! The node's own time: a boot-time clock that counts suspension, read in exactly one place.
//!
//! Deadlines of leases are counted on this clock. A wall clock steps and a monotonic clock that stops while the
//! machine sleeps would let a woken process use a lease that others consider over, so Linux reads
//! `CLOCK_BOOTTIME`, macOS `CLOCK_MONOTONIC` (which there counts sleep) and everything else [`std::time::Instant`].
//!
//! [`LocalTime`] and the fleet's `StoreTime` do not convert into one another: only durations cross the network.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on this process's own clock, in nanoseconds from an arbitrary start.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LocalTime(u64);

impl LocalTime {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after [`Self::ZERO`].
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since [`Self::ZERO`].
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `after` later; [`Self::NEVER`] if that cannot be represented.
    #[must_use]
    pub fn saturating_add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }

    /// The moment `before` earlier; [`Self::ZERO`] if that cannot be represented.
    #[must_use]
    pub fn saturating_sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(before)))
    }

    /// The time from `earlier` to this moment, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A moment on a key's store time, in microseconds: advanced by the nodes' beats alone, never by a wall clock
/// (promise I11).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct StoreTime(u64);

impl StoreTime {
    /// The store time of a new epoch.
    pub(crate) const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after [`Self::ZERO`].
    #[cfg(any(test, feature = "redis"))]
    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since [`Self::ZERO`].
    pub(crate) const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `after` later, rounded down to microseconds.
    pub(crate) fn saturating_add(self, after: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// The moment `before` earlier; [`Self::ZERO`] if that cannot be represented.
    #[must_use]
    pub(crate) fn saturating_sub(self, before: Duration) -> Self {
        let micros = u64::try_from(before.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// The time from `earlier` to this moment, zero if `earlier` is later.
    #[must_use]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Where the time comes from: the boot-time clock, or a hand-driven one.
///
/// Cloning is cheap; clones of a manual clock share its time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    Boot,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The boot-time clock of this machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::Boot)
    }

    /// A clock that stands at [`LocalTime::ZERO`] until told otherwise, and the lever that moves it.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let nanos = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual(Arc::clone(&nanos))), ManualClock(nanos))
    }

    /// The present moment.
    #[inline]
    #[must_use]
    pub fn now(&self) -> LocalTime {
        match &self.0 {
            Source::Boot => boot_time(),
            Source::Manual(nanos) => LocalTime(nanos.load(Ordering::Acquire)),
        }
    }
}

/// The lever of a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::AcqRel);
    }

    /// Puts the clock at `to`, also backwards.
    pub fn set(&self, to: LocalTime) {
        self.0.store(to.0, Ordering::Release);
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("Boot"),
            Self::Manual(nanos) => write!(f, "Manual({} ns)", nanos.load(Ordering::Relaxed)),
        }
    }
}

#[inline]
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn boot_time() -> LocalTime {
    from_timespec(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(target_vendor = "apple")]
#[inline]
fn boot_time() -> LocalTime {
    from_timespec(rustix::time::clock_gettime(
        rustix::time::ClockId::Monotonic,
    ))
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
#[inline]
fn from_timespec(at: rustix::time::Timespec) -> LocalTime {
    // Boot time is positive and fits 584 years of nanoseconds.
    LocalTime(
        (at.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(at.tv_nsec as u64),
    )
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn boot_time() -> LocalTime {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    let now = Instant::now();
    // One second of slack, so that a reading is never LocalTime::ZERO.
    LocalTime(nanos(now.duration_since(*START.get_or_init(|| now))) + 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first > LocalTime::ZERO);
    }

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let (clock, lever) = Clock::manual();
        assert_eq!(clock.now(), LocalTime::ZERO);
        lever.advance(Duration::from_micros(3));
        assert_eq!(clock.clone().now(), LocalTime::from_nanos(3_000));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(
            LocalTime::ZERO.saturating_sub(Duration::MAX),
            LocalTime::ZERO
        );
        assert_eq!(
            LocalTime::ZERO.saturating_add(Duration::MAX),
            LocalTime::NEVER
        );
        assert_eq!(LocalTime::ZERO.since(LocalTime::NEVER), Duration::ZERO);
    }
}
