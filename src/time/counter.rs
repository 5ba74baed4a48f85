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
    counter: u64,
}

thread_local! {
    static ANCHOR: Cell<Anchor> = const { Cell::new(Anchor { at: LocalTime::ZERO, counter: 0 }) };
}

/// The counter, once its pace is known.
static COUNTER: OnceLock<quanta::Clock> = OnceLock::new();

/// Has the counter's pace measured, the first time this is called in a process.
pub(super) fn prepare() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        let measure = || _ = COUNTER.set(quanta::Clock::new());
        let thread = std::thread::Builder::new().name("tidegate-clock".into());
        // Without a thread to spare it stays the boot-time clock.
        drop(thread.spawn(measure));
    });
}

/// The present moment.
#[inline]
pub(super) fn now() -> LocalTime {
    let Some(clock) = COUNTER.get() else {
        return boot_time();
    };
    let anchor = ANCHOR.get();
    let counter = clock.raw();
    told_on(anchor, counter, |from, to| clock.delta_as_nanos(from, to))
        .unwrap_or_else(|| anchored(clock))
}

/// The moment at which the counter shows `counter`, if that is near enough.
#[inline]
fn told_on(anchor: Anchor, counter: u64, nanos: impl Fn(u64, u64) -> u64) -> Option<LocalTime> {
    if counter < anchor.counter {
        return None;
    }
    let passed = nanos(anchor.counter, counter);
    (passed < REACH).then(|| LocalTime(anchor.at.0.saturating_add(passed)))
}

/// Reads both clocks. The boot-time clock first: whoever is kept waiting between the two is behind then, and not ahead.
#[cold]
#[inline(never)]
fn anchored(clock: &quanta::Clock) -> LocalTime {
    let at = boot_time();
    ANCHOR.set(Anchor {
        at,
        counter: clock.raw(),
    });
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: LocalTime = LocalTime::from_nanos(5_000_000_000);

    /// With a counter that goes three times a nanosecond.
    fn read(counter: u64) -> Option<u64> {
        let anchor = Anchor {
            at: AT,
            counter: 3_000,
        };
        let at = told_on(anchor, counter, |from, to| (to - from) / 3)?;
        Some(at.as_nanos() - AT.as_nanos())
    }

    #[test]
    fn the_counter_tells_what_has_passed_for_a_millisecond() {
        assert_eq!(read(3_000), Some(0));
        assert_eq!(read(3_300), Some(100));
        assert_eq!(read(3_000 + 3 * (REACH - 1)), Some(REACH - 1));
        assert_eq!(read(3_000 + 3 * REACH), None);
    }

    #[test]
    fn a_counter_that_went_backwards_or_far_ahead_is_not_believed() {
        assert_eq!(read(2_999), None);
        assert_eq!(read(0), None);
        assert_eq!(read(u64::MAX), None);
    }

    #[test]
    fn it_is_the_boot_time_clock_within_its_reach() {
        let clock = quanta::Clock::new();
        let _ = COUNTER.set(clock);
        let mut close = 0;
        for _ in 0..100_000 {
            let before = boot_time();
            let read = now();
            let after = boot_time();
            assert!(read.0 < after.0 + REACH, "{read:?} after {after:?}");
            close += u32::from(before.0.saturating_sub(read.0) < 10_000);
        }
        // Behind it is only what stood still.
        assert!(close > 50_000, "{close} of 100000 readings were close");
    }
}
