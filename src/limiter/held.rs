//! What the reservations of all limiters over a store have in common: booked once, settled once.

use crate::decision::Decisions;
use crate::key::Key;
use crate::limiter::remote::Remote;

/// Units that are booked until it is known what they come to. Dropping it settles them at nothing.
#[derive(Debug)]
pub(crate) struct Held<L: Remote> {
    limiter: L,
    key: Key,
    cost: u32,
    decisions: Decisions,
    /// None once it is settled.
    booked: Option<L::Booked>,
}

impl<L: Remote> Held<L> {
    pub(super) fn new(
        limiter: &L,
        key: Key,
        cost: u32,
        decisions: Decisions,
        booked: L::Booked,
    ) -> Self {
        Self {
            limiter: limiter.clone(),
            key,
            cost,
            decisions,
            booked: Some(booked),
        }
    }

    pub(crate) const fn limiter(&self) -> &L {
        &self.limiter
    }

    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    pub(crate) const fn cost(&self) -> u32 {
        self.cost
    }

    /// What was said when it was booked.
    pub(crate) const fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    pub(crate) fn settle(&mut self, actual: u32) {
        if let Some(booked) = self.booked.take() {
            self.limiter.settle(self.key, booked, self.cost, actual);
        }
    }

    /// As [`Self::settle`], ready when it is done.
    pub(crate) async fn settled(mut self, actual: u32) {
        if let Some(booked) = self.booked.take() {
            let settled = self.limiter.settled(self.key, booked, self.cost, actual);
            settled.await;
        }
    }

    /// It came to what was booked.
    pub(crate) fn keep(mut self) {
        self.settle(self.cost);
    }

    /// It came to what was booked, or to nothing; says how the key stood when it was booked.
    pub(crate) fn answered(mut self, keeps: bool) -> Decisions {
        self.settle(if keeps { self.cost } else { 0 });
        self.decisions.clone()
    }
}

impl<L: Remote> Drop for Held<L> {
    fn drop(&mut self) {
        self.settle(0);
    }
}
