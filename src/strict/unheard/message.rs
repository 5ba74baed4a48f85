//! One message to the store: what it says, and whether there is any point left in saying it.

use crate::rule::{Carry, Moment, Rule};
use crate::store::redis::rates::{GiveBack, MessageId};
use crate::strict::spent::Spent;
use crate::strict::untold::{Untold, most};
use std::sync::Arc;

/// A message that the store has not confirmed.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: MessageId,
    pub(super) says: Says,
}

#[derive(Debug)]
pub(super) enum Says {
    Admitted(Admitted),
    GivesBack(Arc<[GiveBack]>),
}

/// What was admitted without the store. What has come back by itself need not be told.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) spent: Spent,
    /// What turned out not to have been used, to be given back once the rest was heard.
    pub(super) unused: Option<Spent>,
}

impl Admitted {
    /// The last `units` were not used. How many of them are not here: they have come back by themselves, or were said to be
    /// unused before.
    pub(super) fn give_back(&mut self, units: u32, rules: &[Rule], at: Moment) -> u32 {
        // Never more than was told.
        let used = self.used(rules, at);
        let more: Vec<u64> = used.iter().map(|used| *used.min(&units.into())).collect();
        let unused = || Spent::nothing(rules, at);
        let unused = self.unused.get_or_insert_with(unused);
        unused.book(rules, &more, at);
        units.saturating_sub(most(&more))
    }

    /// What was used and has not come back by itself.
    pub(super) fn used(&self, rules: &[Rule], at: Moment) -> Box<[u64]> {
        let mut units: Box<[u64]> = self.spent.outstanding(rules, at).collect();
        if let Some(unused) = &self.unused {
            for (units, unused) in units.iter_mut().zip(unused.outstanding(rules, at)) {
                *units = units.saturating_sub(unused);
            }
        }
        units
    }

    /// The same under the rules `next`, which were `rules`; none if it counts under none of them. A smaller burst cuts what
    /// was not used.
    pub(super) fn carried(
        &self,
        rules: &[Rule],
        carry: &Carry,
        next: &[Rule],
        at: Moment,
    ) -> Option<Self> {
        let spent = self.spent.carried(carry, next, at)?;
        let carried = |unused: &Spent| {
            let mut used = self.spent.clone();
            used.give_back_each(rules, unused.outstanding(rules, at), at);
            let used = used.carried(carry, next, at);
            let used = used.unwrap_or_else(|| Spent::nothing(next, at));
            let mut unused = unused.carried(carry, next, at)?;
            let cut = used.outstanding(next, at).zip(unused.outstanding(next, at));
            let cut = cut.zip(spent.outstanding(next, at));
            let beyond: Vec<u64> = cut
                .map(|((used, unused), spent)| (used + unused).saturating_sub(spent))
                .collect();
            unused.give_back_each(next, beyond, at);
            (!unused.is_back(next, at)).then_some(unused)
        };
        let unused = self.unused.as_ref().and_then(carried);
        Some(Self { spent, unused })
    }
}

/// A message as it is sent.
#[derive(Debug)]
pub(in crate::strict) struct Sent {
    pub(in crate::strict) id: MessageId,
    pub(in crate::strict) what: What,
}

#[derive(Clone, Debug)]
pub(in crate::strict) enum What {
    /// Units under each rule.
    Admitted(Box<[u64]>),
    GivesBack(Arc<[GiveBack]>),
}

impl Message {
    /// As it is sent at `at`; none if all of it has come back by itself.
    pub(super) fn sent(&self, untold: &Untold, at: Moment) -> Option<Sent> {
        let what = match &self.says {
            Says::Admitted(admitted) => {
                let (spent, rules) = (&admitted.spent, untold.rules());
                let units = || What::Admitted(spent.outstanding(rules, at).collect());
                (!spent.is_back(rules, at)).then(units)?
            }
            Says::GivesBack(each) => {
                let counts = each.iter().any(|it| !it.is_over(at));
                counts.then(|| What::GivesBack(Arc::clone(each)))?
            }
        };
        Some(Sent { id: self.id, what })
    }

    /// How many bookings it gives back.
    pub(super) fn gives_back(&self) -> usize {
        match &self.says {
            Says::Admitted(_) => 0,
            Says::GivesBack(each) => each.len(),
        }
    }
}
