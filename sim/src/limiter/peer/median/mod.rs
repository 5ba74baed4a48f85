//! A fleet as ThrottleKit publishes it: every node finds a limit of its own, the median of these is the fleet's, and a node
//! admits within its share of that and within its own limit.
//!
//! A node's estimator holds still while less than half of its own limit is in flight. As no node has more in flight than
//! its share, the fleet's limit stays about where it began wherever two nodes or more share it.
//!
//! Taken in its favour: a beat takes no time and is not lost, but where a partition lies between. No eager beats and no
//! acknowledged hand-off, which are off by default.

mod coordinator;

pub(in crate::limiter) use self::coordinator::Deal;

use self::coordinator::{Coordinator, Report};
use super::{Algorithm, Gradient2, Measured};
use crate::engine::{Agenda, MS, Nanos, SECOND};
use crate::limiter::{Asking, Held, Limiter, Outcome, Scene, Truth, Verdict};
use crate::random::{Stream, stream};
use crate::scenario::{NetworkSpec, NodeChange, Scenario, StoreChange};
use crate::world::Event;
use fastrand::Rng;

/// Where a node begins, and the least that it finds.
pub(in crate::limiter) const LEAST: u32 = 4;
const HEARTBEAT: Nanos = SECOND;
const LEASE: Nanos = 2 * HEARTBEAT;
/// A node admits nothing from so long before the coordinator takes its share back.
const MARGIN: Nanos = (LEASE - HEARTBEAT) / 2;
/// Instead of a node in the agenda: the store.
const STORE: u32 = u32::MAX;

pub(in crate::limiter) struct Median {
    initial: u32,
    coordinator: Coordinator,
    network: NetworkSpec,
    rng: Rng,
    nodes: Vec<Node>,
}

struct Node {
    own: Measured<Gradient2>,
    share: u32,
    fence_at: Nanos,
    up: bool,
    /// Of this node's processes, so that a beat of an earlier one is known as such.
    life: u32,
}

impl Node {
    fn limit(&self, now: Nanos) -> u32 {
        if now < self.fence_at {
            self.within_share()
        } else {
            0
        }
    }

    fn within_share(&self) -> u32 {
        self.share.min(self.own.algorithm.limit())
    }
}

impl Median {
    pub(in crate::limiter) fn new(
        scenario: &Scenario,
        deal: Deal,
        initial: u32,
        seed: u64,
    ) -> Self {
        Self {
            initial,
            coordinator: Coordinator::new(deal, LEASE),
            network: scenario.network.clone(),
            rng: stream(seed, Stream::Identities),
            nodes: Vec::new(),
        }
    }

    fn start(&mut self, agenda: &mut Agenda<Event>, index: usize) {
        let life = self.nodes.get(index).map_or(0, |node| node.life + 1);
        let fresh = Node {
            own: Measured::new(Gradient2::new(self.initial).at_least(LEAST)),
            share: 0,
            fence_at: 0,
            up: true,
            life,
        };
        if index < self.nodes.len() {
            self.nodes[index] = fresh;
        } else {
            self.nodes.push(fresh);
        }
        // The first beat is at once; processes do not start in the same nanosecond.
        let first = agenda.now() + self.rng.u64(..5 * MS);
        agenda.at(first, Event::Limiter(index as u32, life));
    }

    fn beat(&mut self, agenda: &mut Agenda<Event>, index: usize, life: u32) {
        let now = agenda.now();
        let node = &mut self.nodes[index];
        if !node.up || node.life != life {
            return;
        }
        if !self.network.is_apart(now, index) {
            let report = Report {
                own_limit: node.own.algorithm.limit(),
                in_flight: node.own.in_flight,
            };
            node.share = self.coordinator.beat(now, index, report);
            node.fence_at = now + LEASE - MARGIN;
        }
        agenda.at(now + HEARTBEAT, Event::Limiter(index as u32, life));
    }
}

impl Limiter for Median {
    fn begin(&mut self, scene: &mut Scene<'_>) {
        for (index, (at, _)) in self.network.store_events.iter().enumerate() {
            scene.agenda.at(*at, Event::Limiter(STORE, index as u32));
        }
    }

    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict {
        let node = &mut self.nodes[asking.node];
        node.own.admit_below(node.limit(scene.agenda.now()))
    }

    fn release(
        &mut self,
        scene: &mut Scene<'_>,
        node: usize,
        held: Held,
        outcome: Outcome,
        latency: Nanos,
    ) {
        let node = &mut self.nodes[node].own;
        node.release(scene.agenda.now(), &held, outcome, latency);
    }

    fn handle(&mut self, scene: &mut Scene<'_>, node: u32, what: u32) {
        if node != STORE {
            self.beat(scene.agenda, node as usize, what);
        } else if self.network.store_events[what as usize].1 == StoreChange::Flush {
            self.coordinator.flush();
        }
    }

