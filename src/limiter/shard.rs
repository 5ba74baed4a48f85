//! One shard of the keyed table: cells, a hand that reclaims a few at a time, and an overflow cell.
//!
//! A key without a cell of its own is bounded by the overflow cell: whatever such a key has spent, the overflow cell
//! has spent at least as much. Evicting a key raises the overflow cell to what the key has spent, and a new key starts
//! from there (the idea of Space-Saving, Metwally, Agrawal and El Abbadi, 2005). So forgetting never gives anybody
//! more than the quota.

use crate::decision::Verdict;
use crate::key::Key;
use crate::limiter::cells::{Cells, Placement, Width};
use crate::limiter::overflow::{Overflow, Overflown};
use crate::limiter::rules::{Answer, Rules};
use crate::rule::Moment;
use std::borrow::Cow;

/// The keys of one shard, at most `room` of them.
#[derive(Debug)]
pub(super) struct Shard<W> {
    cells: Cells<W>,
    room: usize,
    /// The cell at which the next look for idle ones begins.
    hand: usize,
    /// None before the first key.
    overflow: Option<Box<Overflow>>,
    tally: Tally,
    /// Whether its keys are elsewhere now: it has none, and will have none.
    moved: bool,
}

/// What became of keys for which there was no room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    /// Keys that were forgotten before they were idle.
    pub(super) evicted: u64,
    /// Decisions in which the overflow cell had a say: it was booked on, or it denied.
    pub(super) overflowed: u64,
}

impl<W: Width> Shard<W> {
    pub(super) fn new(placement: Placement, width: W, room: usize) -> Self {
        Self {
            cells: Cells::new(placement, width),
            room,
            hand: 0,
            overflow: None,
            tally: Tally::default(),
            moved: false,
        }
    }

    pub(super) const fn moved(&self) -> bool {
        self.moved
    }

