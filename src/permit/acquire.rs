//! The waiting form of taking a slot.

use crate::criticality::Criticality;
use crate::permit::core::Asking;
use crate::permit::queue::{Place, Queued, Wait};
use crate::permit::waiters::{Handed, Ticket, Turn};
use crate::permit::{Gate, Status};
use crate::permit::{Lease, Shed};
use pin_project::{pin_project, pinned_drop};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A request waiting for its slot. Made by [`ConcurrencyGuard::acquire`](crate::ConcurrencyGuard::acquire) and
/// [`ConcurrencyGuard::acquire_or_queue`](crate::ConcurrencyGuard::acquire_or_queue).
///
/// # Cancel safety
/// Dropping it leaves the queue; a slot handed over but not yet taken goes to the next in line.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct Acquire {
    gate: Arc<Gate>,
    class: Criticality,
    wait: Wait,
    ticket: Option<Ticket>,
    /// The deadline; `None` before the first poll, and for those who do not wait.
    #[pin]
    sleep: Option<Sleep>,
}

impl Acquire {
    const fn new(gate: Arc<Gate>, class: Criticality, wait: Wait) -> Self {
        Self {
            gate,
            class,
            wait,
            ticket: None,
            sleep: None,
        }
    }
}

/// A slot that was free, or the wait for one. Made by
/// [`ConcurrencyGuard::acquire_or_queue`](crate::ConcurrencyGuard::acquire_or_queue).
#[derive(Debug)]
#[must_use = "dropping it gives a slot back, or leaves the queue"]
pub enum Queueing {
    /// There was a slot.
    Admitted(Lease),
    /// There was none; the future joins the queue when it is polled.
    Waits(Acquire),
}

impl Queueing {
    /// The slot, after the wait for it if there is one.
    ///
    /// # Errors
    /// [`Shed`], with the reason, when the request must not go on.
    ///
    /// # Cancel safety
    /// As [`Acquire`].
    pub async fn lease(self) -> Result<Lease, Shed> {
        match self {
            Self::Admitted(lease) => Ok(lease),
            Self::Waits(acquire) => acquire.await,
        }
    }
}

impl Gate {
    /// Waits in line for a slot.
    pub(crate) fn acquire(self: &Arc<Self>, class: Criticality, max_wait: Duration) -> Acquire {
        Acquire::new(Arc::clone(self), class, Wait::InLine(max_wait))
    }

    /// Takes a slot, else a place in the micro-queue.
    #[inline]
    pub(crate) fn acquire_or_queue(
        self: &Arc<Self>,
        class: Criticality,
        max_wait: Duration,
    ) -> Queueing {
        match self.admit(class, Asking::Newcomer) {
            Ok(slot) => Queueing::Admitted(self.lease(slot)),
            Err(_) => {
                let wait = Wait::Briefly(max_wait);
                Queueing::Waits(Acquire::new(Arc::clone(self), class, wait))
            }
        }
    }
}

impl Future for Acquire {
    type Output = Result<Lease, Shed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ticket = match *this.ticket {
            Some(ticket) => ticket,
            None if this.gate.status() == Status::Closed => {
                return Poll::Ready(refuse(this.gate, *this.class, Shed::Closed));
            }
            None => match join(this.gate, *this.class, *this.wait, cx) {
                Queued::Slot(slot) => return Poll::Ready(Ok(this.gate.lease(slot))),
                Queued::TurnedAway(shed) => {
                    return Poll::Ready(refuse(this.gate, *this.class, shed));
                }
                Queued::Waits(Place { ticket, at_most }) => {
                    if !at_most.is_zero() {
                        this.sleep.set(Some(tokio::time::sleep(at_most)));
                    }
                    *this.ticket.insert(ticket)
                }
            },
        };
        // Before the deadline: a slot that came in time counts, however late we are polled.
        if let Some(turn) = this.gate.poll_ticket(ticket, cx.waker()) {
            *this.ticket = None;
            return Poll::Ready(take_turn(this.gate, *this.class, turn));
        }
        // After joining: whoever closes the gate wakes those who have joined.
        let gave_up = if this.gate.status() == Status::Closed {
            Shed::Closed
        } else {
            match this.sleep.as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(())) | None => Shed::Deadline,
            }
        };
        *this.ticket = None;
        Poll::Ready(match this.gate.give_up(ticket) {
            Some(slot) => collect(this.gate, slot),
            None => refuse(this.gate, *this.class, gave_up),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Acquire {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        // A slot that was handed over meanwhile goes on to the next in line.
        if let Some(slot) = this
            .ticket
            .take()
            .and_then(|ticket| this.gate.leave(ticket))
        {
            this.gate.lease(slot).ignore();
        }
    }
}

/// A free slot without the queue's lock, or a place in the queue.
fn join(gate: &Gate, class: Criticality, wait: Wait, cx: &Context<'_>) -> Queued {
    match gate.admit(class, Asking::Newcomer) {
        Ok(slot) => Queued::Slot(slot),
        Err(_) => gate.enqueue(class, wait, cx.waker().clone()),
    }
}

/// What a waiter was told.
pub(crate) fn take_turn(gate: &Arc<Gate>, class: Criticality, turn: Turn) -> Result<Lease, Shed> {
    match turn {
        Turn::Slot(slot) => collect(gate, slot),
        Turn::TurnedAway(shed) => refuse(gate, class, shed),
    }
}

/// A slot handed over before the fence and found after it must not start anything.
pub(crate) fn collect(gate: &Arc<Gate>, slot: Handed) -> Result<Lease, Shed> {
    match gate.still_good(slot) {
        Some(slot) => Ok(gate.lease(slot)),
        None => {
            gate.lease(slot).ignore();
            refuse(gate, slot.class, Shed::Fenced)
        }
    }
}

pub(crate) fn refuse(gate: &Gate, class: Criticality, shed: Shed) -> Result<Lease, Shed> {
    gate.refused(class, shed);
    Err(shed)
}
