//! The choice for requests that find no slot.

use std::time::Duration;

/// What becomes of a request that finds no slot.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum OnFull {
    /// It is refused at once with 503. Needs no timer.
    #[default]
    Reject,
    /// It waits at most so long for a slot, first come first served within a class, then it is refused. For clients:
    /// whoever waits at a server holds a connection and grows old. Costs an allocation a request, and needs tokio's
    /// timer.
    Wait(Duration),
    /// It waits a moment for a slot, at most so long and a quarter of the mean latency, and at most as many as there
    /// are slots: [`acquire_or_queue`](crate::ConcurrencyGuard::acquire_or_queue). For servers:
    /// [`micro_queue`](Self::micro_queue) has the recommended bound. Costs nothing where there is a slot; a request
    /// that waits costs an allocation, and needs tokio's timer.
    MicroQueue(Duration),
}

impl OnFull {
    /// The recommended choice for servers: a [`MicroQueue`](Self::MicroQueue) of at most 20 ms. The less a share has,
    /// the more it wins back of what chance refuses.
    #[must_use]
    pub const fn micro_queue() -> Self {
        Self::MicroQueue(Duration::from_millis(20))
    }
}
