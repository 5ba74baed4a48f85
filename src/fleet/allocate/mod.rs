//! Who may have how much of the limit. Pure: every policy maps claimants to targets.

mod demand;
mod equal;
mod lend;
mod max_min;
mod ranks;
mod turns;
#[cfg(test)]
mod vectors;

use crate::Criticality;
use crate::fleet::message::NodeView;
use crate::fleet::settings::Allocation;
use crate::time::StoreTime;
use std::time::Duration;

/// A node that may be given slots.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claimant<'a> {
    pub(crate) name: &'a str,
    pub(crate) share: u32,
    /// What it would have if everybody had drained, by the last plan.
    pub(crate) target: u32,
    /// How long it has had a share, or none.
    pub(crate) held: Duration,
    pub(crate) in_flight: u32,
    /// Offered concurrency, in slots.
    pub(crate) demand: u32,
    /// Of the demand, that of each class and all more critical ones, most critical first. The last is all of it.
    pub(crate) ranked: [u32; CLASSES],
    pub(crate) weight: u32,
    /// Refusing requests below its target.
    pub(crate) starved: bool,
    /// Has nothing to do, and lends its slots.
    pub(crate) idle: bool,
}

pub(crate) const CLASSES: usize = Criticality::ALL.len();

/// Beyond what any node means by a demand or a weight. Reports are cut to it, so that no product of two of them and
/// the number of nodes overflows, whatever a node says.
pub(crate) const ABSURD: u32 = 1_000_000;

impl<'a> Claimant<'a> {
    pub(crate) fn of(node: &'a NodeView, now: StoreTime) -> Self {
        let held = now.as_micros().saturating_sub(node.since.as_micros());
        let demand = node.report.demand.max(node.in_flight).clamp(1, ABSURD);
        let mut ranked = [demand; CLASSES];
        let mut sum = 0;
        for (rank, said) in node.report.ranked.into_iter().enumerate() {
            // What is in flight beyond the demand is of the least critical there are; without a demand, default.
            let nothing = node.report.demand == 0 && rank < Criticality::Default.index();
            if said < node.report.demand || nothing {
                sum = said.clamp(sum, demand);
                ranked[rank] = sum;
            }
        }
        Self {
            name: &node.name,
            share: node.share,
            target: node.target,
            held: Duration::from_micros(held),
            in_flight: node.in_flight,
            demand,
            ranked,
            weight: node.report.weight.clamp(1, ABSURD),
            starved: node.starved,
            idle: node.report.demand == 0 && node.in_flight == 0 && !node.starved,
        }
    }
}

/// Where in time a plan is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Round {
    /// Rotates what cannot be divided.
    pub(crate) number: u64,
    pub(crate) length: Duration,
}

#[cfg(test)]
impl<'a> Claimant<'a> {
    /// Without a share, of weight 1.
    pub(crate) const fn new(name: &'a str, demand: u32) -> Self {
        Self {
            name,
            share: 0,
            target: 0,
            held: Duration::ZERO,
            in_flight: 0,
            demand,
            ranked: [demand; CLASSES],
            weight: 1,
            starved: false,
            idle: false,
        }
    }
}

/// The targets of `claimants`, in their order.
pub(crate) fn split(
    policy: Allocation,
    limit: u32,
    claimants: &[Claimant<'_>],
    round: Round,
) -> Vec<u32> {
    // The other policies are told how to split what is enough for a slot each.
    let lends = policy == Allocation::MaxMin || (limit as usize) < claimants.len();
    let Some(idle) = lends.then(|| lend::idle_slots(limit, claimants)).flatten() else {
        return split_all(policy, limit, claimants, round);
    };
    let wanting: Vec<Claimant<'_>> = claimants.iter().filter(|it| !it.idle).copied().collect();
    let left = limit - idle.iter().flatten().sum::<u32>();
    let mut targets = split_all(policy, left, &wanting, round).into_iter();
    idle.into_iter()
        .map(|slots| slots.or_else(|| targets.next()).unwrap_or(0))
        .collect()
}

fn split_all(policy: Allocation, limit: u32, claimants: &[Claimant<'_>], round: Round) -> Vec<u32> {
    if claimants.is_empty() {
        return Vec::new();
    }
    if (limit as usize) < claimants.len() {
        return turns::split(limit, claimants, round);
    }
    match policy {
        Allocation::EqualSplit => equal::split(limit, claimants),
        Allocation::DemandProportional => demand::split(limit, claimants),
        Allocation::MaxMin => max_min::split(limit, claimants, round.number),
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
            deadline: StoreTime::ZERO,
            incarnation,
            name: Arc::from(format!("n{incarnation}")),
            open: true,
            starved: true,
            share: 0,
            safe: 0,
            since: StoreTime::ZERO,
            target: 0,
            hold: 0,
            in_flight: 0,
            report: Report {
                demand,
                ranked: [weight, 3, demand],
                weight,
                ..Report::default()
            },
        };
        let mut nodes: Vec<NodeView> = (0..honest).map(|n| node(n + 10, 5, 1)).collect();
        nodes.extend([1, 2, 3].map(|liar| node(liar, u32::MAX, u32::MAX)));
        nodes
    }

    #[test]
    fn what_is_in_flight_beyond_the_demand_is_of_the_least_critical_there_are() {
        let ranked = |demand, ranked, in_flight| {
            let mut node = views(1).swap_remove(0);
            (node.in_flight, node.report.demand, node.report.ranked) = (in_flight, demand, ranked);
            Claimant::of(&node, StoreTime::ZERO).ranked
        };
        assert_eq!(ranked(5, [1, 3, 4], 7), [1, 3, 4, 7]);
        assert_eq!(ranked(5, [1, 5, 5], 7), [1, 7, 7, 7]);
        assert_eq!(ranked(5, [5, 5, 5], 7), [7; CLASSES]);
        assert_eq!(ranked(5, [0, 0, 0], 3), [0, 0, 0, 5]);
        // Of who says nothing, and of who contradicts itself.
        assert_eq!(ranked(0, [0, 0, 0], 7), [0, 7, 7, 7]);
        assert_eq!(ranked(5, [4, 2, 9], 0), [4, 4, 5, 5]);
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
                    let claimants: Vec<Claimant<'_>> = nodes
                        .iter()
                        .map(|node| Claimant::of(node, StoreTime::ZERO))
                        .collect();
                    let round = Round {
                        number: 7,
                        length: Duration::from_millis(100),
                    };
                    let targets = split(policy, limit, &claimants, round);
                    let sum: u64 = targets.iter().map(|target| u64::from(*target)).sum();
                    assert_eq!(sum, u64::from(limit), "{policy:?}: {targets:?}");
                }
            }
        }
    }
}
