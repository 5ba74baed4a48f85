//! Limiters from their published formulas: of one process each, where every node runs its own and knows of no other, and
//! in `median` of a fleet.
//!
//! Their published upper bounds (200 or 1000 a node) are left out, but for Envoy's, so that no bound that somebody would
//! have to configure decides a comparison; initial values, but for the medians that begin with 64, and lower bounds are as
//! published.

mod aimd;
mod arc;
mod envoy;
mod gradient2;
mod median;
mod vegas;
mod window;

pub(super) use self::aimd::Aimd;
pub(super) use self::arc::Arc;
pub(super) use self::envoy::Envoy;
pub(super) use self::gradient2::Gradient2;
pub(super) use self::median::{Deal, LEAST, Median};
pub(super) use self::vegas::Vegas;

use super::{Asking, Held, Limiter, Outcome, Scene, Truth, Verdict};
use crate::engine::Nanos;
use crate::scenario::NodeChange;

/// What an algorithm hears of a request that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) now: Nanos,
    pub(super) latency: Nanos,
    /// In flight at its node when it was admitted, itself included.
    pub(super) in_flight: u32,
    /// Refused by the backend, or timed out.
    pub(super) dropped: bool,
}

/// An algorithm that finds a limit for one node.
pub(super) trait Algorithm {
    fn limit(&self) -> u32;

    /// A request asks while `in_flight` are in flight.
    fn asked(&mut self, _now: Nanos, _in_flight: u32) {}

    fn sample(&mut self, sample: Sample);
}

/// One algorithm a node.
pub(super) struct PerNode<A> {
    /// The algorithm of the node of this number.
    make: Box<dyn Fn(usize) -> A>,
    nodes: Vec<Node<A>>,
}

struct Node<A> {
    measured: Measured<A>,
    up: bool,
}

/// An algorithm, and what is in flight at its node.
struct Measured<A> {
    algorithm: A,
    in_flight: u32,
}

impl<A: Algorithm> Measured<A> {
    const fn new(algorithm: A) -> Self {
        Self {
            algorithm,
            in_flight: 0,
        }
    }

    fn admit_below(&mut self, limit: u32) -> Verdict {
        if self.in_flight >= limit {
            return Verdict::Reject;
        }
        self.in_flight += 1;
        Verdict::Admit(Held::Slot(self.in_flight))
    }

    fn release(&mut self, now: Nanos, held: &Held, outcome: Outcome, latency: Nanos) {
        self.in_flight -= 1;
        if let Held::Slot(in_flight) = *held {
            self.algorithm.sample(Sample {
                now,
                latency,
                in_flight,
                dropped: outcome == Outcome::Overload,
            });
        }
    }
}

impl<A: Algorithm> PerNode<A> {
    pub(super) fn new(make: impl Fn(usize) -> A + 'static) -> Self {
        Self {
            make: Box::new(make),
            nodes: Vec::new(),
        }
    }
}

impl<A: Algorithm> Limiter for PerNode<A> {
    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict {
        let node = &mut self.nodes[asking.node].measured;
        node.algorithm.asked(scene.agenda.now(), node.in_flight);
        node.admit_below(node.algorithm.limit())
    }

    fn release(
        &mut self,
        scene: &mut Scene<'_>,
        node: usize,
        held: Held,
        outcome: Outcome,
        latency: Nanos,
    ) {
        let node = &mut self.nodes[node].measured;
        node.release(scene.agenda.now(), &held, outcome, latency);
    }

    fn change(&mut self, _: &mut Scene<'_>, index: usize, change: NodeChange) {
        let fresh = Node {
            measured: Measured::new((self.make)(index)),
            up: true,
        };
        match change {
            NodeChange::Join if index >= self.nodes.len() => self.nodes.push(fresh),
            NodeChange::Join | NodeChange::Restart => self.nodes[index] = fresh,
            NodeChange::Leave | NodeChange::Crash => self.nodes[index].up = false,
        }
    }

    fn limit(&self, _: Truth) -> f64 {
        let up = self.nodes.iter().filter(|node| node.up);
        up.map(|node| f64::from(node.measured.algorithm.limit()))
            .sum()
    }
}
