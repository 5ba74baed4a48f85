//! The reductions leave nothing out: what a model without them reaches, one with them reaches too.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, two_nodes};
use crate::fleet::proof::world::World;
use stateright::Model;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Every state of the model in which no message is on its way, not even late, as `seen_as` shows it.
fn resting(bounds: &Bounds, seen_as: impl Fn(World) -> World) -> HashSet<u64> {
    let hash = |world: &World| {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish()
    };
    let mut pending = bounds.init_states();
    let mut known: HashSet<u64> = pending.iter().map(hash).collect();
    let mut resting = HashSet::new();
    let mut steps = Vec::new();
    while let Some(world) = pending.pop() {
        bounds.actions(&world, &mut steps);
        for step in steps.drain(..) {
            let next = bounds
                .next_state(&world, step)
                .expect("every step is possible");
            if known.insert(hash(&next)) {
                pending.push(next);
            }
        }
        if world.network.is_empty() && world.late.is_empty() {
            resting.insert(hash(&seen_as(world)));
        }
    }
    resting
}

/// A crash and a message late for ever.
fn troubled() -> Bounds {
    Bounds {
        room: 1,
        budget: Budget {
            ticks: 1,
            crashes: 1,
            delays: 1,
            ..CALM
        },
        ..two_nodes()
    }
}

#[test]
fn steps_in_one_order_lead_to_the_same_resting_states_as_in_any() {
    let leave = Budget {
        ticks: 1,
        leaves: 1,
        lost: 1,
        ..CALM
    };
    for budget in [troubled().budget, leave] {
        let whole = Bounds {
            budget,
            ..troubled()
        };
        let reduced = Bounds {
            reduced: true,
            ..whole.clone()
        };
        let (whole, reduced) = (resting(&whole, |it| it), resting(&reduced, |it| it));
        assert!(
            whole.len() > 1_000 && whole == reduced,
            "{} and {}",
            whole.len(),
            reduced.len()
        );
    }
}

/// Of more, since names that come first in another order than theirs make other plans.
#[test]
fn one_state_stands_for_every_state_that_differs_by_places_alone() {
    let named = troubled();
    let alike = Bounds {
        symmetric: true,
        ..troubled()
    };
    let places = |mut world: World| {
        world.find_places(&alike);
        world
    };
    let (named, alike) = (resting(&named, places), resting(&alike, |it| it));
    assert!(
        named.len() > 1_000 && named.is_subset(&alike),
        "{} and {}",
        named.len(),
        alike.len()
    );
}
