//! The counts that a decision adds up, and what may have been used since they were known.

use crate::layered::slots::Slot;
use crate::layered::window::SlidingWindow;
use crate::rule::{TwoCells, View};
use std::time::Duration;

impl SlidingWindow {
    /// How a slot counts at a moment of the time that all nodes share.
    ///
    /// A clock that was set back does not bring a window back: then the slot's is about to begin.
    #[inline]
    pub(super) fn view(&self, slot: &Slot, time: u64) -> View {
        let views = [slot.current.view(), slot.previous.view()];
        self.view_of(slot.sequence, views, time)
    }

    /// How the counts of window `sequence` and of the one before count at a moment.
    #[inline]
    pub(super) const fn view_of(
        &self,
        sequence: u64,
        [current, previous]: [u64; 2],
        time: u64,
    ) -> View {
        let cells = TwoCells::from_words([sequence, current, previous]);
        View::at(cells, self.nanos(), time)
    }

    /// What all nodes together may have used in the last `age`: twice what they would, had they gone on as before.
    pub(super) fn unseen(&self, view: &View, age: Duration) -> u64 {
        let of_window = part_of(view.used(), 2 * age, self.nanos());
        of_window.max(part_of(view.current(), 2 * age, view.elapsed()))
    }
}

/// `count * span / nanos`, in steps of a microsecond.
pub(super) fn part_of(count: u64, span: Duration, nanos: u64) -> u64 {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    count.saturating_mul(micros) / (nanos / 1_000).max(1)
}
