//! Classes in order over the whole fleet: bulk on one node yields to critical on another.

use crate::fleet::allocate::{CLASSES, Claimant, max_min};

/// The max-min split of `limit` over what the claimants want, within what classes demand: nobody has less than the
/// classes want for which there is enough, and nobody has more than these and the next one want while that one goes
/// short anywhere. A slot for everybody comes before all classes (I6).
///
/// Between these two it is shares that are equal, and not the next class's parts of them: where all nodes have the same
/// mix none of it moves anything, however demand changes by chance.
pub(super) fn fill(limit: u32, claimants: &[Claimant<'_>], turn: u64) -> Vec<u32> {
    let mut least = vec![0; claimants.len()];
    for rank in (0..CLASSES).filter(|rank| divides(claimants, *rank)) {
        let most: Vec<u32> = claimants
            .iter()
            .zip(&least)
            .map(|(claimant, least)| want(claimant, rank).max(*least))
            .collect();
        if sum(&most) > u64::from(limit) {
            return between(limit, claimants, least, most, turn);
        }
        least = most;
    }
    least
}

/// The max-min split of a `limit` that is enough for `least`, and not for `most`. Where what is max-min without classes
/// is off by no more than its root and one slot it stays: demand changes by that much by chance.
fn between(
    limit: u32,
    claimants: &[Claimant<'_>],
    mut least: Vec<u32>,
    mut most: Vec<u32>,
    turn: u64,
) -> Vec<u32> {
    let wants: Vec<u32> = claimants
        .iter()
        .map(|claimant| want(claimant, CLASSES - 1))
        .collect();
    let plain = max_min::fill(limit, claimants, &wants, turn);
    for ((plain, least), most) in plain.iter().zip(&mut least).zip(&mut most) {
        let near = |bound: u32| bound.abs_diff(*plain) <= plain.isqrt() + 1;
        if near(*least) {
            *least = (*least).min(*plain);
        }
        if near(*most) {
            *most = (*most).max(*plain);
        }
    }
    if (0..plain.len()).all(|index| (least[index]..=most[index]).contains(&plain[index])) {
        return plain;
    }
    // Who has more by its least than the level gives it has no part in the rest. In 1/1024 of a slot by weight.
    let given = |level: u64, index: usize| level * u64::from(claimants[index].weight) / 1024;
    let fits = |level: u64| {
        let share = |index: usize| {
            given(level, index).clamp(u64::from(least[index]), u64::from(most[index]))
        };
        (0..claimants.len()).map(share).sum::<u64>() <= u64::from(limit)
    };
    let (mut low, mut high) = (0, u64::from(limit) * 1024 + 1024);
    while high - low > 1 {
        let middle = low.midpoint(high);
        *(if fits(middle) { &mut low } else { &mut high }) = middle;
    }
    let others: Vec<usize> = (0..claimants.len())
        .filter(|index| given(low, *index) >= u64::from(least[*index]))
        .collect();
    let mut targets = least.to_vec();
    others.iter().for_each(|index| targets[*index] = 0);
    let left = u64::from(limit) - sum(&targets);
    let pick = |slots: &[u32]| -> Vec<u32> { others.iter().map(|index| slots[*index]).collect() };
    let rest: Vec<Claimant<'_>> = others.iter().map(|index| claimants[*index]).collect();
    let shares = max_min::fill(
        u32::try_from(left).unwrap_or(u32::MAX),
        &rest,
        &pick(&most),
        turn,
    );
    for (index, share) in others.into_iter().zip(shares) {
        targets[index] = share;
    }
    targets
}

/// Whether somebody wants something of this class or more critical ones, and somebody of less critical ones; the
/// least critical rank is everything.
fn divides(claimants: &[Claimant<'_>], rank: usize) -> bool {
    let somebody =
        |wants: fn(&Claimant<'_>, usize) -> bool| claimants.iter().any(|one| wants(one, rank));
    rank == CLASSES - 1
        || somebody(|claimant, rank| claimant.ranked[rank] > 0)
            && somebody(|claimant, rank| claimant.ranked[rank] < claimant.demand)
}

/// What a claimant wants of the classes up to `rank`. Those before whom others yield have twice the headroom, since
/// nothing that is left over finds its way to them.
pub(super) fn want(claimant: &Claimant<'_>, rank: usize) -> u32 {
    let demand = claimant.ranked[rank];
    let room = if rank == CLASSES - 1 {
        max_min::headroom(demand)
    } else {
        demand.saturating_mul(4).isqrt()
    };
    demand.saturating_add(room).max(1)
}

fn sum(slots: &[u32]) -> u64 {
    slots.iter().map(|slots| u64::from(*slots)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By what of its demand is critical, default, sheddable and bulk.
    fn claimants(demands: &[[u32; CLASSES]]) -> Vec<Claimant<'static>> {
        let one = |demand: &[u32; CLASSES]| {
            let mut sum = 0;
            let ranked = demand.map(|slots| {
                sum += slots;
                sum
            });
            Claimant {
                ranked,
                ..Claimant::new("n", sum)
            }
        };
        demands.iter().map(one).collect()
    }

    #[test]
    fn bulk_on_one_node_yields_to_critical_on_another() {
        // 64 and twice its root; the rest is bulk's.
        let nodes = claimants(&[[64, 0, 0, 0], [0, 0, 0, 200]]);
        assert_eq!(fill(100, &nodes, 0), [80, 20]);
        assert_eq!(fill(60, &nodes, 0), [59, 1]);
    }

    #[test]
    fn shares_are_max_min_between_what_one_class_wants_and_what_the_next_one_does() {
        let nodes = claimants(&[[20, 0, 0, 60], [0, 0, 40, 40], [0, 90, 0, 0], [2, 2, 2, 2]]);
        // Critical: 20 + 8 and 2 + 2. Of the rest default wants all, but for the 4 + 4 of the last.
        assert_eq!(fill(60, &nodes, 0), [28, 1, 21, 10]);
        // Default: 90 + 18. What it leaves is the second's, which has sheddable ones: the first has only bulk.
        assert_eq!(fill(160, &nodes, 0), [28, 14, 108, 10]);
        // Sheddable: 40 + 12. What it leaves is bulk's.
        assert_eq!(fill(200, &nodes, 0), [30, 52, 108, 10]);
        // Everything, each with its root.
        assert_eq!(fill(400, &nodes, 0), [88, 88, 108, 10]);
    }

    #[test]
    fn the_same_mix_everywhere_moves_nothing_whatever_chance_brings() {
        let nodes = claimants(&[[1, 2, 2, 1], [2, 2, 1, 2], [3, 1, 2, 1], [1, 1, 2, 2]]);
        assert_eq!(fill(20, &nodes, 0), [5; 4]);
    }

    #[test]
    fn one_class_alone_is_not_divided() {
        for class in 0..CLASSES {
            let mut demands = [[0; CLASSES]; 3];
            for (demand, slots) in demands.iter_mut().zip([5, 30, 200]) {
                demand[class] = slots;
            }
            let nodes = claimants(&demands);
            let wants = [7, 35, 214];
            for limit in [3, 50, 100, 256, 1000] {
                assert_eq!(
                    fill(limit, &nodes, 0),
                    max_min::fill(limit, &nodes, &wants, 0)
                );
            }
        }
    }

    #[test]
    fn a_slot_for_everybody_comes_first() {
        let nodes = claimants(&[[500, 0, 0, 0], [0, 0, 0, 500], [0, 0, 0, 1], [1, 0, 0, 0]]);
        assert_eq!(fill(4, &nodes, 0), [1; 4]);
        // 1 + 2, 1 + 1, and what is left.
        assert_eq!(fill(40, &nodes, 0), [34, 1, 2, 3]);
    }
}
