//! After the storm: from whatever state a walk has left, a calm network brings the fleet back to full use (I5), with
//! a slot for everybody, or a turn for everybody when there are fewer slots than nodes (I6).

use crate::fleet::member::Phase;
use crate::fleet::message::Report;
use crate::fleet::settings::{Allocation, Estimate, Outage, Settings};
use crate::fleet::walk::tests::walks;
use crate::fleet::walk::{ALL, Faults, LIMIT, MS, NAMES, Node, World, settings};
use std::collections::BTreeMap;
use std::time::Duration;

/// One in so many requests ends every millisecond.
const RESIDENCE: u32 = 20;
/// By then every lease, quarantine, tombstone and learning of the storm is over, in milliseconds.
const SETTLED: u64 = 8_000;
/// How long is watched then.
const WATCHED: u64 = 4_000;

impl World<'_> {
    /// One millisecond of ordinary life, and one on the way for every message; every node wants `demand`.
    fn live(&mut self, demand: u32) {
        self.pass_by(MS);
        for (_, message) in std::mem::take(&mut self.network) {
            self.deliver(message);
        }
        let all: Vec<u64> = self.nodes.iter().map(Node::incarnation).collect();
        for incarnation in all {
            let ended = self.rng.u32(..RESIDENCE) == 0;
            self.with(incarnation, |node, now| {
                if ended && node.process.in_flight > node.process.parked {
                    if node.process.in_flight > node.process.member.ceiling() {
                        node.process.member.handle_drained();
                    }
                    node.process.in_flight -= 1;
                }
                if node.process.in_flight < demand && node.process.member.phase() != Phase::Closing
                {
                    node.process.ask(now);
                }
                Vec::new()
            });
            let report = Report {
                demand,
                weight: 1,
                local_limit: LIMIT,
                ..Report::default()
            };
            let fresh = self.rng.u64(1..);
            self.beat(incarnation, report, fresh);
        }
    }
}

/// Walks a storm of `steps` from `seed`, then lives calmly; answers what hangs.
fn storm(
    seed: u64,
    steps: usize,
    settings: &Settings,
    nodes: usize,
    faults: Faults,
) -> Result<(), String> {
    let mut world = World::new(seed, settings.clone(), nodes);
    for _ in 0..steps {
        world.step(faults);
    }
    world.slow = false;
    // Whoever comes now is welcome; all others may be on their way out.
    world.start_with(NAMES.len() - 1, world.settings.clone());
    for _ in 0..SETTLED {
        world.live(2 * LIMIT);
    }
    let mut full = 0;
    let mut turns: BTreeMap<u64, (u32, u32)> = world
        .nodes
        .iter()
        .map(|node| (node.incarnation(), (u32::MAX, 0)))
        .collect();
    let mut limit = 0;
    let mut most = 0;
    let (mut waits, mut longest) = (BTreeMap::new(), 0);
    for _ in 0..WATCHED {
        world.live(2 * LIMIT);
        let Some(first) = world.nodes.first() else {
            return Err(format!("seed {seed}: nobody is left\n{:#?}", world.store));
        };
        limit = first.process.member.limit();
        let mut sum = 0;
        for node in &world.nodes {
            let ceiling = node.process.member.ceiling();
            sum += ceiling;
            let turn = turns
                .get_mut(&node.incarnation())
                .ok_or_else(|| format!("seed {seed}: {} came from nowhere", node.name))?;
            *turn = (turn.0.min(ceiling), turn.1.max(ceiling));
            let waits = waits.entry(node.incarnation()).or_insert(0);
            *waits = if ceiling > 0 { 0 } else { *waits + 1 };
            longest = longest.max(*waits);
        }
        most = most.max(sum);
        full += u64::from(sum == limit);
    }
    let count = u32::try_from(world.nodes.len()).expect("few");
    let tell = || {
        let nodes: Vec<String> = world
            .nodes
            .iter()
            .map(|node| {
                let turn = turns[&node.incarnation()];
                format!(
                    "{} {:?} {} of {}, {turn:?}",
                    node.name,
                    node.process.member.phase(),
                    node.process.in_flight,
                    node.process.member.ceiling(),
                )
            })
            .collect();
        format!("seed {seed}, limit {limit}: {nodes:?}\n{:#?}", world.store)
    };
    // With fewer slots than nodes they are always being handed over.
    if limit >= count && full < WATCHED * 9 / 10 || most < limit {
        return Err(format!("I5: full for {full} of {WATCHED} ms; {}", tell()));
    }
    if limit >= count && turns.values().any(|(least, _)| *least == 0) {
        return Err(format!("I6: somebody has nothing; {}", tell()));
    }
    // A turn is a round; until one beat tells that it is over and the next that it is drained, a heartbeat each.
    let turn = Duration::from_millis(100) + 3 * settings.heartbeat;
    let bound = turn * count.div_ceil(limit.max(1));
    if !faults.revisions && Duration::from_millis(longest) > bound {
        return Err(format!("I6: no turn for {longest} ms; {}", tell()));
    }
    Ok(())
}

fn recover(settings: &Settings, nodes: usize, faults: Faults) {
    for seed in 0..walks() / 10 {
        storm(seed, 1000, settings, nodes, faults).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

fn everywhere(faults: Faults, limit: u32) {
    let hold = Duration::from_millis(300);
    for allocation in [
        Allocation::MaxMin,
        Allocation::EqualSplit,
        Allocation::DemandProportional,
    ] {
        for outage in [
            Outage::FailClosed,
            Outage::Frozen { hold },
            Outage::SafeShare { slots: 2, hold },
        ] {
            let settings = Settings {
                allocation,
                outage,
                estimate: Estimate::Fixed(limit),
                ..settings()
            };
            recover(&settings, 4, faults);
        }
    }
}

#[test]
fn i5_i6_after_the_storm_everything_is_in_use_and_everybody_has_a_slot() {
    everywhere(ALL, LIMIT);
}

#[test]
fn i5_i6_after_a_storm_of_revisions() {
    let faults = Faults {
        revisions: true,
        ..ALL
    };
    everywhere(faults, LIMIT);
}

#[test]
fn i6_with_fewer_slots_than_nodes_everybody_gets_a_turn() {
    everywhere(ALL, 3);
}