    fn change(&mut self, scene: &mut Scene<'_>, node: usize, change: NodeChange) {
        match change {
            NodeChange::Join | NodeChange::Restart => self.start(scene.agenda, node),
            NodeChange::Leave => {
                self.nodes[node].up = false;
                self.coordinator.leave(node);
            }
            // Its record stays until its lease is over.
            NodeChange::Crash => self.nodes[node].up = false,
        }
    }

    fn limit(&self, _: Truth) -> f64 {
        f64::from(self.coordinator.limit())
    }

    fn shares(&self, _: Truth) -> f64 {
        let up = self.nodes.iter().filter(|node| node.up);
        up.map(|node| f64::from(node.share)).sum()
    }

    fn share(&self, node: usize) -> Option<f64> {
        let node = self.nodes.get(node)?;
        Some(f64::from(node.within_share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fleet(Median, Agenda<Event>);

    impl Fleet {
        /// Two nodes that have both heard of their shares.
        fn of_two(network: &str) -> Self {
            let text = format!(
                "duration = 60\n[backend]\ncapacity = 100\nlatency_ms = 50\n[nodes]\ncount = 2\n\
                 [load]\nlevel = 1\n[network]\n{network}\n"
            );
            let scenario = Scenario::parse("test", &text).unwrap();
            let mut fleet = Self(Median::new(&scenario, Deal::Equal, 64, 1), Agenda::new());
            for node in 0..2 {
                fleet.with(|median, scene| median.change(scene, node, NodeChange::Join));
            }
            fleet.run(4 * SECOND);
            fleet
        }

        fn with<T>(&mut self, step: impl FnOnce(&mut Median, &mut Scene<'_>) -> T) -> T {
            let truth = Truth {
                knee: 100.0,
                in_flight: 0,
            };
            let agenda = &mut self.1;
            step(&mut self.0, &mut Scene { truth, agenda })
        }

        fn run(&mut self, until: Nanos) {
            while let Some(event) = self.1.next(until) {
                if let Event::Limiter(node, what) = event {
                    self.with(|median, scene| median.handle(scene, node, what));
                }
            }
        }

        /// Both nodes take all that they get, and are done with it 50 ms later.
        fn serve(&mut self) {
            for node in 0..2 {
                let mut held = Vec::new();
                let asking = Asking {
                    node,
                    request: 0,
                    class: tidegate::Criticality::Default,
                };
                while let Verdict::Admit(slot) =
                    self.with(|median, scene| median.ask(scene, asking))
                {
                    held.push(slot);
                }
                for slot in held {
                    self.with(|median, scene| {
                        median.release(scene, node, slot, Outcome::Success, 50 * MS);
                    });
                }
            }
        }

        fn state(&self) -> (u32, [u32; 2]) {
            let shares = [0, 1].map(|node: usize| self.0.nodes[node].share);
            (self.0.coordinator.limit(), shares)
        }
    }

    /// With half of 64 in flight a node's own limit grows to 64.8, of which that is less than half.
    #[test]
    fn the_limit_of_two_nodes_that_use_all_they_get_stays_where_it_began() {
        let mut fleet = Fleet::of_two("");
        assert_eq!(fleet.state(), (64, [32, 32]));
        for second in 5..60 {
            fleet.serve();
            fleet.run(second * SECOND);
        }
        assert_eq!(fleet.state(), (64, [32, 32]));
        assert_eq!(fleet.0.nodes[0].own.algorithm.limit(), 64);
    }

    #[test]
    fn a_node_alone_grows_as_its_estimator_does() {
        let mut fleet = Fleet::of_two("");
        fleet.with(|median, scene| median.change(scene, 1, NodeChange::Leave));
        fleet.run(6 * SECOND);
        assert_eq!(fleet.state().0, 64);
        fleet.0.nodes[1].share = 0;
        for second in 7..40 {
            fleet.serve();
            fleet.run(second * SECOND);
        }
        // A window in two seconds, each of which adds .8.
        assert!((74..80).contains(&fleet.state().0), "{:?}", fleet.state());
    }

    #[test]
    fn who_does_not_reach_the_store_admits_nothing_before_its_share_is_anothers() {
        let apart = "partitions = [{ at = 9.9, length = 10, nodes = [1] }]";
        let mut fleet = Fleet::of_two(apart);
        fleet.run(10 * SECOND + SECOND / 4);
        let limits = |fleet: &Fleet| {
            let now = fleet.1.now();
            [0, 1].map(|node: usize| fleet.0.nodes[node].limit(now))
        };
        assert_eq!(limits(&fleet), [32, 32]);
        // Its last beat was at 9 s: a fence at 10.5, and the other has all when it beats after 11.
        fleet.1.at(10 * SECOND + 600 * MS, Event::Bin);
        fleet.run(10 * SECOND + 600 * MS);
        assert_eq!(limits(&fleet), [32, 0]);
        fleet.run(13 * SECOND);
        assert_eq!(limits(&fleet), [64, 0]);
        fleet.run(23 * SECOND);
        assert_eq!(limits(&fleet), [32, 32]);
    }
}
