//! What gateways do while they cannot reach the store, and what is promised of it.

use crate::scale::Scale;
use clap::ValueEnum;

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

    /// As the gateway's command line has it. Slots are held for longer than any outage of `scale`.
    #[must_use]
    pub fn argument(self, scale: &Scale) -> String {
        let hold = (scale.outage + 3 * scale.ttl).as_millis();
        let slots = scale.limit / scale.gateways;
        match self {
            Self::FailClosed => "fail-closed".to_owned(),
            Self::SafeShare => format!("safe-share:{slots}:{hold}ms"),
            Self::Frozen => format!("frozen:{hold}ms"),
            Self::LocalOnly => "local-only".to_owned(),
        }
    }

    /// The most that may be in flight at the backend, as documented where the policy is set.
    #[must_use]
    pub const fn bound(self, scale: &Scale) -> usize {
        match self {
            Self::FailClosed | Self::SafeShare | Self::Frozen => scale.limit,
            Self::LocalOnly => scale.limit * scale.gateways,
        }
    }

    /// Whether requests are admitted while the store is away.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        !matches!(self, Self::FailClosed)
    }
}
