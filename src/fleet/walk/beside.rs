//! A walk through two stores at once, which must answer alike.

use crate::fleet::key_state::EmptyStore;
use crate::fleet::settings::{Estimate, Outage, Settings};
use crate::fleet::walk::{ALL, Faults, LIMIT, Twin, World, settings};
use std::time::Duration;

/// Walks `steps` from `seed` with `twin` beside the memory store, comparing every reply; answers how many there were.
pub(crate) fn walk_beside(twin: &mut dyn Twin, seed: u64, steps: usize, servers: u32) -> usize {
    let outages = [
        Outage::FailClosed,
        Outage::Frozen {
            hold: Duration::from_millis(300),
        },
        Outage::SafeShare {
            slots: 2,
            hold: Duration::from_millis(300),
        },
    ];
    // The estimator's memory, too, must come back from the store as it was.
    let estimates = [
        Estimate::Fixed(LIMIT),
        Estimate::Fleet,
        Estimate::Fleet,
        Estimate::Median,
    ];
    let settings = Settings {
        outage: outages[(seed % 3) as usize],
        estimate: estimates[(seed / 2 % 4) as usize],
        ..settings()
    };
    let mut world = World::new(seed, settings, 3);
    (world.twin, world.servers) = (Some(twin), servers);
    world.empty = if seed.is_multiple_of(2) {
        EmptyStore::Learn
    } else {
        EmptyStore::Trust
    };
    for _ in 0..steps {
        world.step(Faults {
            clocks: true,
            revisions: seed % 4 == 3,
            ..ALL
        });
    }
    world.replies
}