    pub(super) const fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.bytes() + self.overflow.as_ref().map_or(0, |it| it.bytes())
    }

    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// The state of a key that has a cell.
    #[inline]
    pub(super) fn find(&mut self, place: u64, key: Key) -> Option<&mut [u64]> {
        self.cells.find(place, key)
    }

    /// Takes a `step` for a key that has no cell, and gives it one if something was booked. The step may be taken
    /// twice; the last answer counts. With it comes where it was booked, if that is the overflow cell.
    pub(super) fn admit<R: Rules<Width = W>, A: Answer>(
        &mut self,
        key: Key,
        rules: &R,
        at: Moment,
        mut step: impl FnMut(&mut [u64]) -> A,
    ) -> (A, Option<Overflown>) {
        let mut overflow = self.take_overflow();
        let answer = overflow.attempt(&mut step);
        let admitted = if overflow.attempted().is_some() {
            self.admit_booked(key, rules, at, step, answer, &mut overflow)
        } else {
            // Nothing was booked, so there is nothing to remember.
            let denied = answer.outcome() == Verdict::Deny;
            let had_a_say = denied && !rules.is_idle(overflow.spent(), at);
            self.tally.overflowed += u64::from(had_a_say);
            (answer, None)
        };
        self.overflow = Some(overflow);
        admitted
    }

    /// Finds a place for what was booked in an attempt on the overflow cell, and `answer`ed.
    fn admit_booked<R: Rules<Width = W>, A: Answer>(
        &mut self,
        key: Key,
        rules: &R,
        at: Moment,
        mut step: impl FnMut(&mut [u64]) -> A,
        mut answer: A,
        overflow: &mut Overflow,
    ) -> (A, Option<Overflown>) {
        match self.make_room(rules, at, overflow) {
            Room::None => {
                self.tally.overflowed += 1;
                return (answer, Some(overflow.book()));
            }
            Room::Free => {}
            // What the one who went had spent is where this key starts.
            Room::Evicted => answer = overflow.attempt(&mut step),
        }
        if let Some(state) = overflow.attempted() {
            self.cells.insert(key, state);
        }
        (answer, None)
    }

    /// Gives back `units` of a `booking` on the overflow cell: there, and in the cell that `key` has by now, which was
    /// a copy of it. `change` gives back on a state, and is told of how many units were given back before on the overflow
    /// cell, and in the key's own cell also of those that `own` has counted.
    pub(super) fn give_back(
        &mut self,
        place: u64,
        key: Key,
        booking: Overflown,
        units: u32,
        own: impl FnOnce() -> u64,
        change: impl Fn(&mut [u64], u64),
    ) {
        let Some(overflow) = &mut self.overflow else {
            return;
        };
        let others = overflow.refunded_since(booking);
        overflow.give_back(booking, units, |state| change(state, others));
        if let Some(state) = self.cells.find(place, key) {
            change(state, others.saturating_add(own()));
        }
    }

    /// Gives a key the cell that it had elsewhere, with its `state`. If there is no room the overflow cell takes what it
    /// has spent.
    pub(super) fn put<R: Rules<Width = W>>(
        &mut self,
        place: u64,
        key: Key,
        state: &[u64],
        rules: &R,
        at: Moment,
    ) {
        if let Some(own) = self.cells.find(place, key) {
            return rules.absorb(own, state);
        }
        if rules.is_idle(state, at) {
            return;
        }
        let mut overflow = self.take_overflow();
        match self.make_room(rules, at, &mut overflow) {
            Room::Free | Room::Evicted => self.cells.insert(key, state),
            Room::None => overflow.absorb(rules, state),
        }
        self.overflow = Some(overflow);
    }

    /// Shows all that is here, and has nothing of it from then on.
    pub(super) fn hand_over(&mut self, mut show: impl FnMut(Handed<'_>)) {
        if let Some(overflow) = &self.overflow {
            show(Handed::Overflow(overflow.spent()));
        }
        for at in 0..self.cells.capacity() {
            if let Some((key, state)) = self.cells.entry(at) {
                show(Handed::Key(key, state));
            }
        }
        self.cells.clear();
        self.moved = true;
    }

    /// The overflow cell, to be put back in a moment.
    fn take_overflow(&mut self) -> Box<Overflow> {
        let words = self.cells.width();
        let overflow = self.overflow.take();
        overflow.unwrap_or_else(|| Box::new(Overflow::new(words)))
    }

    /// Reclaims a few idle cells, and says whether there is room for one more key.
    fn make_room<R: Rules<Width = W>>(
        &mut self,
        rules: &R,
        at: Moment,
        overflow: &mut Overflow,
    ) -> Room {
        for looks in [SWEEP, SEARCH] {
            let least = self.sweep(rules, at, looks);
            if self.cells.len() < self.room {
                return Room::Free;
            }
            if let Some(least) = least {
                let state = self.cells.get(least).expect("nothing moved since the look");
                overflow.absorb(rules, state);
                self.cells.remove(least);
                self.tally.evicted += 1;
                return Room::Evicted;
            }
        }
        Room::None
    }

    /// Looks at the next few cells and removes the idle ones. If there were none, answers the cell of the key among
    /// them that has spent least and is not being denied.
    fn sweep<R: Rules<Width = W>>(&mut self, rules: &R, at: Moment, looks: usize) -> Option<usize> {
        let mut least: Option<(usize, u64)> = None;
        for _ in 0..looks.min(self.cells.capacity()) {
            if self.hand >= self.cells.capacity() {
                self.hand = 0;
            }
            if let Some(state) = self.cells.get(self.hand) {
                if rules.is_idle(state, at) {
                    // Another key may move into this cell: look at it again.
                    self.cells.remove(self.hand);
                    continue;
                }
                let spent = rules.spent(state, at);
                if least.is_none_or(|(_, least)| spent < least) && !rules.is_exhausted(state, at) {
                    least = Some((self.hand, spent));
                }
            }
            self.hand += 1;
        }
        // After a removal there is room, and the answer, whose cell may have moved, is not used.
        least.map(|(cell, _)| cell)
    }

    /// Keys without a cell have spent at least as much as `state` says.
    pub(super) fn raise_overflow<R: Rules<Width = W>>(&mut self, rules: &R, state: &[u64]) {
        let mut overflow = self.take_overflow();
        overflow.absorb(rules, state);
        self.overflow = Some(overflow);
    }

    /// What a key without a cell has spent, for all that is known.
    pub(super) fn overflow(&self) -> Cow<'_, [u64]> {
        match &self.overflow {
            Some(overflow) => overflow.spent().into(),
            None => vec![0; self.cells.width()].into(),
        }
    }
}

/// Something that a shard has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handed<'a> {
    /// What keys without a cell have spent.
    Overflow(&'a [u64]),
    /// A key and its state.
    Key(Key, &'a [u64]),
}

/// Whether there is room for one more key.
enum Room {
    Free,
    /// A key went, and the overflow cell has taken what it had spent.
    Evicted,
    None,
}

/// Cells looked at for each new key: more than the one it takes, so that idle cells go faster than new keys come.
const SWEEP: usize = 8;
/// Cells looked at when the shard is full and nothing in the first look may go.
const SEARCH: usize = 64;
