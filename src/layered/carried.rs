//! Keys that go over from the limiter before to the one in its place: what was counted, and what origin has yet to hear.
//!
//! ```text
//!   before                                        next
//!   slot, called h at origin -- all of it ----->  slot, called h at origin    it has none of the key
//!   slot, called h           -- unconfirmed --->  slot, called k              it has one already
//! ```
//!
//! A slot goes under its name, so whatever the one before has told of it, or is telling, and what the next one tells are
//! messages of one sender: they count once in any order. Only where the next one has a slot of its own may what was being
//! told just then count twice, which admits less, never more.

use crate::key::Key;
use crate::layered::exchange::ImportLine;
use crate::layered::flush::FlushQueue;
use crate::layered::hold::Hold;
use crate::layered::slots::Slot;
use crate::layered::tier::{Tier, recall};
use crate::layered::time::Moment;

impl Tier {
    /// Offers a few slots from `number` to whoever takes the place of this tier. Those that `takes` says it has taken are
    /// no longer here, and what was to be asked and told of them is not. Answers where to go on.
    #[must_use]
    pub(super) fn hand_over(
        &mut self,
        number: u32,
        mut takes: impl FnMut(&Slot) -> bool,
    ) -> Option<u32> {
        let (numbers, next) = self.slots.numbers_from(number);
        for number in numbers {
            if self.slots.occupied(number).is_some_and(&mut takes) {
                self.slots.remove(number);
            }
        }
        if next.is_none() && self.slots.len() == 0 {
            self.slots.free();
            // What is queued is the successor's to do.
            self.wanted.clear();
            self.flushes = FlushQueue::default();
        }
        next
    }

    /// Goes on with a slot of the tier before; whether there is room for it. `keeps_time`: both go by one clock.
    pub(super) fn take_over(&mut self, slot: &Slot, keeps_time: bool, now: &Moment) -> bool {
        let number = match self.slots.find(slot.key) {
            Some(number) => {
                self.turn(number, now);
                self.tally.expired += self.slots.at(number).add(slot);
                number
            }
            None => {
                let mut slot = slot.carried(keeps_time);
                recall(&self.foreign, &mut slot);
                let Some(number) = self.slots.insert(slot, now.local) else {
                    return false;
                };
                self.turn(number, now);
                number
            }
        };
        self.tell_again(number, now.local);
        self.consider_publishing(number);
        true
    }

    /// The counts of the cell that keys without room share, which origin never hears of.
    pub(super) fn hand_over_overflow(&mut self) -> Slot {
        let given = self.overflow;
        self.overflow.current.handle_carried();
        self.overflow.previous.handle_carried();
        given
    }

    pub(super) fn take_over_overflow(&mut self, slot: &Slot, now: &Moment) {
        self.overflow.roll(self.setup.window.sequence(now.shared));
        // What nobody was to be told of is not missed by anybody.
        let _ = self.overflow.add(slot);
    }

    /// What other regions used of keys that have no slot here.
    pub(super) fn hand_over_foreign(&mut self) -> impl Iterator<Item = ImportLine> + use<> {
        let policy = self.setup.number;
        let foreign = std::mem::take(&mut self.foreign);
        foreign
            .into_iter()
            .map(move |((key, sequence), foreign)| ImportLine {
                policy,
                key,
                sequence,
                own: 0,
                foreign,
            })
    }

    /// Whether what is held of `key` is held here.
    pub(super) fn is_held_here(&self, key: Key, hold: Hold) -> bool {
        let mut slots = self.slots.get(key).into_iter().chain([&self.overflow]);
        slots.any(|slot| slot.holder == hold.holder)
    }

    /// Whether something was accepted here on `key` that can be given back.
    pub(super) fn has_accepted(&self, key: Key) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.current.is_used() || slot.previous.is_used())
    }
}

impl Slot {
    /// As another tier begins with it.
    fn carried(&self, keeps_time: bool) -> Self {
        let mut slot = Self::new(self.key, self.sequence, self.holder);
        (slot.current, slot.previous) = (self.current.carried(), self.previous.carried());
        if keeps_time {
            slot.freshness = self.freshness;
            // Nobody is asked, of those who answer here.
            slot.freshness.handle_nothing();
        }
        slot
    }

    /// Counts what `other`, a slot of the same key, has accepted and origin has not confirmed. Answers how much of it
    /// was of windows that are over.
    fn add(&mut self, other: &Self) -> u64 {
        let before = other.sequence.saturating_sub(1);
        let cells = [(other.sequence, &other.current), (before, &other.previous)];
        let mut over = 0;
        for (sequence, cell) in cells {
            let units = cell.unconfirmed_in_use();
            let ahead = sequence > self.sequence;
            match self.cell(sequence) {
                Some(own) => own.accept(units),
                None if ahead => self.current.accept(units),
                None => over += u64::from(units),
            }
        }
        over
    }
}
