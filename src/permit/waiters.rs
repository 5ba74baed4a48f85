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

/// A slot handed to a waiter who has not come for it yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) since: LocalTime,
    pub(crate) period: u32,
}

/// The queue. Wakers that leave it are handed out, so that none is dropped or woken under its lock: both run code of
/// the caller's, which may come back here.
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

    /// Whose turn it is, and the class.
    pub(crate) fn first(&self) -> Option<(Ticket, Criticality)> {
        self.waiting
            .keys()
            .next()
            .map(|ticket| (*ticket, ticket.class))
    }

    /// The class first in line.
    pub(crate) fn first_class(&self) -> Option<Criticality> {
        self.first().map(|(_, class)| class)
    }

    /// Whether a newcomer of `class` would be served before everybody who waits.
    pub(crate) fn is_first(&self, class: Criticality) -> bool {
        self.first_class().is_none_or(|first| class < first)
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

    /// Whom to wake when it is this ticket's turn, since the task may have moved; answers the waker to drop.
    pub(crate) fn update(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        match self.waiting.get_mut(&ticket) {
            Some(known) if known.will_wake(&waker) => Some(waker),
            Some(known) => Some(std::mem::replace(known, waker)),
            None => Some(waker),
        }
    }

    /// Leaves the queue. Answers the waker to drop, and a slot that was handed over meanwhile: the caller gives it
    /// back.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> (Option<Waker>, Option<Handed>) {
        (self.waiting.remove(&ticket), self.handed.remove(&ticket))
    }

    /// Everybody who waits, to be told that there is nothing to wait for.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.waiting.values().cloned().collect()
    }
}
