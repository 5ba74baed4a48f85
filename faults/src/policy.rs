//! What gateways do while they cannot reach the store, and what is promised of it.

use crate::scale::{Estimate, Scale};
use clap::ValueEnum;
use std::time::Duration;

/// An outage policy, as `tidegate::fleet::Outage` has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Policy {
    /// Nothing is admitted.
    FailClosed,
    /// An equal part of the limit is kept.
    SafeShare,
    /// The share is kept.
    Frozen,
    /// Each gateway finds a limit of its own, up to the fleet's.
    LocalOnly,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::FailClosed,
        Self::SafeShare,
        Self::Frozen,
        Self::LocalOnly,
    ];

    /// As the gateway's command line has it.
    #[must_use]
    pub fn argument(self, scale: &Scale) -> String {
        let (hold, slots) = (hold(scale).as_millis(), safe_slots(scale));
        match self {
            Self::FailClosed => "fail-closed".to_owned(),
            Self::SafeShare => format!("safe-share:{slots}:{hold}ms"),
            Self::Frozen => format!("frozen:{hold}ms"),
            Self::LocalOnly => "local-only".to_owned(),
        }
    }

    /// For so long after a limit was lowered something may be in flight under the higher one: as long as a lease is used
    /// without an answer, and what was admitted under it goes on.
    #[must_use]
    pub fn memory(self, scale: &Scale) -> Duration {
        let lease = scale.ttl + scale.drain;
        match self {
            Self::FailClosed | Self::SafeShare | Self::LocalOnly => lease,
            Self::Frozen => lease + hold(scale),
        }
    }

    /// The most that may be in flight at the backend, as documented where the policy is set. `largest` says which was the
    /// largest limit that held within so long before.
    #[must_use]
    pub fn bound(self, scale: &Scale, largest: impl Fn(Duration) -> usize) -> usize {
        let limit = largest(self.memory(scale));
        match self {
            Self::FailClosed | Self::Frozen => limit,
            Self::SafeShare => {
                // What was safe under an earlier limit is reserved, however low the next one.
                let safe = safe_slots(scale) * scale.gateways;
                limit.max(safe.min(largest(self.memory(scale) + hold(scale))))
            }
            Self::LocalOnly => scale.gateways * limit.max(scale.limit),
        }
    }

    /// Whether requests are admitted while the store is away.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        !matches!(self, Self::FailClosed)
    }
}

/// How long slots are held: for longer than any outage of `scale`.
fn hold(scale: &Scale) -> Duration {
    scale.outage + 3 * scale.ttl
}

/// How many slots of a gateway are safe: an equal part of the limit. One that the fleet finds is above what the backend
/// serves at once, for the sake of a short queue.
const fn safe_slots(scale: &Scale) -> usize {
    let part = scale.limit / scale.gateways;
    match scale.estimate {
        Estimate::Fixed => part,
        Estimate::Fleet => part + 1,
    }
}
