//! One shard of the keyed table: cells, a hand that reclaims a few at a time, and an overflow cell.
//!
//! A key without a cell of its own is bounded by the overflow cell: whatever such a key has spent, the overflow cell
//! has spent at least as much. Evicting a key raises the overflow cell to what the key has spent, and a new key starts
//! from there (the idea of Space-Saving, Metwally, Agrawal and El Abbadi, 2005). So forgetting never gives anybody
//! more than the quota.

use crate::decision::Verdict;
use crate::key::Key;
use crate::limiter::cells::{Cells, Placement, Width};
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
    /// What keys without a cell have spent; empty before the first of them.
    overflow: Box<[u64]>,
    /// Where a key is decided on that has no cell.
    scratch: Box<[u64]>,
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
            overflow: Box::default(),
            scratch: Box::default(),
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
        self.cells.bytes() + size_of_val(&*self.overflow) + size_of_val(&*self.scratch)
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
    /// twice; the last answer counts.
    pub(super) fn admit<R: Rules<Width = W>, A: Answer>(
        &mut self,
        key: Key,
        rules: &R,
        at: Moment,
        mut step: impl FnMut(&mut [u64]) -> A,
    ) -> A {
        self.prepare_overflow();
        let answer = self.try_on_overflow(&mut step);
        if self.scratch == self.overflow {
            // Nothing was booked, so there is nothing to remember.
            let denied = answer.outcome() == Verdict::Deny;
            let had_a_say = denied && !rules.is_idle(&self.overflow, at);
            self.tally.overflowed += u64::from(had_a_say);
            return answer;
        }
        match self.make_room(rules, at) {
            Room::None => {
                std::mem::swap(&mut self.overflow, &mut self.scratch);
                self.tally.overflowed += 1;
                answer
            }
            Room::Free => {
                self.cells.insert(key, &self.scratch);
                answer
            }
            Room::Evicted => {
                // What the one who went had spent is where this key starts.
                let answer = self.try_on_overflow(&mut step);
                if self.scratch != self.overflow {
                    self.cells.insert(key, &self.scratch);
                }
                answer
            }
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
        self.prepare_overflow();
        match self.make_room(rules, at) {
            Room::Free | Room::Evicted => self.cells.insert(key, state),
            Room::None => rules.absorb(&mut self.overflow, state),
        }
    }

    /// Shows all that is here, and has nothing of it from then on.
    pub(super) fn hand_over(&mut self, mut show: impl FnMut(Handed<'_>)) {
        if !self.overflow.is_empty() {
            show(Handed::Overflow(&self.overflow));
        }
        for at in 0..self.cells.capacity() {
            if let Some((key, state)) = self.cells.entry(at) {
                show(Handed::Key(key, state));
            }
        }
        self.cells.clear();
        self.moved = true;
    }

    fn prepare_overflow(&mut self) {
        if self.overflow.is_empty() {
            self.overflow = vec![0; self.cells.width()].into();
            self.scratch = self.overflow.clone();
        }
    }

    fn try_on_overflow<A>(&mut self, step: &mut impl FnMut(&mut [u64]) -> A) -> A {
        self.scratch.copy_from_slice(&self.overflow);
        step(&mut self.scratch)
    }

    /// Reclaims a few idle cells, and says whether there is room for one more key.
    fn make_room<R: Rules<Width = W>>(&mut self, rules: &R, at: Moment) -> Room {
        for looks in [SWEEP, SEARCH] {
            let least = self.sweep(rules, at, looks);
            if self.cells.len() < self.room {
                return Room::Free;
            }
            if let Some(least) = least {
                let state = self.cells.get(least).expect("nothing moved since the look");
                rules.absorb(&mut self.overflow, state);
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
        let mut overflow = self.overflow().into_owned();
        rules.absorb(&mut overflow, state);
        self.scratch = overflow.clone().into();
        self.overflow = overflow.into();
    }

    /// What a key without a cell has spent, for all that is known.
    pub(super) fn overflow(&self) -> Cow<'_, [u64]> {
        if self.overflow.is_empty() {
            vec![0; self.cells.width()].into()
        } else {
            (&*self.overflow).into()
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
