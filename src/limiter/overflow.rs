//! The overflow cell of a shard: what keys without a cell of their own have spent, and what of it can be given back.
//!
//! No key without a cell has spent more than the overflow cell. It grows by what such keys book, and it *absorbs* what a
//! key had spent that is forgotten: it becomes one that has spent as much as either. What is booked after that lies on
//! top, so a refund takes away what its booking has added, and leaves every other key what it has spent. What was booked
//! before may be part of what was absorbed, and nobody knows which part: it stays until it comes back by itself.

use crate::limiter::rules::Rules;

/// What keys without a cell have spent.
#[derive(Debug)]
pub(super) struct Overflow {
    spent: Box<[u64]>,
    /// Where a key is decided on that has no cell.
    tried: Box<[u64]>,
    /// How often something was absorbed.
    absorbed: u64,
    /// Units given back.
    refunded: u64,
}

/// A booking on an overflow cell: what had happened there before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overflown {
    absorbed: u64,
    refunded: u64,
}

impl Overflow {
    pub(super) fn new(words: usize) -> Self {
        Self {
            spent: vec![0; words].into(),
            tried: vec![0; words].into(),
            absorbed: 0,
            refunded: 0,
        }
    }

    pub(super) fn spent(&self) -> &[u64] {
        &self.spent
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self) + size_of_val(&*self.spent) + size_of_val(&*self.tried)
    }

    /// Takes a `step` on a copy.
    pub(super) fn attempt<A>(&mut self, step: &mut impl FnMut(&mut [u64]) -> A) -> A {
        self.tried.copy_from_slice(&self.spent);
        step(&mut self.tried)
    }

    /// The copy after the last attempt, if something was booked on it.
    pub(super) fn attempted(&self) -> Option<&[u64]> {
        (self.tried != self.spent).then_some(&*self.tried)
    }

    /// Books here what was attempted last.
    pub(super) fn book(&mut self) -> Overflown {
        std::mem::swap(&mut self.spent, &mut self.tried);
        Overflown {
            absorbed: self.absorbed,
            refunded: self.refunded,
        }
    }

    pub(super) fn absorb<R: Rules>(&mut self, rules: &R, state: &[u64]) {
        rules.absorb(&mut self.spent, state);
        self.absorbed += 1;
    }

    /// Units given back since `booking`.
    pub(super) const fn refunded_since(&self, booking: Overflown) -> u64 {
        self.refunded.wrapping_sub(booking.refunded)
    }

    /// Gives back `units` of `booking` as `change` does, unless something was absorbed since.
    pub(super) fn give_back(
        &mut self,
        booking: Overflown,
        units: u32,
        change: impl FnOnce(&mut [u64]),
    ) {
        if self.absorbed == booking.absorbed {
            change(&mut self.spent);
            self.refunded = self.refunded.wrapping_add(units.into());
        }
    }
}
