//! The counts that a decision adds up, and where in the window it is taken.

use crate::layered::slots::Slot;
use crate::layered::window::{Place, SlidingWindow};
use std::time::Duration;

/// The counts of a decision, and where in the window it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Views {
    pub(super) current: u64,
    pub(super) previous: u64,
    pub(super) elapsed: u64,
}

impl Views {
    /// A clock that was set back does not bring a window back: then this one is at its beginning.
    #[inline]
    pub(super) fn of(slot: &Slot, place: Place) -> Self {
        Self {
            current: slot.current.view(),
            previous: slot.previous.view(),
            elapsed: if slot.sequence == place.sequence {
                place.elapsed
            } else {
                0
            },
        }
    }

    #[inline]
    pub(super) fn used(&self, window: &SlidingWindow) -> u64 {
        window.used(self.current, self.previous, self.elapsed)
    }

    pub(super) fn wait(&self, window: &SlidingWindow, cost: u32) -> u64 {
        window.wait(self.current, self.previous, self.elapsed, cost)
    }

    /// What all nodes together may have used in the last `age`: twice what they would, had they gone on as before.
    pub(super) fn unseen(&self, used: u64, age: Duration, window: &SlidingWindow) -> u64 {
        part_of(used, 2 * age, window.nanos()).max(part_of(self.current, 2 * age, self.elapsed))
    }

    #[inline]
    pub(super) const fn after(mut self, cost: u32) -> Self {
        self.current = self.current.saturating_add(cost as u64);
        self
    }
}

/// `count * span / nanos`, in steps of a microsecond.
pub(super) fn part_of(count: u64, span: Duration, nanos: u64) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    count.saturating_mul(micros) / (nanos / 1_000).max(1)
}
