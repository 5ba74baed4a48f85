//! One shard of the keyed table: cells, a hand that reclaims a few at a time, and an overflow cell.
//!
//! A key without a cell of its own is bounded by the overflow cell: whatever such a key has spent, the overflow cell
//! has spent at least as much. Evicting a key raises the overflow cell to what the key has spent, and a new key starts
//! from there (the idea of Space-Saving, Metwally, Agrawal and El Abbadi, 2005). So forgetting never gives anybody
//! more than the quota.

use crate::decision::{Decision, Verdict};
use crate::key::Key;
use crate::limiter::cells::{Cells, Placement};
use crate::rule::{Gcra, Tat};
use crate::time::LocalTime;

/// The keys of one shard, at most `room` of them.
#[derive(Debug)]
pub(super) struct Shard {
    cells: Cells,
    room: usize,
    /// The cell at which the next look for idle ones begins.
    hand: usize,
    overflow: Tat,
    tally: Tally,
}

/// What became of keys for which there was no room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    /// Keys that were forgotten before they were idle.
    pub(super) evicted: u64,
    /// Decisions in which the overflow cell had a say: it was booked on, or it denied.
    pub(super) overflowed: u64,
}

impl Shard {
    pub(super) fn new(placement: Placement, room: usize) -> Self {
        Self {
            cells: Cells::new(placement),
            room,
            hand: 0,
            overflow: Tat::IDLE,
            tally: Tally::default(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Decides for a key that has a cell; `None` if it has none.
    #[inline]
    pub(super) fn decide(
        &mut self,
        place: u64,
        key: Key,
        rule: &Gcra,
        cost: u32,
        now: LocalTime,
    ) -> Option<Decision> {
        let state = self.cells.find(place, key)?;
        let (decision, after) = rule.decide(*state, cost, now);
        *state = after;
        Some(decision)
    }

    /// Decides for a key that has no cell, and gives it one if something was booked.
    pub(super) fn admit(&mut self, key: Key, rule: &Gcra, cost: u32, now: LocalTime) -> Decision {
        let (decision, after) = rule.decide(self.overflow, cost, now);
        if after == self.overflow {
            // Nothing was booked, so there is nothing to remember.
            let had_a_say = decision.outcome() == Verdict::Deny && !self.overflow.is_idle(now);
            self.tally.overflowed += u64::from(had_a_say);
            return decision;
        }
        let before = self.overflow;
        if !self.make_room(rule, now) {
            self.overflow = after;
            self.tally.overflowed += 1;
            return decision;
        }
        if self.overflow == before {
            self.cells.insert(key, after);
            return decision;
        }
        // Somebody went, and what they had spent is where this key starts.
        let (decision, after) = rule.decide(self.overflow, cost, now);
        if decision.is_allowed() {
            self.cells.insert(key, after);
        }
        decision
    }

    /// Reclaims a few idle cells, and says whether there is room for one more key.
    fn make_room(&mut self, rule: &Gcra, now: LocalTime) -> bool {
        for looks in [SWEEP, SEARCH] {
            let least = self.sweep(rule, now, looks);
            if self.cells.len() < self.room {
                return true;
            }
            if let Some((at, state)) = least {
                self.cells.remove(at);
                self.overflow = self.overflow.max(state);
                self.tally.evicted += 1;
                return true;
            }
        }
        false
    }

    /// Looks at the next few cells and removes the idle ones. If there were none, answers the key among them that has
    /// spent least and is not being denied.
    fn sweep(&mut self, rule: &Gcra, now: LocalTime, looks: usize) -> Option<(usize, Tat)> {
        let mut least: Option<(usize, Tat)> = None;
        for _ in 0..looks.min(self.cells.capacity()) {
            if self.hand >= self.cells.capacity() {
                self.hand = 0;
            }
            match self.cells.get(self.hand) {
                Some(state) if state.is_idle(now) => {
                    // Another key may move into this cell: look at it again.
                    self.cells.remove(self.hand);
                    continue;
                }
                Some(state)
                    if !rule.is_exhausted(state, now)
                        && least.is_none_or(|(_, least)| state < least) =>
                {
                    least = Some((self.hand, state));
                }
                _ => {}
            }
            self.hand += 1;
        }
        // After a removal there is room, and the answer, whose cell may have moved, is not used.
        least
    }

    /// How a key without a cell stands: as the overflow cell does.
    pub(super) fn peek_overflow(&self, rule: &Gcra, now: LocalTime) -> Decision {
        rule.decide(self.overflow, 0, now).0
    }
}

/// Cells looked at for each new key: more than the one it takes, so that idle cells go faster than new keys come.
const SWEEP: usize = 8;
/// Cells looked at when the shard is full and nothing in the first look may go.
const SEARCH: usize = 64;
