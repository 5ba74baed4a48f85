//! What a strict limiter is made of, and what becomes of counts while the store does not answer.

use crate::decision::Decisions;
use crate::key::Key;
use crate::rule::{Carry, Moment};
use crate::store::redis::rates::{Rates, Standing};
use crate::strict::breaker::Breaker;
use crate::strict::denied::DeniedKeys;
use crate::strict::failure::{self, Fallback};
use crate::strict::untold::Untold;
use crate::time::Clock;
use std::sync::Arc;
use std::time::Duration;

/// What a limiter is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) rates: Rates,
    pub(crate) fallback: Fallback,
    pub(crate) breaker: Breaker,
    pub(crate) denied: DeniedKeys,
    pub(crate) untold: Arc<Untold>,
    pub(crate) patience: Duration,
    pub(crate) clock: Clock,
}

impl Parts {
    /// Decides while the store does not answer; what a share admits at `moment` is to be told.
    pub(crate) fn decide_without(&self, key: Key, cost: u32, moment: Moment) -> Decisions {
        let policies = self.rates.spelling().policies();
        match &self.fallback {
            Fallback::Deny => failure::unavailable(policies),
            Fallback::Allow(_) => failure::let_pass(policies),
            Fallback::Share(share) => {
                if let Some(denied) = self.denied_before(key, cost) {
                    return denied;
                }
                let decisions = share.check_each(&key, cost);
                if cost > 0 && decisions.is_allowed() {
                    self.untold.add(key, cost, moment);
                }
                decisions
            }
        }
    }

    /// What the store said before it was away. The share begins with nothing spent, and who had spent the quota would have
    /// a part of it once more.
    fn denied_before(&self, key: Key, cost: u32) -> Option<Decisions> {
        let spelling = self.rates.spelling();
        let more = |standing: Option<&Standing>, age| {
            Some(standing?.denial_of_more(spelling, cost)?.aged(age))
        };
        let now = self.clock.now();
        self.denied.find_alone(key, cost, now, more)
    }

    /// Goes on with what was counted without the store before, at `moment` on its clock, if both count in one place.
    /// Says how counts go on then.
    pub(crate) fn take_over(&self, before: &Self, moment: Moment) -> Option<Carry> {
        if !self.rates.counts_with(&before.rates) {
            return None;
        }
        let [from, to] = [before, self].map(|parts| parts.rates.spelling().policies());
        let carry = Carry::new(from, to);
        match (&self.fallback, &before.fallback) {
            (Fallback::Share(next), Fallback::Share(before)) => next.take_over(before),
            (Fallback::Allow(next), Fallback::Allow(before)) => {
                before.hand_over(next, carry.clone(), moment);
            }
            _ => {}
        }
        let own = carry.clone();
        before.untold.hand_over(&self.untold, own, moment);
        Some(carry)
    }

    /// Whether another one has taken over.
    pub(crate) fn has_left(&self) -> bool {
        self.untold.has_left()
    }

    /// Books units whether they fit or not, while the store does not answer: it is told when it does.
    pub(crate) fn book_without(&self, key: Key, units: u32, moment: Moment) {
        self.book_in_share(key, units);
        self.untold.add(key, units, moment);
    }

    /// The same of units that the store will be told of anyway.
    pub(crate) fn book_in_share(&self, key: Key, units: u32) {
        if let Fallback::Share(share) = &self.fallback
            && let Ok(nothing) = share.reserve(&key, 0)
        {
            nothing.commit(units);
        }
    }

    /// Whether there is a share.
    pub(crate) fn give_back_to_share(&self, key: Key, units: u32) -> bool {
        let Fallback::Share(share) = &self.fallback else {
            return false;
        };
        share.refund(&key, units);
        true
    }
}
