//! Oracles among those who deal shares: they know the capacity at every moment, and deal hard shares of it at every
//! heartbeat, without delay and without losing a message. What no lease system can be better than.

use super::{Asking, Held, Limiter, Outcome, Scene, Truth, Verdict};
use crate::engine::{MS, Nanos, seconds};
use crate::metrics::water_level;
use crate::scenario::{NodeChange, Scenario};
use crate::world::Event;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const HEARTBEAT: Nanos = 500 * MS;

/// By what shares are dealt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// The load that is really offered, though not when a burst or a user of a closed loop comes: a slot for every
    /// node if there are enough (I6), each other slot to the node that loses most without it.
    KnownLoad,
    /// Max-min over arrivals times latency of the last heartbeat; the rest equally.
    MeasuredDemand,
}

pub(super) struct HardShares {
    scenario: Scenario,
    by: By,
    nodes: Vec<Node>,
    in_flight: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    up: bool,
    share: u32,
    in_flight: u32,
    asked: u32,
    served: u32,
    latency: f64,
    /// Mean latency when last there was one, in nanoseconds.
    known_latency: f64,
}

impl HardShares {
    pub(super) fn new(scenario: &Scenario, by: By) -> Self {
        Self {
            scenario: scenario.clone(),
            by,
            nodes: Vec::new(),
            in_flight: 0,
        }
    }

    fn deal(&mut self, now: Nanos, knee: f64) {
        let slots = knee.round() as u32;
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up)
            .collect();
        let demands = match self.by {
            By::KnownLoad => {
                let scenario = &self.scenario;
                let load = &scenario.load;
                let wave = load.wave.map_or(1.0, |wave| wave.factor(now));
                let rate = load.level.at(now) * wave * scenario.unit();
                let latency = scenario.backend.mean_latency(now) + scenario.mean_distance();
                let parts = load.spread.parts(up.len(), now);
                parts
                    .into_iter()
                    .map(|part| part * rate * latency / 1e9)
                    .collect()
            }
            By::MeasuredDemand => up
                .iter()
                .map(|node| self.nodes[*node].measure())
                .collect::<Vec<f64>>(),
        };
        let shares = match self.by {
            By::KnownLoad => least_loss(&demands, slots),
            By::MeasuredDemand => max_min(&demands, slots),
        };
        for (node, share) in up.into_iter().zip(shares) {
            self.nodes[node].share = share;
        }
    }
}

impl Node {
    /// Offered concurrency in the last heartbeat, which begins anew.
    fn measure(&mut self) -> f64 {
        if self.served > 0 {
            self.known_latency = self.latency / f64::from(self.served);
        }
        let demand = f64::from(self.asked) / seconds(HEARTBEAT) * self.known_latency / 1e9;
        (self.asked, self.served, self.latency) = (0, 0, 0.0);
        demand.max(f64::from(self.in_flight))
    }
}

/// Slots by what each saves of Erlang's loss, the greatest saving first; one for everybody before, if there are enough.
fn least_loss(demands: &[f64], slots: u32) -> Vec<u32> {
    let mut shares = vec![0; demands.len()];
    // Blocking with the present share, which begins at 1 without servers.
    let mut blocking = vec![1.0; demands.len()];
    let next = |load: f64, blocking: f64, servers: u32| {
        load * blocking / (f64::from(servers) + load * blocking)
    };
    let saving = |load: f64, blocking: f64, servers: u32| {
        // As bits, which order positive floats.
        (load * (blocking - next(load, blocking, servers)))
            .max(0.0)
            .to_bits()
    };
    let mut heap: BinaryHeap<(u64, Reverse<usize>)> = demands
        .iter()
        .enumerate()
        .map(|(node, load)| (saving(*load, 1.0, 1), Reverse(node)))
        .collect();
    let mut left = slots;
    if demands.len() <= slots as usize {
        heap.clear();
        for (node, load) in demands.iter().enumerate() {
            shares[node] = 1;
            blocking[node] = next(*load, 1.0, 1);
            heap.push((saving(*load, blocking[node], 2), Reverse(node)));
        }
        left -= demands.len() as u32;
    }
    for _ in 0..left {
        let Some((_, Reverse(node))) = heap.pop() else {
            break;
        };
        shares[node] += 1;
        blocking[node] = next(demands[node], blocking[node], shares[node]);
        let saved = saving(demands[node], blocking[node], shares[node] + 1);
        heap.push((saved, Reverse(node)));
    }
    shares
}

