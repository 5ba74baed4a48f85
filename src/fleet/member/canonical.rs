//! A member up to what it can still tell apart, for the states of the model.
//!
//! When to beat is the model's choice, at any time; so deadlines of beats, their jitter and their back-off are not
//! part of its states.

use crate::fleet::member::{Member, Phase};
use crate::fleet::proof::number::{Number, StoreNumbers};
use crate::fleet::settings::Outage;
use crate::time::LocalTime;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// What of the fleet a node's memory still serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Memory {
    /// Early beats of the starving, claims to a store that has lost its state, grants.
    All,
    Claims,
    Grants,
}

impl Member {
    /// The sequence of the beat that is out.
    pub(crate) fn awaits(&self) -> Option<u64> {
        self.schedule.awaited()
    }

    pub(crate) const fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    pub(crate) const fn generation(&self) -> u64 {
        self.grant.generation
    }

    pub(crate) const fn plan(&self) -> u64 {
        self.plan
    }

    /// Whether it is without a slot that it had no use for.
    pub(crate) fn has_lent(&self) -> bool {
        self.phase == Phase::Active && self.lends && self.grant.share == 0
    }

    pub(crate) fn relabel(&mut self, name: Arc<str>, incarnation: u64) {
        (self.name, self.incarnation) = (name, incarnation);
    }

    pub(crate) fn hash_but_the_name(&self, state: &mut impl Hasher) {
        (self.phase, self.sequence, self.barrier, &self.schedule).hash(state);
        (self.idle, self.lends, self.epoch, &self.left_epochs).hash(state);
        (self.confirmed, self.grant, self.target, self.limit).hash(state);
        (self.plan, self.stamp, self.lease_ends, self.lease_over).hash(state);
        (self.anchor, self.starved, self.farewells).hash(state);
    }

    /// Lets the clock say `to` instead of `now`, and forgets what makes no difference any more. `answers` are the
    /// epochs of the answers that may still come.
    pub(crate) fn forget(
        &mut self,
        now: LocalTime,
        to: LocalTime,
        store: &StoreNumbers,
        answers: &[u64],
        memory: Memory,
    ) {
        let ago =
            |then: LocalTime, at_most: Duration| to.saturating_sub(now.since(then).min(at_most));
        self.lease_ends = if self.lease_ends > now {
            to.saturating_add(self.lease_ends.since(now))
        } else {
            LocalTime::ZERO
        };
        if let Phase::Fenced(since) = self.phase {
            let matters =
                matches!(self.settings.outage, Outage::SafeShare { .. }) && self.grant.share > 0;
            self.phase = Phase::Fenced(if matters {
                ago(since, Duration::MAX)
            } else {
                to
            });
        }
        self.schedule.forget(now, to);
        let slack = self.settings.slack();
        let same = self.epoch.is_some() && self.epoch == store.epoch;
        self.anchor = self
            .anchor
            // What has passed for the store, and will have, tells nothing, nor does it keep a later answer from counting.
            .filter(|(answered, arrived)| {
                let counts = answered.saturating_add(slack) > store.time;
                same && (counts || now.since(*arrived) < slack)
            })
            .map(|(answered, arrived)| (store.moment(answered, slack), ago(arrived, slack)));
        self.stamp = if same { store.stamp(self.stamp) } else { 0 };
        if self.awaits().is_none_or(|sequence| sequence > self.barrier) {
            self.barrier = 0;
        }
        match memory {
            Memory::All => {}
            Memory::Claims => self.target = 0,
            Memory::Grants => (self.target, self.limit, self.plan) = (0, 0, 0),
        }
        self.left_epochs.retain(|epoch| answers.contains(epoch));
        self.nodes = 0;
        (self.granted, self.learning) = (true, false);
    }

    /// The numbers that matter only by comparison with their like.
    pub(crate) fn numbers(&mut self, visit: &mut impl FnMut(Number, &mut u64)) {
        let (incarnation, epoch) = (self.incarnation, self.epoch.unwrap_or(0));
        visit(Number::Sequence(incarnation), &mut self.sequence);
        visit(Number::Sequence(incarnation), &mut self.barrier);
        if let Some(sequence) = self.schedule.awaited_mut() {
            visit(Number::Sequence(incarnation), sequence);
        }
        visit(
            Number::Generation(epoch, incarnation),
            &mut self.grant.generation,
        );
        visit(Number::Plan, &mut self.plan);
        for epoch in self.epoch.iter_mut().chain(&mut self.left_epochs) {
            visit(Number::Epoch, epoch);
        }
    }
}
