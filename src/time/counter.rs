//! A quicker reading of the boot-time clock: told on by the processor's counter for at most a millisecond.
//!
//! A rate limit of this process is little more than a clock reading, and the kernel's takes twice as long as the
//! counter's. Counters alone are no clock: they stop or begin anew when a machine sleeps, change their pace when it
//! moves to another host, and may differ between processors. So every thread reads the boot-time clock at least once a
//! millisecond and takes from the counter only what has passed since:
//!
//! ```text
//!   boot clock   ●─────────────┐         ●──────
//!   counter       ····▲···▲··▲·│ > 1 ms   ·▲··     ▲ a reading
//! ```
//!
//! # Guarantees
//! * Whatever the counter does, a reading is less than [`REACH`] ahead of the boot-time clock. A counter that went
//!   backwards, or far ahead, is not believed.
//! * Behind it is a reading by no more than its thread had stood still while it looked at both clocks.
//!
//! So it is good enough to count by, and not for leases, which must not live on after a sleep: those read the boot-time
//! clock. How fast the counter goes is measured once in a process, in the background (a fifth of a second at most);
//! until then, and where the processor has none that can be relied upon, this is the boot-time clock.

use super::{LocalTime, boot_time};
use std::cell::Cell;
use std::sync::{Once, OnceLock};

/// How far the counter is trusted, in nanoseconds.
const REACH: u64 = 1_000_000;

/// A moment, by both clocks.
#[derive(Clone, Copy)]
struct Anchor {
    at: LocalTime,
    reading: u64,
}

thread_local! {
    static ANCHOR: Cell<Anchor> = const { Cell::new(Anchor { at: LocalTime::ZERO, reading: 0 }) };
}

/// The counter, once its pace is known.
static COUNTER: OnceLock<Counter> = OnceLock::new();

/// A counter and its pace.
struct Counter {
    clock: quanta::Clock,
    pace: Pace,
}

/// How fast a counter goes.
#[derive(Clone, Copy)]
struct Pace {
    /// Nanoseconds of 2^32 counts.
    nanos: u64,
    /// Counts in [`REACH`], rounded down.
    reach: u64,
}

/// Has the counter's pace measured, the first time this is called in a process.
pub(super) fn prepare() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        let measure = || _ = COUNTER.set(Counter::new(quanta::Clock::new()));
        let thread = std::thread::Builder::new().name("tidegate-clock".into());
        // Without a thread to spare it stays the boot-time clock.
        drop(thread.spawn(measure));
    });
}

/// The present moment, if it is near enough to when this thread last looked at both clocks.
#[inline]
pub(super) fn now() -> Option<LocalTime> {
    let counter = COUNTER.get()?;
    told_on(ANCHOR.get(), counter.clock.raw(), counter.pace)
}

/// The present moment by the boot-time clock, from which the counter tells on.
pub(super) fn anchored() -> LocalTime {
    // First: whoever is kept waiting between the two is behind then, and not ahead.
    let at = boot_time();
    if let Some(counter) = COUNTER.get() {
        let reading = counter.clock.raw();
        ANCHOR.set(Anchor { at, reading });
    }
    at
}

impl Counter {
    fn new(clock: quanta::Clock) -> Self {
        let pace = Pace::new(clock.delta_as_nanos(0, 1 << 32));
        Self { clock, pace }
    }
}

impl Pace {
    /// Of a counter that takes so many nanoseconds for 2^32 counts. One that stands still reaches nowhere.
    fn new(nanos: u64) -> Self {
        let reach = (REACH << 32).checked_div(nanos).unwrap_or(0);
        Self { nanos, reach }
    }
}

/// The moment at which the counter shows `reading`, if that is near enough.
#[inline]
fn told_on(anchor: Anchor, reading: u64, pace: Pace) -> Option<LocalTime> {
    // Of one that went backwards it is more than any reach.
    let passed = reading.wrapping_sub(anchor.reading);
    // Below 2^52: less than `REACH`, and 32 places.
    (passed < pace.reach)
        .then(|| LocalTime(anchor.at.0.saturating_add((passed * pace.nanos) >> 32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: LocalTime = LocalTime::from_nanos(5_000_000_000);

    /// By a counter that goes twice a nanosecond.
    fn read(reading: u64) -> Option<u64> {
        let anchor = Anchor {
            at: AT,
            reading: 3_000,
        };
        let at = told_on(anchor, reading, Pace::new(1 << 31))?;
        Some(at.as_nanos() - AT.as_nanos())
    }

    #[test]
    fn the_counter_tells_what_has_passed_for_a_millisecond() {
        assert_eq!(read(3_000), Some(0));
        assert_eq!(read(3_200), Some(100));
        assert_eq!(read(3_000 + 2 * (REACH - 1)), Some(REACH - 1));
        assert_eq!(read(3_000 + 2 * REACH), None);
    }

    #[test]
    fn a_counter_that_went_backwards_or_far_ahead_is_not_believed() {
        assert_eq!(read(2_999), None);
        assert_eq!(read(0), None);
        assert_eq!(read(u64::MAX), None);
    }

    #[test]
    fn whatever_its_pace_a_counter_is_trusted_for_less_than_its_reach() {
        let anchor = Anchor { at: AT, reading: 0 };
        for nanos in
            (0..64).flat_map(|exponent| [1 << exponent, (1 << exponent) - 1, 3 << exponent])
        {
            let pace = Pace::new(nanos);
            let last = pace.reach.saturating_sub(1);
            let told = told_on(anchor, last, pace);
            assert!(
                told.is_none_or(|at| at.0 - AT.0 < REACH),
                "{nanos}: {told:?}"
            );
            assert_eq!(told_on(anchor, pace.reach, pace), None, "{nanos}");
            // And up to it, but for the two counts that rounding may take.
            let sure = REACH.saturating_sub(2 * (nanos >> 32) + 3);
            assert!(
                nanos == 0 || sure == 0 || told.is_some_and(|at| at.0 - AT.0 >= sure),
                "{nanos}: {told:?}"
            );
        }
    }

    #[test]
    fn it_is_the_boot_time_clock_within_its_reach() {
        let _ = COUNTER.set(Counter::new(quanta::Clock::new()));
        let mut close = 0;
        for _ in 0..100_000 {
            let before = boot_time();
            let read = now().unwrap_or_else(anchored);
            let after = boot_time();
            assert!(read.0 < after.0 + REACH, "{read:?} after {after:?}");
            close += u32::from(before.0.saturating_sub(read.0) < 10_000);
        }
        // Behind it is only what stood still.
        assert!(close > 50_000, "{close} of 100000 readings were close");
    }
}
