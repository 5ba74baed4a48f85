//! Giving back what was accepted a moment ago.

use crate::key::Key;
use crate::layered::tier::Tier;
use crate::layered::time::Moment;

impl Tier {
    /// Gives back the `units` that were accepted last on `key`: of the window in which that was, while it counts. A key
    /// that was forgotten, or that there was no room for, gets nothing.
    pub(crate) fn refund(&mut self, key: Key, units: u32, now: &Moment) {
        let Some(number) = self.slots.find(key) else {
            return;
        };
        self.turn(number, now);
        let slot = self.slots.at(number);
        if slot.current.is_used() {
            slot.current.refund(units);
        } else {
            slot.previous.refund(units);
        }
    }
}
