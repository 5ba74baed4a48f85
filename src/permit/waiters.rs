//! Those who wait for a slot, what they were told, and whom to wake for it.

use crate::criticality::Criticality;
use crate::permit::Shed;
use crate::permit::line::Line;
use crate::time::LocalTime;
use std::collections::BTreeMap;
use std::task::Waker;

pub(crate) use crate::permit::line::Ticket;

/// A slot handed to a waiter who has not come for it yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) since: LocalTime,
    pub(crate) period: u32,
    pub(crate) class: Criticality,
}

/// What a waiter learns of its place. A slot is the caller's now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Slot(Handed),
    TurnedAway(Shed),
}

/// The queue. Wakers that leave it are handed out, so that none is dropped or woken under its lock: both run code of
/// the caller's, which may come back here.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    line: Line,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Those whose turn has come, one way or the other, and who have not come for it.
    turns: BTreeMap<Ticket, Turn>,
}

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    /// Why there was no slot at once.
    because: Shed,
}

/// Somebody's turn has come.
#[derive(Debug)]
pub(super) enum Called {
    /// It has the slot; why it had to wait for it.
    Served(Waker, Shed),
    /// It has waited in vain; the slot is still there.
    TooLate(Waker),
}

impl Waiters {
    /// Waits in line.
    pub(super) fn join(&mut self, class: Criticality, because: Shed, waker: Waker) -> Ticket {
        let ticket = self.line.join(class);
        self.waiting.insert(ticket, Waiting { waker, because });
        ticket
    }

    /// Waits in the micro-queue until `until`, among at most `room`: the place, and whom to wake because it is his no
    /// more; or the waker to drop, if there is no room.
    pub(super) fn join_briefly(
        &mut self,
        class: Criticality,
        because: Shed,
        waker: Waker,
        until: LocalTime,
        room: u32,
    ) -> Result<(Ticket, Option<Waker>), Waker> {
        let Some((ticket, displaced)) = self.line.join_briefly(class, until, room) else {
            return Err(waker);
        };
        self.waiting.insert(ticket, Waiting { waker, because });
        let wake = displaced.and_then(|other| self.turn_away(other, Shed::Full));
        Ok((ticket, wake))
    }

    /// Offers `slot` to the one who is next; `None` if nobody waits.
    pub(super) fn call(&mut self, slot: Handed) -> Option<Called> {
        match self.line.pop(slot.since)? {
            Ok(ticket) => {
                let Waiting { waker, because } = self.waiting.remove(&ticket)?;
                self.turns.insert(ticket, Turn::Slot(slot));
                Some(Called::Served(waker, because))
            }
            Err(ticket) => self.turn_away(ticket, Shed::Deadline).map(Called::TooLate),
        }
    }

    fn turn_away(&mut self, ticket: Ticket, because: Shed) -> Option<Waker> {
        self.turns.insert(ticket, Turn::TurnedAway(because));
        self.waiting.remove(&ticket).map(|waiting| waiting.waker)
    }

    /// The class first in line.
    pub(super) fn first_class(&self) -> Option<Criticality> {
        self.line.first_class()
    }

    /// Whether a newcomer of `class` would be served before everybody who waits.
    pub(super) fn is_first(&self, class: Criticality) -> bool {
        self.first_class().is_none_or(|first| class < first)
    }

    /// What has become of `ticket`, if anything.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Turn> {
        self.turns.remove(&ticket)
    }

    /// Whom to wake when it is this ticket's turn, since the task may have moved; answers the waker to drop.
    pub(super) fn update(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        match self.waiting.get_mut(&ticket) {
            Some(known) if known.waker.will_wake(&waker) => Some(waker),
            Some(known) => Some(std::mem::replace(&mut known.waker, waker)),
            None => Some(waker),
        }
    }

    /// Leaves the queue, as one who has waited in vain or as one who has not. Answers the waker to drop, and what was
    /// told meanwhile: the caller gives a slot back.
    pub(super) fn leave(&mut self, ticket: Ticket, in_vain: bool) -> (Option<Waker>, Option<Turn>) {
        if in_vain {
            self.line.give_up(ticket);
        } else {
            self.line.leave(ticket);
        }
        let waiting = self.waiting.remove(&ticket);
        (waiting.map(|it| it.waker), self.turns.remove(&ticket))
    }

    /// Everybody who waits, to be told that there is nothing to wait for.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        let waiting = self.waiting.values();
        waiting.map(|it| it.waker.clone()).collect()
    }
}
