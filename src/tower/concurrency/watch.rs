//! Watching for the fence, from the first moment that there is something to wait for.

use crate::fence::Cancelled;
use crate::slot::Carrier;
use pin_project::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Completes when the lease of a carrier ran out. Costs nothing until it is first polled.
#[derive(Debug)]
#[pin_project(project = WatchProject)]
pub(super) enum Watch {
    /// Requests outlive the fence.
    Off,
    /// Not asked yet.
    Ready,
    /// Registered with the fence.
    Set(#[pin] Cancelled),
}

impl Watch {
    /// Whether the lease in `carrier` ran out; if not, the task is woken when it does.
    pub(super) fn is_fenced(
        mut self: Pin<&mut Self>,
        carrier: &Carrier,
        cx: &mut Context<'_>,
    ) -> bool {
        if matches!(*self, Self::Ready) {
            self.set(match carrier.token() {
                Some(token) => Self::Set(token.cancelled()),
                None => Self::Off,
            });
        }
        match self.project() {
            WatchProject::Off | WatchProject::Ready => false,
            WatchProject::Set(cancelled) => match cancelled.poll(cx) {
                Poll::Ready(()) => true,
                Poll::Pending => false,
            },
        }
    }
}
