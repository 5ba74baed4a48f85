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

impl<'a> Claimant<'a> {
    pub(crate) fn of(node: &'a NodeView) -> Self {
        Self {
            name: &node.name,
            share: node.share,
            in_flight: node.in_flight,
            demand: node.report.demand.max(node.in_flight).max(1),
            weight: node.report.weight.max(1),
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
