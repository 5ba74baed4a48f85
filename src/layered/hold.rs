//! What is held for a request until it is known what it came to.

use crate::key::Key;
use crate::layered::slots::Slot;
use crate::layered::tier::Tier;
use crate::layered::time::Moment;

/// The cell in which a cost was counted. A key that was forgotten meanwhile is not mistaken for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hold {
    pub(super) sequence: u64,
    pub(super) holder: u64,
}

#[cfg(test)]
impl Hold {
    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Tier {
    /// What was held for `cost` came to `actual`.
    ///
    /// It is spent in the window in which it was held, as far as it was held; the rest, and all of it when that window
    /// is over, is spent now. Nothing that somebody else counted changes.
    pub(crate) fn settle(
        &mut self,
        key: Key,
        hold: Option<Hold>,
        cost: u32,
        actual: u32,
        now: &Moment,
    ) {
        let present = self.setup.window.sequence(now.shared);
        let mut late = actual;
        let mut release = |slot: &mut Slot| {
            let held = hold.filter(|hold| hold.holder == slot.holder);
            if let Some(cell) = held.and_then(|hold| slot.cell(hold.sequence)) {
                cell.commit(cost, actual.min(cost));
                late = actual.saturating_sub(cost);
            }
        };
        if hold.is_some_and(|hold| hold.holder == self.overflow.holder) {
            self.overflow.roll(present);
            release(&mut self.overflow);
            self.overflow.current.accept(late);
            return;
        }
        let number = match self.slots.find(key) {
            Some(number) => {
                self.turn(number, now);
                number
            }
            None if actual == 0 => return,
            None => match self.admit(key, now) {
                Some(number) => number,
                None => {
                    self.overflow.roll(present);
                    self.overflow.current.accept(actual);
                    return;
                }
            },
        };
        let slot = self.slots.at(number);
        release(slot);
        slot.current.accept(late);
        if actual > 0 {
            let used = self.setup.window.view(slot, now.shared).used();
            self.flush_soon(number, used, now);
        }
    }
}
