//! Who waits for a slot: by class, the most critical first, then by arrival.

use crate::criticality::Criticality;
use crate::time::LocalTime;
use std::collections::BTreeMap;
use std::task::Waker;

/// A place in the queue. Ordered as it is served.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ticket {
    class: Criticality,
    number: u64,
}

impl Ticket {
    pub(crate) const fn class(self) -> Criticality {
        self.class
    }
}

/// A slot handed to a waiter who has not come for it yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) since: LocalTime,
    pub(crate) period: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    waiting: BTreeMap<Ticket, Waker>,
    handed: BTreeMap<Ticket, Handed>,
}

impl Waiters {
    pub(crate) fn join(&mut self, class: Criticality, waker: Waker) -> Ticket {
        let ticket = Ticket {
            class,
            number: self.next,
        };
        self.next += 1;
        self.waiting.insert(ticket, waker);
        ticket
    }

    /// Whose turn it is.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.waiting.keys().next().copied()
    }

    /// Whether a newcomer of `class` would be served before everybody who waits.
    pub(crate) fn is_first(&self, class: Criticality) -> bool {
        self.first().is_none_or(|first| class < first.class)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands a slot to `ticket`, who must be waiting; answers whom to wake.
    pub(crate) fn hand(&mut self, ticket: Ticket, slot: Handed) -> Option<Waker> {
        let waker = self.waiting.remove(&ticket);
        if waker.is_some() {
            self.handed.insert(ticket, slot);
        }
        waker
    }

    /// The slot handed to `ticket`, if any; it is the caller's now.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Handed> {
        self.handed.remove(&ticket)
    }

    /// Whom to wake when it is this ticket's turn; the task may have moved.
    pub(crate) fn update(&mut self, ticket: Ticket, waker: &Waker) {
        if let Some(known) = self.waiting.get_mut(&ticket) {
            known.clone_from(waker);
        }
    }

    /// Leaves the queue. Answers a slot that was handed over meanwhile: the caller gives it back.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Handed> {
        self.waiting.remove(&ticket);
        self.handed.remove(&ticket)
    }

    /// Everybody who waits, to be told that there is nothing to wait for.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.waiting.values().cloned().collect()
    }
}
