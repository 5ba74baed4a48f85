//! The way of a decision: remembered, asked of the store, or made without it.

use crate::decision::Decisions;
use crate::key::Key;
use crate::store::redis::rates::Standing;
use crate::strict::StrictLimiter;
use crate::strict::booked::{Booked, Passed};
use crate::strict::denied::Heard;
use crate::strict::failure::Fallback;
use crate::strict::telling::Begin;
use std::sync::atomic::Ordering;

impl StrictLimiter {
    /// The decisions on a request, and where it is counted.
    pub(super) async fn weigh_in_store(&self, key: Key, cost: u32) -> (Decisions, Booked) {
        let inner = &*self.0;
        let parts = &inner.parts;
        let now = parts.clock.now();
        if let Some(decisions) = self.remembered(key, cost) {
            return (decisions, Booked::Nothing);
        }
        let spelling = parts.rates.spelling();
        // A coin that is thrown again may fall otherwise.
        let random = if spelling.needs_random() { draw() } else { 0 };
        let passed = matches!(parts.fallback, Fallback::Allow(_)).then(Passed::default);
        let asked = self.ask_to_decide(key, cost, random, passed.clone());
        let asked = asked.await;
        let told = asked.and_then(|standing| {
            let decisions = standing.decisions(spelling, cost, random)?;
            Ok((decisions, standing))
        });
        let Ok((decisions, standing)) = told else {
            return self.without(key, cost, passed);
        };
        if cost > 0 && decisions.is_allowed() {
            parts.denied.refute(key, cost);
        } else if cost > 0
            && let Some(wait) = standing.denied_for(spelling, cost)
        {
            let denial = Heard {
                cost,
                decisions: &decisions,
                standing: Some(standing.clone()),
                wait: Some(wait),
            };
            parts.denied.note(key, denial, now, parts.clock.now());
        }
        (decisions, Booked::InStore(standing))
    }

    /// The decisions without the store, and where the request is counted. It may have been asked about what was `passed`.
    pub(super) fn without(
        &self,
        key: Key,
        cost: u32,
        passed: Option<Passed>,
    ) -> (Decisions, Booked) {
        let (inner, moment) = (&*self.0, self.0.moment());
        inner.counts.without.fetch_add(1, Ordering::Relaxed);
        let decisions = inner.parts.decide_without(key, cost, moment);
        let booked = match &inner.parts.fallback {
            _ if cost == 0 || !decisions.is_allowed() => Booked::Nothing,
            Fallback::Deny => Booked::Nothing,
            Fallback::Share(_) => Booked::InShare(moment),
            Fallback::Allow(uncounted) => {
                let passed = passed.unwrap_or_default();
                passed.passes(moment, || uncounted.add(key, cost, moment));
                Booked::Passed(passed)
            }
        };
        self.tell_the_rest(Begin::AfterAPause);
        (decisions, booked)
    }

    /// A denial that needs no store: of what could never be allowed, or one that still holds.
    pub(super) fn remembered(&self, key: Key, cost: u32) -> Option<Decisions> {
        let inner = &*self.0;
        if cost == 0 {
            return None;
        }
        let spelling = inner.parts.rates.spelling();
        if let Some(never) = spelling.never(cost) {
            return Some(never);
        }
        let now = inner.parts.clock.now();
        let more = |standing: Option<&Standing>, age| {
            Some(standing?.denial_of_more(spelling, cost)?.aged(age))
        };
        let decisions = inner.parts.denied.find(key, cost, now, more)?;
        inner.counts.remembered.fetch_add(1, Ordering::Relaxed);
        Some(decisions)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: rules take the number as an argument"
)]
fn draw() -> u32 {
    (fastrand::u64(..) >> 32) as u32
}
