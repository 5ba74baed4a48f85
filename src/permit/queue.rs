//! Waiting at the gate: how a slot that comes back finds the one who waits for it.
//!
//! Whoever waits is in the queue, under its lock, and marked in the permit word. Two rules leave no wake-up to chance:
//! * A newcomer marks the word first and then looks once more for a free slot. One that came back before the mark is
//!   seen by that look; one that comes back after it finds the mark.
//! * Whatever may make a slot free (a slot given back, a ceiling raised, a fence moved on) reads the mark in or after
//!   the step that did it, and serves the queue.
//!
//! Who is next is decided in `line.rs`.

use crate::permit::Shed;
use crate::permit::core::{Asking, Core};
use crate::permit::waiters::{Called, Waiters};
use crate::sync::lock;
use std::task::Waker;

#[cfg(any(feature = "fleet", tidegate_loom))]
use {
    crate::criticality::Criticality,
    crate::permit::waiters::{Handed, Ticket, Turn},
    crate::permit::word::Word,
    crate::sync::Ordering,
    std::time::Duration,
};

/// How somebody waits.
#[cfg(any(feature = "fleet", tidegate_loom))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// At most so long, however many wait.
    InLine(Duration),
    /// In the micro-queue: at most so long, a quarter of the mean latency, and as many as there are slots.
    Briefly(Duration),
}

/// A place in the queue.
#[cfg(any(feature = "fleet", tidegate_loom))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) ticket: Ticket,
    pub(crate) at_most: Duration,
}

/// What becomes of somebody who would wait.
#[cfg(any(feature = "fleet", tidegate_loom))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Queued {
    /// There is a slot after all.
    Slot(Handed),
    Waits(Place),
    TurnedAway(Shed),
}

impl Core {
    /// Hands free slots to those who wait, in order.
    #[cold]
    pub(super) fn serve_waiters(&self) {
        let mut wake: Vec<Waker> = Vec::new();
        let mut waiters = lock(&self.waiters);
        while let Some(class) = waiters.first_class() {
            // Caps fall with the class, so if the first cannot be served nobody can.
            let Ok(slot) = self.admit(class, Asking::First) else {
                break;
            };
            match waiters.call(slot) {
                Some(Called::Served(waker, because)) => {
                    wake.push(waker);
                    if matches!(because, Shed::Full | Shed::Class) {
                        self.tally.waited();
                    }
                }
                Some(Called::TooLate(waker)) => {
                    wake.push(waker);
                    self.take_back_late(Asking::First);
                }
                None => self.take_back_late(Asking::First),
            }
        }
        self.mark(&waiters);
        drop(waiters);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Says in the word who is first.
    fn mark(&self, waiters: &Waiters) {
        let first = waiters.first_class();
        self.change(|word| word.with_first(first));
    }
}

#[cfg(any(feature = "fleet", tidegate_loom))]
impl Core {
    /// Joins the queue, unless there is a slot.
    pub(crate) fn enqueue(&self, class: Criticality, wait: Wait, waker: Waker) -> Queued {
        let mut waiters = lock(&self.waiters);
        let because = if waiters.is_first(class) {
            match self.mark_and_look_again(class, &waiters) {
                Ok(slot) => return Queued::Slot(slot),
                Err(because) => because,
            }
        } else {
            self.reason(Word::from_bits(self.word.load(Ordering::Acquire)))
        };
        let (queued, wake, stale) = match wait {
            Wait::InLine(at_most) => {
                let ticket = waiters.join(class, because, waker);
                (Queued::Waits(Place { ticket, at_most }), None, None)
            }
            Wait::Briefly(most) => self.join_briefly(&mut waiters, class, because, waker, most),
        };
        self.mark(&waiters);
        drop(waiters);
        drop(stale);
        wake.into_iter().for_each(Waker::wake);
        if matches!(queued, Queued::Waits(_)) {
            self.tell_hunger();
        }
        queued
    }

    fn mark_and_look_again(&self, class: Criticality, waiters: &Waiters) -> Result<Handed, Shed> {
        if let Ok(slot) = self.admit(class, Asking::First) {
            return Ok(slot);
        }
        self.change(|word| word.with_first(Some(class)));
        let looked = self.admit(class, Asking::First);
        if looked.is_ok() {
            self.mark(waiters);
        }
        looked
    }

    /// Answers also whom to wake, and the waker to drop.
    fn join_briefly(
        &self,
        waiters: &mut Waiters,
        class: Criticality,
        because: Shed,
        waker: Waker,
        most: Duration,
    ) -> (Queued, Option<Waker>, Option<Waker>) {
        let at_most = self.brief_wait(most);
        // Another request's end does not open a gate that is cold, fenced or closed.
        if at_most.is_zero() || !matches!(because, Shed::Full | Shed::Class) {
            return (Queued::TurnedAway(because), None, Some(waker));
        }
        let until = self.read.clock.now().saturating_add(at_most);
        let (room, _) = self.sample();
        match waiters.join_briefly(class, because, waker, until, room) {
            Ok((ticket, wake)) => (Queued::Waits(Place { ticket, at_most }), wake, None),
            Err(stale) => (Queued::TurnedAway(because), None, Some(stale)),
        }
    }

    /// How long somebody who would wait at most `most` waits in the micro-queue.
    fn brief_wait(&self, most: Duration) -> Duration {
        match self.mean_us.load(Ordering::Relaxed) {
            0 => most,
            mean => most.min(Duration::from_micros(mean) / 4),
        }
    }

    /// What has become of `ticket`; else remembers whom to wake.
    pub(crate) fn poll_ticket(&self, ticket: Ticket, waker: &Waker) -> Option<Turn> {
        let waker = waker.clone();
        let mut waiters = lock(&self.waiters);
        let turn = waiters.take(ticket);
        let stale = match turn {
            Some(_) => Some(waker),
            None => waiters.update(ticket, waker),
        };
        drop(waiters);
        drop(stale);
        turn
    }

    /// Leaves the queue, having waited in vain; a slot handed over meanwhile is the caller's.
    pub(crate) fn give_up(&self, ticket: Ticket) -> Option<Handed> {
        self.stop_waiting(ticket, true)
    }

    /// Leaves the queue of its own accord; a slot handed over meanwhile is the caller's.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Handed> {
        self.stop_waiting(ticket, false)
    }

    fn stop_waiting(&self, ticket: Ticket, in_vain: bool) -> Option<Handed> {
        let mut waiters = lock(&self.waiters);
        let (waker, turn) = waiters.leave(ticket, in_vain);
        self.mark(&waiters);
        drop(waiters);
        drop(waker);
        match turn {
            Some(Turn::Slot(slot)) => Some(slot),
            Some(Turn::TurnedAway(_)) | None => None,
        }
    }

    /// The slot as it is now that its waiter has come for it, if it may still be used: its time starts here.
    pub(super) fn still_good(&self, slot: Handed) -> Option<Handed> {
        let since = self.read.clock.now();
        let in_time = since.as_nanos() < self.read.fence_at.load(Ordering::Acquire);
        let in_period = slot.period == self.read.period.load(Ordering::Acquire);
        (in_time && in_period).then(|| {
            self.book(slot.since, since);
            Handed { since, ..slot }
        })
    }
}
