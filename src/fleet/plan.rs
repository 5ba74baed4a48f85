//! From a snapshot of a key to the next limit and shares: a pure function, run by whichever node got the token.

use crate::fleet::allocate::{self, Claimant, Round};
use crate::fleet::estimate;
use crate::fleet::message::{Change, Commit, NodeView, Ticket};
use crate::fleet::settings::{Handoff, Settings};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Plans the next round over `ticket`, for the node `incarnation`.
///
/// Decreases first: a share above its target falls to it at once (I3). What is free, `L - sum of max(hold, share)`
/// with draining and quarantined nodes included, is one pot; raises share it slot by slot, the node furthest below
/// its target first, so that no slot is counted twice (I1, I2).
///
/// Settings that this version cannot read make no plan: a newer node will.
pub(crate) fn plan(ticket: &Ticket, incarnation: u64) -> Option<Commit> {
    let snapshot = &ticket.snapshot;
    let settings = Settings::read(&snapshot.settings)?;
    let open: Vec<&NodeView> = snapshot.nodes.iter().filter(|node| node.open).collect();
    let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
    let round = round(count);
    let (limit, memory) = estimate::estimate(&settings, snapshot, &open);
    let length = round;
    let number =
        snapshot.store_time.as_micros() / u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
    let claimants: Vec<Claimant<'_>> = open
        .iter()
        .map(|node| Claimant::of(node, snapshot.store_time))
        .collect();
    // Safe slots of silent nodes are not there to give, however low the limit.
    let kept: u64 = snapshot
        .nodes
        .iter()
        .filter(|node| !node.open)
        .map(|node| u64::from(node.share))
        .sum();
    let given = limit.saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX));
    let targets = targets(&settings, given, &claimants, Round { number, length });
    let acknowledged = settings.handoff == Handoff::Acknowledged;
    let mut shares: Vec<u32> = open
        .iter()
        .zip(&targets)
        .map(|(node, target)| node.share.min(*target))
        .collect();
    raise(
        limit,
        &snapshot.nodes,
        &open,
        &targets,
        acknowledged,
        &mut shares,
    );

    let safe_part = settings
        .safe_slots()
        .min(limit.checked_div(count).unwrap_or(0));
    let hungry = shares
        .iter()
        .zip(&targets)
        .any(|(share, target)| share < target);
    let changes = open
        .iter()
        .zip(shares)
        .zip(targets)
        .filter_map(|((node, share), target)| {
            let change = Change {
                incarnation: node.incarnation,
                share,
                safe: safe_part.min(share),
                target,
            };
            let same = (share, change.safe, target) == (node.share, node.safe, node.target);
            (!same).then_some(change)
        });
    Some(Commit {
        incarnation,
        epoch: snapshot.epoch,
        token: ticket.token,
        version: snapshot.version,
        limit,
        nodes: count,
        hungry,
        acknowledged,
        round,
        rest: Duration::from_millis(20).max(Duration::from_micros(5) * count),
        pulse: memory.pulse(),
        memory,
        changes: changes.collect(),
    })
}

/// `clamp(N * 100 us, 100 ms, 1 s)`.
fn round(nodes: u32) -> Duration {
    (Duration::from_micros(100) * nodes).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

/// What each open node would have if everybody had drained; the sum never exceeds `limit`.
fn targets(settings: &Settings, limit: u32, claimants: &[Claimant<'_>], round: Round) -> Vec<u32> {
    let targets = allocate::split(settings.allocation, limit, claimants, round);
    if targets.iter().map(|target| u64::from(*target)).sum::<u64>() <= u64::from(limit) {
        targets
    } else {
        // A policy that leaves satisfied nodes what they use may ask for more than there is after the limit fell.
        allocate::cap(limit, claimants, &targets, round.number)
    }
}

/// Spends the pot on shares below their targets.
fn raise(
    limit: u32,
    all: &[NodeView],
    open: &[&NodeView],
    targets: &[u32],
    acknowledged: bool,
    shares: &mut [u32],
) {
    let occupied = |node: &NodeView| {
        if acknowledged {
            node.hold
        } else {
            node.in_flight
        }
    };
    let closed: u64 = all
        .iter()
        .filter(|node| !node.open)
        .map(|node| u64::from(occupied(node).max(node.share)))
        .sum();
    let reserved: u64 = open
        .iter()
        .zip(&*shares)
        .map(|(node, share)| u64::from(occupied(node).max(*share)))
        .sum();
    // While more is reserved than there is, nobody is raised, not even into what it occupies: a beat that came after
    // its lease had ended may say so of slots that others have by now (I2).
    let Some(mut pot) = u64::from(limit).checked_sub(closed + reserved) else {
        return;
    };

    // What a node still occupies is its own: going back up to it costs nothing.
    for ((node, share), target) in open.iter().zip(&mut *shares).zip(targets) {
        *share = (*share).max(occupied(node).min(*target));
    }
    let missing: u64 = shares
        .iter()
        .zip(targets)
        .map(|(share, target)| u64::from(target.saturating_sub(*share)))
        .sum();
    if missing <= pot {
        shares.copy_from_slice(targets);
        return;
    }
    let urgency = |index: usize, share: u32| {
        let below = u64::from(targets[index].saturating_sub(share));
        below * 1024 / u64::from(open[index].report.weight.max(1))
    };
    let mut heap: BinaryHeap<(u64, std::cmp::Reverse<usize>)> = (0..open.len())
        .filter(|index| shares[*index] < targets[*index])
        .map(|index| (urgency(index, shares[index]), std::cmp::Reverse(index)))
        .collect();
    while pot > 0
        && let Some((_, std::cmp::Reverse(index))) = heap.pop()
    {
        shares[index] += 1;
        pot -= 1;
        if shares[index] < targets[index] {
            heap.push((urgency(index, shares[index]), std::cmp::Reverse(index)));
        }
    }
}
