//! Exact weighted max-min fairness over demand, in whole slots.
//!
//! Bertsekas and Gallager, "Data Networks", 6.5.2: raise everybody's level together; who has what it wants stops.

use crate::fleet::allocate::{ABSURD, Claimant, ranks};

/// Targets for demand plus headroom, the more critical classes first, then the spare in proportion to the headroom, so that a burst finds it there.
///
/// Headroom is the [`headroom`] of the demand. Shares that would move by no more than `max(1, 5 %)` stay, while nobody who
/// is refused for want of them would have more than one slot more, or has two less than another who has more than its
/// part, and a twentieth less (I7: exact to one).
pub(super) fn split(limit: u32, claimants: &[Claimant<'_>], turn: u64) -> Vec<u32> {
    let headroom: Vec<u32> = claimants
        .iter()
        .map(|claimant| headroom(claimant.demand))
        .collect();
    let mut targets = ranks::fill(limit, claimants, turn);
    let spare = u64::from(limit) - sum(&targets);
    if spare > 0 {
        let rooms: u64 = sum(&headroom);
        let mut left = spare;
        for (target, room) in targets.iter_mut().zip(&headroom) {
            let part = spare * u64::from(*room) / rooms;
            *target = target.saturating_add(u32::try_from(part).unwrap_or(u32::MAX));
            left -= part;
        }
        for index in order(claimants, turn)
            .into_iter()
            .cycle()
            .take(left as usize)
        {
            targets[index] = targets[index].saturating_add(1);
        }
    }
    if is_still(limit, claimants, &targets) {
        return claimants.iter().map(|claimant| claimant.share).collect();
    }
    targets
}

/// What a demand needs beyond itself for chance: its square root (Poisson fluctuation, square-root staffing).
pub(super) fn headroom(demand: u32) -> u32 {
    demand.isqrt().max(1)
}

/// The max-min split of `limit` over `wants`: nobody gets more than it wants, and nobody who gets less could have
/// more without taking from somebody who has no more than it, by weight. Exact to one slot; and with a slot for
/// everybody, nobody who wants goes without, however light (I6).
pub(super) fn fill(limit: u32, claimants: &[Claimant<'_>], wants: &[u32], turn: u64) -> Vec<u32> {
    let mut wants = wants.to_vec();
    let mut light: Vec<usize> = Vec::new();
    loop {
        let left = limit.saturating_sub(light.len() as u32);
        let mut targets = level(left, claimants, &wants, turn);
        let more: Vec<usize> = (0..targets.len())
            .filter(|index| targets[*index] == 0 && wants[*index] > 0)
            .collect();
        if more.is_empty() || (limit as usize) < claimants.len() {
            light.iter().for_each(|index| targets[*index] = 1);
            return targets;
        }
        more.iter().for_each(|index| wants[*index] = 0);
        light.extend(more);
    }
}

fn level(limit: u32, claimants: &[Claimant<'_>], wants: &[u32], turn: u64) -> Vec<u32> {
    if sum(wants) <= u64::from(limit) {
        return wants.to_vec();
    }
    let weight = |index: usize| u64::from(claimants[index].weight);
    // By want per weight, so that the satisfied come first.
    let mut rising: Vec<usize> = (0..claimants.len()).collect();
    rising.sort_by(|a, b| {
        (u64::from(wants[*a]) * weight(*b))
            .cmp(&(u64::from(wants[*b]) * weight(*a)))
            .then(a.cmp(b))
    });
    let mut left = u64::from(limit);
    let mut weights: u64 = (0..claimants.len()).map(weight).sum();
    let mut targets = vec![0; claimants.len()];
    let mut satisfied = 0;
    for index in &rising {
        if u64::from(wants[*index]) * weights > left * weight(*index) {
            break;
        }
        targets[*index] = wants[*index];
        left -= u64::from(wants[*index]);
        weights -= weight(*index);
        satisfied += 1;
    }
    // The others share the level: whole parts, then the largest remainders, ties by turn.
    let others: Vec<usize> = rising.split_off(satisfied);
    let mut rest = left;
    for index in &others {
        let part = left * weight(*index) / weights;
        targets[*index] = u32::try_from(part).unwrap_or(u32::MAX);
        rest -= part;
    }
    let mut is_other = vec![false; claimants.len()];
    others.iter().for_each(|index| is_other[*index] = true);
    let mut remainders: Vec<usize> = order(claimants, turn)
        .into_iter()
        .filter(|index| is_other[*index])
        .collect();
    remainders.sort_by_key(|index| std::cmp::Reverse(left * weight(*index) % weights));
    for index in remainders.into_iter().take(rest as usize) {
        targets[index] += 1;
    }
    targets
}

/// Who comes first when slots cannot be divided: who has a larger share keeps it, unless somebody is refused; then
/// the turn goes round.
fn order(claimants: &[Claimant<'_>], turn: u64) -> Vec<usize> {
    let count = claimants.len();
    let offset = (turn % count as u64) as usize;
    let mut order: Vec<usize> = (0..count).map(|place| (place + offset) % count).collect();
    if !claimants
        .iter()
        .any(|claimant| claimant.starved || claimant.share == 0)
    {
        order.sort_by_key(|index| (std::cmp::Reverse(claimants[*index].share), *index));
    }
    order
}

/// Nobody is refused, the shares are worth keeping, and no target is far from its share.
fn is_still(limit: u32, claimants: &[Claimant<'_>], targets: &[u32]) -> bool {
    let shares: u64 = claimants
        .iter()
        .map(|claimant| u64::from(claimant.share))
        .sum();
    shares == u64::from(limit)
        && claimants.iter().zip(targets).all(|(claimant, target)| {
            !claimant.starved
                && claimant.share > 0
                && claimant.share.abs_diff(*target) <= (claimant.share / 20).max(1)
                && (claimant.demand <= claimant.share || *target <= claimant.share + 1)
        })
        && !is_lopsided(claimants, targets)
}

/// One slot from who has most above its target would help who has least below, who is refused for want of it, and leave
/// the one no poorer than the other; and they are further apart than a twentieth. By weight.
fn is_lopsided(claimants: &[Claimant<'_>], targets: &[u32]) -> bool {
    let level =
        |slots: u32, of: &Claimant<'_>| u64::from(slots) * u64::from(ABSURD) / u64::from(of.weight);
    let both = || claimants.iter().zip(targets);
    let above = both().filter(|(it, target)| **target < it.share);
    // A demand is rounded up: one more than the share is chance.
    let below = both().filter(|(it, target)| **target > it.share && it.demand > it.share + 1);
    let richest = above
        .map(|(it, _)| (level(it.share, it), level(1, it)))
        .max();
    let poorest = below
        .map(|(it, _)| (level(it.share, it), level(1, it)))
        .min();
    richest
        .zip(poorest)
        .is_some_and(|((most, less), (least, more))| {
            most - less >= least + more && most - least > most / 20
        })
}

fn sum(slots: &[u32]) -> u64 {
    slots.iter().map(|slots| u64::from(*slots)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimants(demands: &[(u32, u32)]) -> Vec<Claimant<'static>> {
        let one = |(demand, weight): &(u32, u32)| Claimant {
            weight: *weight,
            ..Claimant::new("n", *demand)
        };
        demands.iter().map(one).collect()
    }

    #[test]
    fn the_known_example_is_exact() {
        // Where two rounds of redistribution give 24.67 to the three last.
        let nodes = claimants(&[(5, 1), (21, 1), (24, 1), (27, 1), (100, 1)]);
        let wants = [5, 21, 24, 27, 100];
        assert_eq!(fill(100, &nodes, &wants, 0), [5, 21, 24, 25, 25]);
    }

    /// Nobody could have one slot more but from somebody who would then have less than it, by weight.
    #[test]
    fn i7_no_slot_could_be_somewhere_else() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let count = rng.usize(1..12);
            let demands: Vec<(u32, u32)> = (0..count)
                .map(|_| (rng.u32(1..200), rng.u32(1..5)))
                .collect();
            let limit = rng.u32(count as u32..1_000);
            let wants: Vec<u32> = demands.iter().map(|(want, _)| *want).collect();
            let targets = fill(limit, &claimants(&demands), &wants, rng.u64(..));
            let all = sum(&wants).min(u64::from(limit));
            assert_eq!(sum(&targets), all, "{limit} for {demands:?}");
            for ((had, want), (_, weight)) in targets.iter().zip(&wants).zip(&demands) {
                assert!(
                    (1..=*want).contains(had),
                    "{targets:?} of {limit} for {demands:?}"
                );
                let richer = |(other, (_, heavy)): (&u32, &(u32, u32))| {
                    *other > 1 && (other - 1) * weight > (had + 1) * heavy
                };
                let is_richer = targets.iter().zip(&demands).any(richer);
                assert!(
                    had == want || !is_richer,
                    "{targets:?} of {limit} for {demands:?}"
                );
            }
        }
    }

    #[test]
    fn i7_shares_stay_where_they_are_unless_somebody_is_refused_for_more_than_one_slot() {
        let with = |demands: [u32; 2], shares: [u32; 2]| {
            let mut nodes = claimants(&demands.map(|demand| (demand, 1)));
            for (node, share) in nodes.iter_mut().zip(shares) {
                node.share = share;
            }
            split(shares.iter().sum(), &nodes, 1)
        };
        // Nobody is refused.
        assert_eq!(with([90, 90], [104, 96]), [104, 96]);
        assert_eq!(with([90, 90], [111, 89]), [100, 100]);
        // One is, for want of four slots that the other has; for one it is not worth moving any.
        assert_eq!(with([400, 400], [104, 96]), [100, 100]);
        assert_eq!(with([400, 400], [101, 99]), [101, 99]);
        assert_eq!(with([400, 400], [2, 1]), [2, 1]);
    }

    /// As when a third node joins two: each is within one slot of its target, and one has less than half of another.
    #[test]
    fn i7_shares_that_are_two_slots_apart_do_not_stay_while_the_smaller_is_refused() {
        let with = |nodes: &[(u32, u32, u32)]| {
            let mut claimants = claimants(&nodes.iter().map(|it| (it.1, it.2)).collect::<Vec<_>>());
            for (claimant, node) in claimants.iter_mut().zip(nodes) {
                claimant.share = node.0;
            }
            split(claimants.iter().map(|it| it.share).sum(), &claimants, 1)
        };
        // Share, demand and weight.
        assert_eq!(with(&[(5, 9, 1), (4, 9, 1), (2, 9, 1)]), [4, 4, 3]);
        assert_eq!(with(&[(4, 9, 1), (4, 9, 1), (3, 9, 1)]), [4, 4, 3]);
        // Who has two hardly wants more.
        assert_eq!(with(&[(5, 9, 1), (4, 9, 1), (2, 3, 1)]), [5, 4, 2]);
        // Twice the weight, twice the slots.
        assert_eq!(with(&[(5, 9, 2), (4, 9, 2), (2, 9, 1)]), [5, 4, 2]);
        // Two in twenty make no difference.
        assert_eq!(with(&[(101, 400, 1), (99, 400, 1)]), [101, 99]);
    }

    #[test]
    fn weights_count() {
        let nodes = claimants(&[(100, 3), (100, 1), (2, 1)]);
        assert_eq!(fill(42, &nodes, &[100, 100, 2], 0), [30, 10, 2]);
    }

    #[test]
    fn nobody_goes_without_for_being_light() {
        let nodes = claimants(&[(9, 1000), (9, 1), (9, 1), (9, 1), (9, 1), (9, 1)]);
        assert_eq!(fill(10, &nodes, &[9; 6], 0), [5, 1, 1, 1, 1, 1]);
        assert_eq!(fill(6, &nodes, &[9; 6], 0), [1; 6]);
    }

    #[test]
    fn everything_is_given_and_never_more() {
        for limit in 0..200 {
            for seed in 0..20_u32 {
                let demands: Vec<(u32, u32)> = (0..seed % 9 + 1)
                    .map(|n| ((n * 37 + seed * 11) % 50, n % 3 + 1))
                    .collect();
                let targets = split(limit, &claimants(&demands), u64::from(seed));
                assert_eq!(
                    sum(&targets),
                    u64::from(limit),
                    "limit {limit}, demands {demands:?}"
                );
            }
        }
    }

    #[test]
    fn nobody_starves_while_there_is_a_slot_for_everybody() {
        let nodes = claimants(&[(1, 1), (1000, 1), (1000, 1), (1, 1)]);
        assert!(split(4, &nodes, 0).iter().all(|target| *target == 1));
        assert!(split(40, &nodes, 0).iter().all(|target| *target >= 1));
    }
}
