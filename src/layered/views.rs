//! The counts that a decision adds up, and what may have been used since they were known.

use crate::layered::slots::Slot;
use crate::layered::window::SlidingWindow;
use crate::rule::{TwoCells, View};

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

    /// Whether all nodes together may have used more than `room` in the last `age` nanoseconds: twice what they would, had they gone
    /// on as before.
    #[inline]
    pub(super) fn may_have_used_more(&self, room: u64, view: &View, age: u64) -> bool {
        let more = |count, nanos| is_part_above(room, count, age.saturating_mul(2), nanos);
        more(view.used(), self.nanos()) || more(view.current(), view.elapsed())
    }
}

/// `count * span / nanos`, of nanoseconds in steps of a microsecond.
pub(super) fn part_of(count: u64, span: u64, nanos: u64) -> u64 {
    product(count, span) / micros(nanos)
}

/// Whether [`part_of`] is above `bound`. Takes no division.
#[inline]
fn is_part_above(bound: u64, count: u64, span: u64, nanos: u64) -> bool {
    // floor(x / y) > b where x >= (b + 1) * y.
    u128::from(product(count, span)) >= (u128::from(bound) + 1) * u128::from(micros(nanos))
}

#[inline]
const fn product(count: u64, span: u64) -> u64 {
    count.saturating_mul(span / 1_000)
}

#[inline]
fn micros(nanos: u64) -> u64 {
    (nanos / 1_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_part_is_above_what_it_is_above(
            count in prop_oneof![0..5_000u64, any::<u64>()],
            span in prop_oneof![0..10_000_000_000u64, any::<u64>()],
            nanos in prop_oneof![0..10_000_000_000u64, any::<u64>()],
            near in 0..3u64,
        ) {
            let part = part_of(count, span, nanos);
            let bound = part.saturating_add(1).saturating_sub(near);
            prop_assert_eq!(is_part_above(bound, count, span, nanos), part > bound);
        }
    }
}
