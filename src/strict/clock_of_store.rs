//! The store's clock, as far as this process knows it: for what is counted here until the store can be told.

use crate::store::redis::rates::StoreMoment;
use crate::time::{Clock, LocalTime};
use std::sync::atomic::{AtomicU64, Ordering};

/// The store's clock by this process's: how far ahead it was when it was heard of last. What is read here comes after
/// everything that was heard, so it is not ahead unless the store's clock was put back, and behind by no more than an
/// answer was under way.
#[derive(Debug)]
pub(crate) struct ClockOfStore {
    /// Microseconds, wrapping.
    ahead: AtomicU64,
    /// The latest moment that was heard of.
    latest: AtomicU64,
}

impl ClockOfStore {
    /// Before the store was heard of: as the wall clock here.
    pub(crate) fn guess(clock: &Clock) -> Self {
        let wall = StoreMoment::of_wall(clock.wall());
        Self {
            ahead: AtomicU64::new(wall.as_micros().wrapping_sub(micros(clock.now()))),
            latest: AtomicU64::new(0),
        }
    }

    pub(crate) fn note(&self, store: StoreMoment, now: LocalTime) {
        let store = store.as_micros();
        self.ahead
            .store(store.wrapping_sub(micros(now)), Ordering::Relaxed);
        let latest = self.latest.fetch_max(store, Ordering::Relaxed);
        if latest > store.saturating_add(OUT_OF_ORDER) {
            // No answer is overtaken by so much: the clock was put back.
            self.latest.store(store, Ordering::Relaxed);
        }
    }

    pub(crate) fn at(&self, now: LocalTime) -> StoreMoment {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let latest = self.latest.load(Ordering::Relaxed);
        StoreMoment::from_micros(micros(now).wrapping_add(ahead).max(latest))
    }
}

/// By how much of the store's time one answer may be overtaken by another: a minute, in microseconds.
const OUT_OF_ORDER: u64 = 60_000_000;

const fn micros(at: LocalTime) -> u64 {
    at.as_nanos() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(clock: &ClockOfStore, store: u64, here: u64) {
        let here = LocalTime::from_nanos(here * 1_000);
        clock.note(StoreMoment::from_micros(store), here);
    }

    fn at(clock: &ClockOfStore, here: u64) -> u64 {
        clock.at(LocalTime::from_nanos(here * 1_000)).as_micros()
    }

    #[test]
    fn it_is_never_behind_what_was_heard_unless_the_stores_clock_was_put_back() {
        let (clock, _lever) = Clock::manual();
        let clock = ClockOfStore::guess(&clock);
        let second = 1_000_000;
        heard(&clock, 500 * second, 10 * second);
        assert_eq!(at(&clock, 12 * second), 502 * second);
        // An answer that was under way for three seconds.
        heard(&clock, 499 * second, 12 * second);
        assert_eq!(at(&clock, 12 * second), 500 * second);
        assert_eq!(at(&clock, 14 * second), 501 * second);
        heard(&clock, 100 * second, 14 * second);
        assert_eq!(at(&clock, 15 * second), 101 * second);
    }
}
