//! The process's own time: a boot-time clock that counts suspension, read in exactly one place.
//!
//! Deadlines of leases are counted on this clock. A wall clock steps and a monotonic clock that stops while the
//! machine sleeps would let a woken process use a lease that others consider over, so Linux reads
//! `CLOCK_BOOTTIME`, macOS `CLOCK_MONOTONIC` (which there counts sleep) and everything else [`std::time::Instant`].
//!
//! [`LocalTime`] and the fleet's `StoreTime` do not convert into one another: only durations cross the network.

mod counter;

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

/// A moment on a wall clock, in nanoseconds since 1 January 1970 UTC: until the year 2554. For calendars alone: a wall
/// clock steps, so no wait and no lease is counted on it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WallTime(u64);

impl WallTime {
    /// The moment so many nanoseconds after 1970 began.
    #[must_use]
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment so many seconds after 1970 began.
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since 1970 began.
    #[must_use]
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }
}

/// Where the time comes from: the boot-time clock, the same with a quicker hand, or a hand-driven one.
///
/// Cloning is cheap; clones of a manual clock share its time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    Boot,
    Counter,
    Manual(Arc<Hands>),
}

/// What a manual clock shows.
#[derive(Default)]
struct Hands {
    nanos: AtomicU64,
    wall: AtomicU64,
}

impl Clock {
    /// The boot-time clock of this machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::Boot)
    }

    /// The boot-time clock of this machine, told on by the processor's counter for at most a millisecond: half the price
    /// of a reading, which is less than a millisecond ahead whatever the counter does. The clock of rate limits that are
    /// counted in this process; leases are counted on [`Self::system`].
    ///
    /// The first one of a process has a thread measure how fast the counter goes, which takes it a fifth of a second at
    /// most. Until then, and where there is no counter that can be relied upon, it is [`Self::system`].
    #[must_use]
    pub fn counter() -> Self {
        counter::prepare();
        Self(Source::Counter)
    }

    /// A clock that stands at [`LocalTime::ZERO`], and on its wall at the beginning of 1970, until told otherwise, and
    /// the lever that moves it.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let hands = Arc::new(Hands::default());
        (Self(Source::Manual(Arc::clone(&hands))), ManualClock(hands))
    }

    /// The present moment.
    #[inline]
    #[must_use]
    pub fn now(&self) -> LocalTime {
        // The one whose reading costs no more than a call.
        if let Source::Counter = self.0
            && let Some(now) = counter::now()
        {
            return now;
        }
        self.read()
    }

    #[inline(never)]
    fn read(&self) -> LocalTime {
        match &self.0 {
            Source::Boot => boot_time(),
            Source::Counter => counter::anchored(),
            Source::Manual(hands) => LocalTime(hands.nanos.load(Ordering::Acquire)),
        }
    }

    /// Whether both show the same moments.
    #[cfg(feature = "redis")]
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Manual(one), Source::Manual(other)) => Arc::ptr_eq(one, other),
            (Source::Manual(_), _) | (_, Source::Manual(_)) => false,
            // Of one clock, to a millisecond.
            _ => true,
        }
    }

    /// The present moment on the wall clock.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        match &self.0 {
            Source::Boot | Source::Counter => wall_time(),
            Source::Manual(hands) => WallTime(hands.wall.load(Ordering::Acquire)),
        }
    }
}

/// The lever of a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

impl ManualClock {
    /// Moves the clock forward, and the one on the wall with it.
    pub fn advance(&self, by: Duration) {
        self.0.nanos.fetch_add(nanos(by), Ordering::AcqRel);
        self.0.wall.fetch_add(nanos(by), Ordering::AcqRel);
    }

    /// Puts the clock at `to`, also backwards. The one on the wall stays.
    pub fn set(&self, to: LocalTime) {
        self.0.nanos.store(to.0, Ordering::Release);
    }

    /// Puts the clock on the wall at `to`, also backwards. The other stays.
    pub fn set_wall(&self, to: WallTime) {
        self.0.wall.store(to.0, Ordering::Release);
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns", self.nanos.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("Boot"),
            Self::Counter => f.write_str("Counter"),
            Self::Manual(hands) => write!(f, "Manual({hands:?})"),
        }
    }
}

#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn wall_time() -> WallTime {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    WallTime(since_1970.map_or(0, nanos))
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
        // This was written in 2026.
        assert!(clock.wall() > WallTime::from_unix_seconds(1_767_225_600));
    }

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let (clock, lever) = Clock::manual();
        assert_eq!(clock.now(), LocalTime::ZERO);
        lever.advance(Duration::from_micros(3));
        assert_eq!(clock.clone().now(), LocalTime::from_nanos(3_000));
        assert_eq!(clock.wall(), WallTime::from_unix_nanos(3_000));
        lever.set_wall(WallTime::from_unix_seconds(60));
        lever.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), LocalTime::from_nanos(1_000_003_000));
        assert_eq!(clock.wall(), WallTime::from_unix_seconds(61));
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
