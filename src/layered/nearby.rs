//! Close to the limit: what the other nodes may have used that nobody has heard of yet, and how long that keeps somebody
//! out.

use crate::layered::link::Link;
use crate::layered::setup::Setup;
use crate::layered::slots::Slot;
use crate::layered::time::Moment;
use crate::layered::views::part_of;
use crate::rule::View;

impl Setup {
    /// Units that the other nodes may have used since what is known of them was true, had they gone on as in the window
    /// before. None, unless more than eight ninths of the limit are used.
    #[inline]
    pub(super) fn unheard(&self, slot: &Slot, used: u64, now: &Moment) -> u64 {
        if now.link != Link::Up || used <= self.far() {
            return 0;
        }
        let age = now.nanos_since(slot.freshness.synced_at());
        self.used_in(slot.previous.others(), age.min(self.lag(now)))
    }

    /// Nanoseconds until at most `room` units are used, those that nobody has heard of included, if nobody comes and
    /// nothing is heard meanwhile.
    pub(super) fn wait(&self, slot: &Slot, view: &View, room: u64, now: &Moment) -> u64 {
        if now.link != Link::Up || room <= self.far() {
            // They matter no more when it fits.
            return view.wait(room);
        }
        let fits = |others| {
            let unheard = self.used_in(others, self.lag(now));
            view.wait(room.saturating_sub(unheard).max(self.far()))
        };
        let line = view.left();
        let wait = fits(slot.previous.others());
        if wait < line {
            return wait;
        }
        // Then what is used now is used in the window before.
        fits(slot.current.others()).max(line)
    }

    /// The most units that are not close to the limit: the greatest number that is, with an eighth of itself, within it.
    #[inline]
    const fn far(&self) -> u64 {
        let limit = self.window.limit() as u64;
        let rest = limit % 9;
        limit / 9 * 8 + if rest < 7 { rest } else { 7 }
    }

    fn used_in(&self, others: u64, span: u64) -> u64 {
        part_of(others, span, self.window.nanos())
    }
}