/// Whole slots by max-min over demand, what is left equally; single slots in the order of nodes.
fn max_min(demands: &[f64], slots: u32) -> Vec<u32> {
    let level = water_level(demands, f64::from(slots));
    let mut shares: Vec<u32> = demands
        .iter()
        .map(|demand| demand.min(level).ceil() as u32)
        .collect();
    let mut total: u32 = shares.iter().sum();
    let mut node = 0;
    while total != slots && !shares.is_empty() {
        let index = node % shares.len();
        if total < slots {
            shares[index] += 1;
            total += 1;
        } else if shares[index] > 1 || node >= shares.len() && shares[index] > 0 {
            shares[index] -= 1;
            total -= 1;
        }
        node += 1;
    }
    shares
}

impl Limiter for HardShares {
    fn begin(&mut self, scene: &mut Scene<'_>) {
        scene.agenda.at(0, Event::Limiter(0, 0));
    }

    fn handle(&mut self, scene: &mut Scene<'_>, _node: u32, _what: u32) {
        let now = scene.agenda.now();
        self.deal(now, scene.truth.knee);
        scene.agenda.at(now + HEARTBEAT, Event::Limiter(0, 0));
    }

    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict {
        let node = &mut self.nodes[asking.node];
        node.asked += 1;
        // A share that was lowered is given up at once, but what runs goes on: never above the knee together.
        if node.in_flight < node.share
            && f64::from(scene.truth.in_flight) < scene.truth.knee.round()
        {
            node.in_flight += 1;
            self.in_flight += 1;
            Verdict::Admit(Held::Slot(node.in_flight))
        } else {
            Verdict::Reject
        }
    }

    fn release(&mut self, _: &mut Scene<'_>, node: usize, _: Held, _: Outcome, latency: Nanos) {
        let node = &mut self.nodes[node];
        node.in_flight -= 1;
        node.served += 1;
        node.latency += latency as f64;
        self.in_flight -= 1;
    }

    fn change(&mut self, scene: &mut Scene<'_>, node: usize, change: NodeChange) {
        if node >= self.nodes.len() {
            self.nodes.resize(node + 1, Node::default());
        }
        match change {
            NodeChange::Join | NodeChange::Restart => {
                self.nodes[node] = Node {
                    up: true,
                    ..Node::default()
                };
            }
            NodeChange::Leave | NodeChange::Crash => {
                self.nodes[node].up = false;
                self.nodes[node].share = 0;
            }
        }
        self.deal(scene.agenda.now(), scene.truth.knee);
    }

    fn limit(&self, _: Truth) -> f64 {
        self.nodes.iter().map(|node| f64::from(node.share)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_where_the_most_would_be_lost() {
        assert_eq!(least_loss(&[5.0, 5.0], 10), [5, 5]);
        assert_eq!(least_loss(&[], 10), [0; 0]);
        // For load 9 the ninth and the tenth still save .51 each.
        assert_eq!(least_loss(&[9.0, 1.0], 11), [10, 1]);
        assert_eq!(least_loss(&[99.0, 1.0], 10), [9, 1], "nobody starves");
        assert_eq!(
            least_loss(&[9.0, 1.0, 1.0], 2),
            [2, 0, 0],
            "not enough for everybody"
        );
        // Erlang B for load 1: 1, 1/2, 1/5, so the first slot saves .5, the second .3; for load 2: 1, 2/3, 2/5, 4/19,
        // so .67, .53, .38, .23.
        assert_eq!(least_loss(&[1.0, 2.0], 4), [1, 3]);
        assert_eq!(least_loss(&[1.0, 2.0], 5), [2, 3]);
    }

    #[test]
    fn measured_demand_is_met_from_below() {
        assert_eq!(max_min(&[2.0, 50.0, 50.0], 12), [2, 5, 5]);
        assert_eq!(max_min(&[2.0, 3.0], 9), [4, 5]);
        assert_eq!(max_min(&[9.0; 4], 2).iter().sum::<u32>(), 2);
    }
}
