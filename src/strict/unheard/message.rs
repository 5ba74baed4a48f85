//! One message to the store: what it says, and whether there is any point left in saying it.

use crate::rule::{Carry, Moment};
use crate::store::redis::rates::{GiveBack, MessageId};
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

/// What was admitted without the store, as states of the limiter's own rules: what has come back by itself need not be
/// told.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) state: Box<[u64]>,
    /// What turned out not to have been used, to be given back once the rest was heard.
    pub(super) unused: Option<Box<[u64]>>,
}

impl Admitted {
    /// The last `units` were not used. How many of them are not here: they have come back by themselves, or were said to be
    /// unused before.
    pub(super) fn give_back(&mut self, units: u32, untold: &Untold, at: Moment) -> u32 {
        let left = self.used(untold, at);
        // Never more than was told.
        let more: Vec<u64> = left.iter().map(|left| *left.min(&units.into())).collect();
        let nothing = || vec![0; self.state.len()].into();
        untold.book(self.unused.get_or_insert_with(nothing), &more, at);
        units.saturating_sub(most(&more))
    }

    /// What was used and has not come back by itself.
    pub(super) fn used(&self, untold: &Untold, at: Moment) -> Box<[u64]> {
        let mut units = untold.outstanding(&self.state, at);
        if let Some(unused) = &self.unused {
            let unused = untold.outstanding(unused, at);
            for (units, unused) in units.iter_mut().zip(&unused) {
                *units = units.saturating_sub(*unused);
            }
        }
        units
    }

    /// The same under the rules of `next`; none if it counts under none of them.
    pub(super) fn carried(&self, carry: &Carry, next: &Untold, at: Moment) -> Option<Self> {
        let carried = |state: &[u64]| -> Box<[u64]> {
            let mut carried = vec![0; next.words()];
            carry.carry(state, &mut carried, at);
            carried.into()
        };
        let state = carried(&self.state);
        let counts = next.outstanding(&state, at).iter().any(|units| *units > 0);
        counts.then(|| Self {
            state,
            unused: self.unused.as_deref().map(carried),
        })
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
                let units = untold.outstanding(&admitted.state, at);
                let counts = units.iter().any(|units| *units > 0);
                counts.then_some(What::Admitted(units))?
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
