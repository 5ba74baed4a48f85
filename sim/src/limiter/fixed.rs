//! Somebody was told the capacity and the number of nodes, and divided once.

use super::{Asking, Held, Limiter, Outcome, Scene, Truth, Verdict};
use crate::engine::Nanos;
use crate::scenario::NodeChange;

/// Each node floor(C / N), the first C mod N one more; at least 1. Nodes that join later get as much as the last.
#[derive(Debug)]
pub(super) struct Split {
    capacity: u32,
    count: u32,
    wait: Option<Nanos>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    share: u32,
    in_flight: u32,
    up: bool,
}

impl Split {
    pub(super) fn new(told: f64, count: usize, wait: Option<Nanos>) -> Self {
        Self {
            capacity: told.round() as u32,
            count: count as u32,
            wait,
            nodes: Vec::new(),
        }
    }

    fn share(&self, node: usize) -> u32 {
        let one_more = (node as u32) < self.capacity % self.count;
        (self.capacity / self.count + u32::from(one_more)).max(1)
    }
}

impl Limiter for Split {
    fn ask(&mut self, _: &mut Scene<'_>, asking: Asking) -> Verdict {
        let node = &mut self.nodes[asking.node];
        match self.wait {
            _ if node.in_flight < node.share => {
                node.in_flight += 1;
                Verdict::Admit(Held::Slot(node.in_flight))
            }
            Some(at_most) => Verdict::Wait {
                at_most,
                room: node.share as usize,
            },
            None => Verdict::Reject,
        }
    }

    fn release(&mut self, _: &mut Scene<'_>, node: usize, _: Held, _: Outcome, _: Nanos) {
        self.nodes[node].in_flight -= 1;
    }

    fn change(&mut self, _: &mut Scene<'_>, node: usize, change: NodeChange) {
        let share = self.share(node);
        let fresh = Node {
            share,
            in_flight: 0,
            up: true,
        };
        if node >= self.nodes.len() {
            self.nodes.resize(node + 1, fresh);
        }
        match change {
            NodeChange::Join => {}
            NodeChange::Restart => self.nodes[node] = fresh,
            NodeChange::Leave | NodeChange::Crash => self.nodes[node].up = false,
        }
    }

    fn limit(&self, _: Truth) -> f64 {
        self.nodes
            .iter()
            .filter(|node| node.up)
            .map(|node| f64::from(node.share))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_divide_goes_to_the_first() {
        let split = Split::new(10.0, 4, None);
        assert_eq!(
            [0, 1, 2, 3, 7].map(|node| split.share(node)),
            [3, 3, 2, 2, 2]
        );
        assert_eq!(Split::new(2.0, 4, None).share(3), 1);
    }
}
