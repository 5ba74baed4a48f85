//! What is simulated, and what was seen of it.

use super::World;
use crate::key::Key;
use crate::layered::link::Outage;

/// What is simulated.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) regions: usize,
    /// In each region.
    pub(super) nodes: usize,
    pub(super) limit: u32,
    pub(super) window: u64,
    pub(super) round_trip: u64,
    /// Of each node's wall clock, in nanoseconds.
    pub(super) skew: Vec<i64>,
    /// One in so many messages is lost; 0 for none.
    pub(super) loss: u64,
    pub(super) outage: Outage,
    pub(super) room: usize,
    pub(super) seed: u64,
}

impl Scene {
    pub(super) fn new(nodes: usize, limit: u32, window: u64, round_trip: u64) -> Self {
        Self {
            regions: 1,
            nodes,
            limit,
            window,
            round_trip,
            skew: Vec::new(),
            loss: 0,
            outage: Outage::Local,
            room: 100,
            seed: 1,
        }
    }

    pub(super) fn start(&self) -> World {
        World::new(self.clone())
    }

    /// All nodes of the first region under twice the limit, from the beginning of a window, for `windows`.
    pub(super) fn overloaded(&self, windows: u64) -> World {
        let mut world = self.start();
        world.run_to_boundary();
        let rate = 2 * u64::from(self.limit);
        world.load(hot(), 1, rate, windows * self.window, &[0]);
        world
    }
}

/// The key that everybody asks for.
pub(super) fn hot() -> Key {
    Key::of("hot")
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) admitted: u64,
    pub(super) exact: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

impl Seen {
    /// Admitted, in thousandths of what one exact counter admits.
    pub(super) const fn accuracy(&self) -> u64 {
        self.admitted * 1_000 / self.exact
    }

    pub(super) const fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            admitted: self.admitted - before.admitted,
            exact: self.exact - before.exact,
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
        }
    }
}
