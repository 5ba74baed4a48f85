//! How large a model is, and what may go wrong in it.

use crate::fleet::settings::{Allocation, Estimate, Settings};
use std::time::Duration;

/// Time passes by ticks. Longer than the shortest round and the shortest life of a token.
pub(super) const TICK: Duration = Duration::from_millis(300);

/// Any number of times.
pub(super) const ANY: u8 = u8::MAX;

#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) names: &'static [&'static str],
    /// How fast the nodes' clocks go, in percent.
    pub(super) rates: &'static [u32],
    /// The fleet's limit at first, and what the backend can take at first.
    pub(super) limit: u32,
    /// What the backend can take when it moves.
    pub(super) moved: u32,
    pub(super) settings: Settings,
    /// How long requests may go on after their fence or their process, in ticks.
    pub(super) drain: u8,
    /// Every slot is in use as soon as it is there: the worst case for I2.
    pub(super) saturated: bool,
    /// Whether requests that are refused below the target are told to the store.
    pub(super) starving: bool,
    /// Whether an empty store grants at once.
    pub(super) trusts: bool,
    pub(super) pushes: bool,
    /// How many messages may be on their way at once...
    pub(super) room: usize,
    /// ...and how many of them while time passes.
    pub(super) late: usize,
    pub(super) budget: Budget,
}

/// How often what may still happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Budget {
    pub(super) ticks: u8,
    pub(super) lost: u8,
    pub(super) repeated: u8,
    pub(super) crashes: u8,
    pub(super) leaves: u8,
    pub(super) flushes: u8,
    pub(super) restores: u8,
    /// How often the capacity moves.
    pub(super) moves: u8,
}

impl Budget {
    pub(super) const fn is_left(budget: u8) -> bool {
        budget > 0
    }

    pub(super) fn spend(budget: &mut u8) {
        if *budget != ANY {
            *budget -= 1;
        }
    }
}

pub(super) fn settings(limit: u32) -> Settings {
    Settings {
        heartbeat: TICK,
        ttl: 2 * TICK,
        margin: TICK / 5,
        drain: TICK,
        estimate: Estimate::Fixed(limit),
        allocation: Allocation::EqualSplit,
        ..Settings::default()
    }
}

/// Two nodes and two slots; messages may be delayed for ever, and nothing else goes wrong.
pub(super) fn two_nodes() -> Bounds {
    Bounds {
        names: &["a", "b"],
        rates: &[100, 100],
        limit: 2,
        moved: 2,
        settings: settings(2),
        drain: 1,
        saturated: true,
        starving: false,
        trusts: true,
        pushes: false,
        room: 2,
        late: 0,
        budget: Budget {
            ticks: ANY,
            lost: 0,
            repeated: 0,
            crashes: 0,
            leaves: 0,
            flushes: 0,
            restores: 0,
            moves: 0,
        },
    }
}
