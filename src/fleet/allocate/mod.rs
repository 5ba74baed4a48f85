//! Who may have how much of the limit. Pure: every policy maps claimants to targets.

mod demand;
mod equal;
mod max_min;
#[cfg(test)]
mod vectors;

use crate::fleet::message::NodeView;
use crate::fleet::settings::Allocation;

/// A node that may be given slots.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claimant<'a> {
    pub(crate) name: &'a str,
    pub(crate) share: u32,
    pub(crate) in_flight: u32,
    /// Offered concurrency, in slots.
    pub(crate) demand: u32,
    pub(crate) weight: u32,
    /// Refusing requests below its target.
    pub(crate) starved: bool,
}

/// Beyond what any node means by a demand or a weight. Reports are cut to it, so that no product of two of them and
/// the number of nodes overflows, whatever a node says.
pub(crate) const ABSURD: u32 = 1_000_000;

impl<'a> Claimant<'a> {
    pub(crate) fn of(node: &'a NodeView) -> Self {
        Self {
            name: &node.name,
            share: node.share,
            in_flight: node.in_flight,
            demand: node.report.demand.max(node.in_flight).clamp(1, ABSURD),
            weight: node.report.weight.clamp(1, ABSURD),
            starved: node.starved,
        }
    }
}

/// The targets of `claimants`, in their order. `turn` counts rounds and rotates what cannot be divided.
pub(crate) fn split(
    policy: Allocation,
    limit: u32,
    claimants: &[Claimant<'_>],
    turn: u64,
) -> Vec<u32> {
    if claimants.is_empty() {
        return Vec::new();
    }
    match policy {
        Allocation::EqualSplit => equal::split(limit, claimants, turn),
        Allocation::DemandProportional => demand::split(limit, claimants, turn),
        Allocation::MaxMin => max_min::split(limit, claimants, turn),
    }
}

/// `targets` cut down to `limit`, fairly.
pub(crate) fn cap(limit: u32, claimants: &[Claimant<'_>], targets: &[u32], turn: u64) -> Vec<u32> {
    max_min::fill(limit, claimants, targets, turn)
}

/// The claimants' positions in byte order of their names.
fn by_name(claimants: &[Claimant<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..claimants.len()).collect();
    order.sort_by_key(|index| claimants[*index].name);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::message::Report;
    use std::sync::Arc;

    /// One that lies about everything, beside `honest` ones.
    fn views(honest: u64) -> Vec<NodeView> {
        let node = |incarnation, demand, weight| NodeView {
            incarnation,
            name: Arc::from(format!("n{incarnation}")),
            open: true,
            starved: true,
            share: 0,
            safe: 0,
            target: 0,
            hold: 0,
            in_flight: 0,
            report: Report {
                demand,
                weight,
                ..Report::default()
            },
        };
        let mut nodes: Vec<NodeView> = (0..honest).map(|n| node(n + 10, 5, 1)).collect();
        nodes.extend([1, 2, 3].map(|liar| node(liar, u32::MAX, u32::MAX)));
        nodes
    }

    #[test]
    fn an_absurd_report_gets_no_more_than_there_is() {
        for policy in [
            Allocation::MaxMin,
            Allocation::EqualSplit,
            Allocation::DemandProportional,
        ] {
            for limit in [0, 1, 3, 100, 1_000_000] {
                for nodes in [views(0), views(4)] {
                    let claimants: Vec<Claimant<'_>> = nodes.iter().map(Claimant::of).collect();
                    let targets = split(policy, limit, &claimants, 7);
                    let sum: u64 = targets.iter().map(|target| u64::from(*target)).sum();
                    assert_eq!(sum, u64::from(limit), "{policy:?}: {targets:?}");
                }
            }
        }
    }
}
