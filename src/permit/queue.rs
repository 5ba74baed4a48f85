//! Waiting at the gate: how a slot that comes back finds the one who waits for it.
//!
//! Whoever waits is in the queue, under its lock, and marked in the permit word. Two rules leave no wake-up to chance:
//! * A newcomer marks the word first and then looks once more for a free slot. One that came back before the mark is
//!   seen by that look; one that comes back after it finds the mark.
//! * Whatever may make a slot free (a slot given back, a ceiling raised, a fence moved on) reads the mark in or after
//!   the step that did it, and serves the queue.

use crate::permit::core::{Asking, Core};
use crate::sync::lock;
use std::task::Waker;

#[cfg(any(feature = "fleet", tidegate_loom))]
use {
    crate::criticality::Criticality,
    crate::permit::waiters::{Handed, Ticket},
    crate::sync::Ordering,
};

impl Core {
    /// Hands free slots to those who wait, in order.
    #[cold]
    pub(super) fn serve_waiters(&self) {
        let mut wake: Vec<Waker> = Vec::new();
        let mut waiters = lock(&self.waiters);
        while let Some((ticket, class)) = waiters.first() {
            // Caps fall with the class, so if the first cannot be served nobody can.
            let Ok(slot) = self.admit(class, Asking::First) else {
                break;
            };
            wake.extend(waiters.hand(ticket, slot));
        }
        let first = waiters.first_class();
        self.change(|word| word.with_first(first));
        drop(waiters);
        wake.into_iter().for_each(Waker::wake);
    }
}

#[cfg(any(feature = "fleet", tidegate_loom))]
impl Core {
    /// Joins the queue, unless there is a slot.
    pub(crate) fn enqueue(&self, class: Criticality, waker: Waker) -> Result<Handed, Ticket> {
        let mut waiters = lock(&self.waiters);
        if waiters.is_first(class) {
            if let Ok(slot) = self.admit(class, Asking::First) {
                return Ok(slot);
            }
            self.change(|word| word.with_first(Some(class)));
            if let Ok(slot) = self.admit(class, Asking::First) {
                let first = waiters.first_class();
                self.change(|word| word.with_first(first));
                return Ok(slot);
            }
        }
        Err(waiters.join(class, waker))
    }

    /// The slot handed to `ticket`; else remembers whom to wake.
    pub(crate) fn poll_ticket(&self, ticket: Ticket, waker: &Waker) -> Option<Handed> {
        let waker = waker.clone();
        let mut waiters = lock(&self.waiters);
        let handed = waiters.take(ticket);
        let stale = match handed {
            Some(_) => Some(waker),
            None => waiters.update(ticket, waker),
        };
        drop(waiters);
        drop(stale);
        handed
    }

    /// Leaves the queue; a slot handed over meanwhile is the caller's.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Handed> {
        let mut waiters = lock(&self.waiters);
        let (waker, handed) = waiters.leave(ticket);
        let first = waiters.first_class();
        self.change(|word| word.with_first(first));
        drop(waiters);
        drop(waker);
        handed
    }

    /// The slot as it is now that its waiter has come for it, if it may still be used: its time starts here.
    pub(super) fn still_good(&self, slot: Handed) -> Option<Handed> {
        let since = self.read.clock.now();
        let in_time = since.as_nanos() < self.read.fence_at.load(Ordering::Acquire);
        let in_period = slot.period == self.read.period.load(Ordering::Acquire);
        (in_time && in_period).then(|| {
            self.linger_until(slot.since, since);
            Handed { since, ..slot }
        })
    }
}
