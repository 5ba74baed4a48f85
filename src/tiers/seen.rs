//! What a layer made of each limit, made anew when there is another plan or another quota.

use crate::limiter::AnyLimiter;
use crate::limits::Seen;
use crate::tiers::answer::{LimitOf, Said};
use crate::tiers::handle::{Found, Whose};
use crate::tiers::own::Own;
use crate::tiers::{OnFailure, Tiers};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value for each limit that a client may have, such as the headers that tell of it.
// For adapters alone: it may change in any release.
#[doc(hidden)]
pub struct SeenTiers<T> {
    tiers: Tiers,
    plan: Seen<T>,
    /// By the number of the limiter.
    own: ArcSwap<BTreeMap<u64, T>>,
}

impl<T: Clone> SeenTiers<T> {
    /// Nothing made yet.
    #[must_use]
    pub fn new(tiers: Tiers) -> Self {
        Self {
            plan: Seen::new(tiers.limits().clone()),
            own: ArcSwap::default(),
            tiers,
        }
    }

    /// Whose limits they are.
    pub const fn tiers(&self) -> &Tiers {
        &self.tiers
    }

    /// The value for the limit that was found; none if nobody may pass, for there is none to be found.
    pub fn of(&self, found: &Found, make: impl Fn(&AnyLimiter) -> T) -> Option<T> {
        match &found.0 {
            Whose::Answer(answer) => match &answer.said {
                Said::Known { limit, .. } => match limit {
                    LimitOf::Plan(name) => self.plan.named(name, &make).or_else(|| {
                        self.tiers.note_missing();
                        self.of_strangers(make)
                    }),
                    LimitOf::Own(account) => Some(self.of_own(&account.own(), make)),
                },
                Said::Unknown => self.of_strangers(make),
                Said::Failed => self.without_answer(make),
            },
            Whose::Stranger => self.of_strangers(make),
            Whose::NoAnswer => self.without_answer(make),
        }
    }

    fn without_answer(&self, make: impl Fn(&AnyLimiter) -> T) -> Option<T> {
        match self.tiers.on_failure() {
            OnFailure::Stranger => self.of_strangers(make),
            OnFailure::Deny => None,
        }
    }

    fn of_strangers(&self, make: impl Fn(&AnyLimiter) -> T) -> Option<T> {
        let found = self.plan.named(self.tiers.strangers(), make);
        if found.is_none() {
            self.tiers.note_missing();
        }
        found
    }

    fn of_own(&self, own: &Own, make: impl Fn(&AnyLimiter) -> T) -> T {
        if let Some(made) = self.own.load().get(&own.id) {
            return made.clone();
        }
        let made = make(&own.limiter);
        let known = self.tiers.own_ids();
        let with = |before: &Arc<BTreeMap<u64, T>>| {
            let kept = before.iter().filter(|(id, _)| known.contains(id));
            let mut after: BTreeMap<_, _> = kept.map(|(id, it)| (*id, it.clone())).collect();
            after.insert(own.id, made.clone());
            after
        };
        self.own.rcu(with);
        made
    }
}

impl<T: Clone> Clone for SeenTiers<T> {
    /// With nothing made: the clone may make other values.
    fn clone(&self) -> Self {
        Self::new(self.tiers.clone())
    }
}

impl<T> fmt::Debug for SeenTiers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeenTiers").field(&self.tiers).finish()
    }
}
