//! Watching for the fence, from the first moment that there is something to wait for.

use crate::fence::Cancelled;
use crate::slot::Carrier;
use pin_project::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Completes when the lease of a carrier ran out. Costs nothing until it is first polled.
#[derive(Debug)]
#[must_use = "a watch sees nothing unless it is asked"]
#[pin_project]
pub struct Watch {
    #[pin]
    stage: Stage,
}

#[derive(Debug)]
#[pin_project(project = StageProject)]
enum Stage {
    /// Requests outlive the fence.
    Off,
    /// Not asked yet.
    Ready,
    /// Registered with the fence.
    Set(#[pin] Cancelled),
}

impl Watch {
    /// Sees the fence.
    #[inline]
    pub const fn new() -> Self {
        let stage = Stage::Ready;
        Self { stage }
    }

    /// Never sees it, for work that must not stop in the middle.
    #[inline]
    pub const fn off() -> Self {
        let stage = Stage::Off;
        Self { stage }
    }

    /// Whether the lease in `carrier` ran out; if not, the task is woken when it does.
    pub fn is_fenced(self: Pin<&mut Self>, carrier: &Carrier, cx: &mut Context<'_>) -> bool {
        let mut stage = self.project().stage;
        if matches!(*stage, Stage::Ready) {
            stage.set(match carrier.token() {
                Some(token) => Stage::Set(token.cancelled()),
                None => Stage::Off,
            });
        }
        match stage.project() {
            StageProject::Off | StageProject::Ready => false,
            StageProject::Set(cancelled) => match cancelled.poll(cx) {
                Poll::Ready(()) => true,
                Poll::Pending => false,
            },
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}
