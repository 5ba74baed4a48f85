//! Never above the limit, whatever happens: every unit that was spent is one that the rule would have let pass then.

use super::{MS, SECOND, Scene, World};
use crate::decision::Policy;
use crate::key::Key;

const QUOTAS: [&str; 7] = [
    "1000/s fixed",
    "1000/s sliding",
    "1000/s",
    "500/s burst 60",
    "90/s burst 2",
    "20000/hour calendar",
    "700/s burst 90, 900/s fixed, 5000/10s sliding",
];

/// Loads that come and go, on several keys and all nodes.
fn live(scene: &Scene, rate: u64) -> World {
    let mut world = World::new(scene);
    let nodes = scene.nodes;
    for _ in 0..4 {
        for (key, part) in [("hot", 20), ("warm", 12), ("cold", 1)] {
            let key = Key::of(key);
            let factor = world.rng.u64(0..=part);
            world.load(key, rate * factor / 10, SECOND, 1, 0..nodes);
            let first = world.rng.usize(..nodes);
            world.load(key, rate * factor / 40, SECOND, 4, first..nodes);
        }
        world.run(SECOND + 300 * MS);
    }
    world.run(2 * SECOND);
    world
}

fn rate(policies: &[Policy]) -> u64 {
    let rate = |policy: &Policy| {
        let quota = policy.quota();
        u64::from(quota.limit()) * SECOND / quota.window().as_nanos() as u64
    };
    // An hour's is spent in less.
    policies.iter().map(rate).min().unwrap_or(0).max(100)
}

/// All that can go wrong, much of it at once.
fn scenes(seeds: u64) -> impl Iterator<Item = Scene> {
    let scene = |(seed, quota): (u64, &str)| Scene {
        trouble: [0, 100, 8][seed as usize % 3],
        crash_every: [0, 700 * MS][seed as usize % 2],
        max_batch: [1_000, 20, 1][seed as usize % 5 % 3],
        room: [100, 1, 2][seed as usize % 7 % 3],
        seed,
        ..Scene::new(
            1 + seed as usize % 6,
            quota,
            [1, 7, 60][seed as usize / 2 % 3] * MS,
        )
    };
    let each = move |quota| (0..seeds).map(move |seed| (seed, quota));
    QUOTAS.into_iter().flat_map(each).map(scene)
}

#[test]
fn nobody_spends_what_the_rule_would_not_have_let_pass() {
    let mut spent = 0;
    for scene in scenes(42) {
        let world = live(&scene, rate(&scene.policies));
        if let Some(breach) = world.breach(&scene.policies) {
            panic!("{breach}\n{scene:?}");
        }
        spent += world.sums().0;
    }
    assert!(spent > 500_000, "only {spent} units were spent at all");
}

/// Whatever is refunded, what stays is within the limit; and units do come back, or there would be none to go beyond it.
#[test]
fn what_is_refunded_was_never_spent_and_nobody_gets_more_for_it() {
    let mut reused = 0;
    for scene in scenes(21) {
        let scene = Scene {
            refunds: 1 + scene.seed % 4,
            ..scene
        };
        let mut world = live(&scene, rate(&scene.policies));
        if let Some(breach) = world.breach(&scene.policies) {
            panic!("{breach}\n{scene:?}");
        }
        world.void.clear();
        reused += usize::from(world.breach(&scene.policies).is_some());
    }
    assert!(reused > 50, "units were spent once more {reused} times");
}

/// The bound is what it says, and not much more than is needed: without it the same spending is a breach.
#[test]
fn late_units_pass_beyond_the_limit_by_as_many_as_stated() {
    const LATE: u32 = 15;
    let mut beyond = 0;
    for scene in scenes(21) {
        let scene = Scene {
            late: LATE,
            max_batch: scene.max_batch.max(LATE + 1),
            ..scene
        };
        let world = live(&scene, rate(&scene.policies));
        let more = |policy: &Policy| {
            let quota = *policy.quota();
            let burst = quota.burst_size() + LATE * scene.nodes as u32;
            Policy::new(policy.name(), quota.try_burst(burst).unwrap_or(quota))
        };
        let bound: Vec<Policy> = scene.policies.iter().map(more).collect();
        if let Some(breach) = world.breach(&bound) {
            panic!("{breach}\n{scene:?}");
        }
        beyond += usize::from(world.breach(&scene.policies).is_some());
    }
    assert!(beyond > 5, "late units made a difference {beyond} times");
}
