//! One message to the store: what it says, and whether there is any point left in saying it.

use crate::rule::Moment;
use crate::store::redis::rates::{GiveBack, MessageId};
use crate::strict::untold::Untold;
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
