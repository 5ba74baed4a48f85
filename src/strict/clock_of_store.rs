//! The store's clock, as far as this process knows it: for what is counted here until the store can be told.

use crate::store::redis::rates::StoreMoment;
use crate::time::{Clock, LocalTime};
use std::sync::atomic::{AtomicU64, Ordering};

/// The store's clock by this process's: how far ahead it was when it was heard of last.
#[derive(Debug)]
pub(crate) struct ClockOfStore {
    /// Microseconds, wrapping.
    ahead: AtomicU64,
}

impl ClockOfStore {
    /// Before the store was heard of: as the wall clock here.
    pub(crate) fn guess(clock: &Clock) -> Self {
        let wall = StoreMoment::of_wall(clock.wall());
        Self {
            ahead: AtomicU64::new(wall.as_micros().wrapping_sub(micros(clock.now()))),
        }
    }

    pub(crate) fn note(&self, store: StoreMoment, now: LocalTime) {
        let ahead = store.as_micros().wrapping_sub(micros(now));
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    pub(crate) fn at(&self, now: LocalTime) -> StoreMoment {
        let ahead = self.ahead.load(Ordering::Relaxed);
        StoreMoment::from_micros(micros(now).wrapping_add(ahead))
    }
}

const fn micros(at: LocalTime) -> u64 {
    at.as_nanos() / 1_000
}
