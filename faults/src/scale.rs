//! How large and how long: the same drills are seconds in CI and half minutes in the command.

use clap::ValueEnum;
use std::time::Duration;

/// How the fleet's limit is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Estimate {
    /// It is given.
    Fixed,
    /// The fleet is told nothing, and finds it.
    Fleet,
}

/// The measures of a drill.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Gateways.
    pub gateways: usize,
    /// How the fleet's limit is found.
    pub estimate: Estimate,
    /// The fleet's limit if it is given, and the backend serves all who come; else what the backend serves at once.
    pub limit: usize,
    /// How long the fleet looks for its limit before anything is measured.
    pub looking: Duration,
    /// How long the backend works on a request. Well below `drain`: whatever a gateway that was killed or stopped has
    /// sent, is worked on.
    pub service: Duration,
    /// A setting of the fleet.
    pub heartbeat: Duration,
    /// A setting of the fleet.
    pub ttl: Duration,
    /// A setting of the fleet.
    pub drain: Duration,
    /// How long the store is away.
    pub outage: Duration,
    /// How long everything else lasts.
    pub spell: Duration,
    /// How long is measured before.
    pub before: Duration,
    /// How long is measured after.
    pub after: Duration,
}

impl Scale {
    /// A few seconds each, with short leases: for CI.
    #[must_use]
    pub const fn short() -> Self {
        Self {
            gateways: 3,
            estimate: Estimate::Fixed,
            limit: 12,
            looking: ms(0),
            service: ms(30),
            heartbeat: ms(200),
            ttl: ms(1_000),
            drain: ms(500),
            outage: ms(3_000),
            spell: ms(2_000),
            before: ms(300),
            after: ms(0),
        }
    }

    /// The store is away for half a minute, and all settings are the defaults.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            gateways: 3,
            estimate: Estimate::Fixed,
            limit: 24,
            looking: ms(0),
            service: ms(30),
            heartbeat: ms(500),
            ttl: ms(2_000),
            drain: ms(1_000),
            outage: ms(30_000),
            spell: ms(8_000),
            before: ms(4_000),
            after: ms(6_000),
        }
    }

    /// The same, of a fleet that is told nothing: it starts at a limit of 20, and has so long to find its own.
    #[must_use]
    pub const fn told_nothing(mut self, looking: Duration) -> Self {
        self.estimate = Estimate::Fleet;
        self.looking = looking;
        self
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
