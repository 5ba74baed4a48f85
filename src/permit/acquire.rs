//! The waiting form of taking a slot.

use crate::criticality::Criticality;
use crate::permit::waiters::{Handed, Ticket};
use crate::permit::{Gate, Status};
use crate::permit::{Lease, Shed};
use pin_project::{pin_project, pinned_drop};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A request waiting for its slot. Made by [`ConcurrencyGuard::acquire`](crate::ConcurrencyGuard::acquire).
///
/// # Cancel safety
/// Dropping it leaves the queue; a slot handed over but not yet taken goes to the next in line.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct Acquire {
    gate: Arc<Gate>,
    class: Criticality,
    max_wait: Duration,
    ticket: Option<Ticket>,
    /// The deadline; `None` before the first poll, and for those who do not wait.
    #[pin]
    sleep: Option<Sleep>,
}

impl Acquire {
    pub(crate) const fn new(gate: Arc<Gate>, class: Criticality, max_wait: Duration) -> Self {
        Self {
            gate,
            class,
            max_wait,
            ticket: None,
            sleep: None,
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
                return Poll::Ready(refuse(this.gate, Shed::Closed));
            }
            None => match this.gate.enqueue(*this.class, cx.waker().clone()) {
                Ok(slot) => return Poll::Ready(Ok(this.gate.lease(slot))),
                Err(ticket) => {
                    if !this.max_wait.is_zero() {
                        this.sleep.set(Some(tokio::time::sleep(*this.max_wait)));
                    }
                    *this.ticket.insert(ticket)
                }
            },
        };
        // Before the deadline: a slot that came in time counts, however late we are polled.
        if let Some(slot) = this.gate.poll_ticket(ticket, cx.waker()) {
            *this.ticket = None;
            return Poll::Ready(collect(this.gate, slot));
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
        Poll::Ready(match this.gate.leave(ticket) {
            Some(slot) => collect(this.gate, slot),
            None => refuse(this.gate, gave_up),
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

/// A slot handed over before the fence and found after it must not start anything.
pub(crate) fn collect(gate: &Arc<Gate>, slot: Handed) -> Result<Lease, Shed> {
    match gate.still_good(slot) {
        Some(slot) => Ok(gate.lease(slot)),
        None => {
            gate.lease(slot).ignore();
            refuse(gate, Shed::Fenced)
        }
    }
}

pub(crate) fn refuse(gate: &Gate, shed: Shed) -> Result<Lease, Shed> {
    gate.refused(shed);
    Err(shed)
}
