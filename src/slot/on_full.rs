//! The choice for requests that find no slot.

use std::time::Duration;

/// What becomes of a request that finds no slot.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum OnFull {
    /// It is refused at once with 503. For servers: whoever waits in a queue holds a connection and grows old.
    #[default]
    Reject,
    /// It waits at most so long for a slot, then it is refused. For clients, and for short bursts. Costs an
    /// allocation a request, and needs tokio's timer.
    Wait(Duration),
}
