//! How large a model is, and what may go wrong in it.

use crate::fleet::proof::mutant::Mutant;
use crate::fleet::proof::sight::{FULL, Sight};
use crate::fleet::settings::{Allocation, Estimate, Settings};
use std::time::Duration;

/// Time passes by ticks. Longer than the shortest round and the shortest life of a token.
pub(super) const TICK: Duration = Duration::from_millis(300);

/// Any number of times.
pub(super) const ANY: u8 = u8::MAX;

/// A model, named by what may happen in it.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) names: &'static [&'static str],
    /// How fast the nodes' clocks go, in percent.
    pub(super) rates: &'static [u32],
    /// The fleet's limit at first, and what the nodes find the backend to be able to take.
    pub(super) limit: u32,
    /// What they find when it moves.
    pub(super) moved: u32,
    pub(super) settings: Settings,
    /// How long requests may go on after their fence or their process, in ticks.
    pub(super) drain: u8,
    /// Whether requests wait at every node, so that each slot is in use as soon as it is there: the worst case for
    /// I2. Otherwise every request comes and goes by a step of its own.
    pub(super) saturated: bool,
    /// Whether requests that are refused below the target are told to the store.
    pub(super) starving: bool,
    /// Whether an empty store grants at once.
    pub(super) trusts: bool,
    /// Whether changed grants are pushed to others than the planner, while there is room.
    pub(super) pushes: bool,
    /// How many messages may be on their way at once...
    pub(super) room: usize,
    /// ...and how many of them while time passes.
    pub(super) late: usize,
    pub(super) budget: Budget,
    /// Whether steps of which the order cannot matter are taken in one order only, and where there is only one step it
    /// is taken at once.
    pub(super) reduced: bool,
    /// Whether nodes differ in nothing but their place.
    pub(super) symmetric: bool,
    /// So many beats a tick of every node, no more and no less; and time passes when all has arrived.
    pub(super) pace: Option<u8>,
    /// I5: within how many calm ticks every slot is in use, from whatever state.
    pub(super) recovers: Option<u8>,
    /// What must be seen, so that the model shows something.
    pub(super) sights: &'static [Sight],
    pub(super) mutant: Option<Mutant>,
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
    /// Of the store to the state it had at some step before, as another server.
    pub(super) restores: u8,
    /// How often what the backend can take moves.
    pub(super) moves: u8,
    /// Of a message, while others overtake it, for as long as it takes.
    pub(super) delays: u8,
    /// How often a node ceases to be asked, or is asked again.
    pub(super) turns: u8,
}

/// Time passes, and nothing goes wrong.
pub(super) const CALM: Budget = Budget {
    ticks: ANY,
    lost: 0,
    repeated: 0,
    crashes: 0,
    leaves: 0,
    flushes: 0,
    restores: 0,
    moves: 0,
    delays: 0,
    turns: 0,
};

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

impl Bounds {
    /// In how many rounds in a row a plan may be another one, for the same nodes.
    pub(super) fn turns(&self) -> u32 {
        let count = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let rotates = self.settings.allocation == Allocation::MaxMin || self.is_scarce();
        if rotates { count } else { 1 }
    }

    /// How the names of tests tell the bounds, beside the nodes and the faults: the slots, how many messages may be on
    /// their way, how many of them while time passes, and for how long the model goes on.
    pub(super) fn spelled(&self) -> String {
        let many = |count: usize, what: &str| match count {
            1 => format!("1_{what}"),
            _ => format!("{count}_{what}s"),
        };
        let mut parts = match self.budget.moves {
            0 => vec![many(self.limit as usize, "slot")],
            _ => vec![format!(
                "{}_or_{}",
                self.limit,
                many(self.moved as usize, "slot")
            )],
        };
        parts.push(many(self.room, "message"));
        if self.late > 0 {
            parts.push(format!("{}_late", self.late));
        }
        parts.push(match self.budget.ticks {
            ANY => "any_ticks".to_owned(),
            ticks => many(ticks.into(), "tick"),
        });
        parts.join("_")
    }

    /// Whether there may be fewer slots than nodes.
    pub(super) fn is_scarce(&self) -> bool {
        (self.limit.min(self.moved) as usize) < self.names.len()
    }

    /// Whether nodes may have nothing to do.
    pub(super) const fn has_idle(&self) -> bool {
        self.budget.turns > 0
    }

    /// Whether it makes a difference since when a node has had a slot, or none.
    pub(super) fn has_seniority(&self) -> bool {
        self.is_scarce() || self.has_idle() && self.names.len() > 2
    }
}

/// Leases of one tick, and requests that may go on for another.
pub(super) fn settings(limit: u32) -> Settings {
    Settings {
        heartbeat: TICK / 2,
        ttl: TICK,
        margin: TICK / 10,
        drain: TICK,
        estimate: Estimate::Fixed(limit),
        allocation: Allocation::EqualSplit,
        ..Settings::default()
    }
}

/// Leases of two ticks.
pub(super) fn longer(limit: u32) -> Settings {
    Settings {
        heartbeat: TICK,
        ttl: 2 * TICK,
        margin: TICK / 5,
        ..settings(limit)
    }
}

/// Two nodes, two slots, two messages on their way that arrive in any order before time goes on.
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
        budget: CALM,
        reduced: false,
        symmetric: false,
        pace: None,
        recovers: None,
        sights: &[FULL],
        mutant: None,
    }
}

/// Three nodes and three slots; one message on its way at a time.
pub(super) fn three_nodes() -> Bounds {
    Bounds {
        names: &["a", "b", "c"],
        rates: &[100, 100, 100],
        limit: 3,
        moved: 3,
        settings: settings(3),
        room: 1,
        ..two_nodes()
    }
}

/// Three nodes and three slots, alike in everything; steps in one order only where that cannot matter.
pub(super) fn three_alike() -> Bounds {
    Bounds {
        reduced: true,
        symmetric: true,
        ..three_nodes()
    }
}

/// The same with leases of two ticks, so that who loses its slots with its lease gets them back within another, and I5 can
/// be asked for from every state: plans come a round apart, and a tick has but one or two of them.
pub(super) fn three_that_recover() -> Bounds {
    Bounds {
        settings: longer(3),
        recovers: Some(8),
        ..three_alike()
    }
}
