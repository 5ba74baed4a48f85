//! Whose slots are lent: who has nothing to do needs none while others have work for them.

use crate::fleet::allocate::{CLASSES, Claimant, ranks};

/// For each claimant the slots that it has because it is idle, or `None` if it wants something; `None` for all of them
/// while there is enough for everybody.
///
/// Idle nodes lend when what the others demand and a slot for each of them are more than there is, and have their slots
/// back when there is enough beside the others' headroom too; between the two nothing moves. Who has a slot keeps it
/// first, then comes who has been without for longest.
pub(super) fn idle_slots(limit: u32, claimants: &[Claimant<'_>]) -> Option<Vec<Option<u32>>> {
    let mut idle: Vec<usize> = (0..claimants.len())
        .filter(|index| claimants[*index].idle)
        .collect();
    let left = |need: fn(&Claimant<'_>) -> u32| {
        let others = claimants.iter().filter(|claimant| !claimant.idle);
        let needed: u64 = others.map(|claimant| u64::from(need(claimant))).sum();
        (u64::from(limit).saturating_sub(needed) as usize).min(idle.len())
    };
    let least = left(|claimant| ranks::want(claimant, CLASSES - 1));
    let most = left(|claimant| claimant.demand);
    let present = idle.iter().filter(|index| claimants[**index].share > 0);
    let room = present.count().clamp(least, most);
    if room == idle.len() {
        return None;
    }
    idle.sort_by_key(|index| {
        let claimant = &claimants[*index];
        let without = (claimant.share == 0).then_some(claimant.held);
        (without.is_some(), std::cmp::Reverse(without))
    });
    let mut slots: Vec<Option<u32>> = claimants
        .iter()
        .map(|claimant| claimant.idle.then_some(0))
        .collect();
    for index in idle.into_iter().take(room) {
        slots[index] = Some(1);
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Negative demands are those of idle nodes with as many slots.
    fn claimants(demands: &[i32]) -> Vec<Claimant<'static>> {
        let one = |demand: &i32| match u32::try_from(*demand) {
            Ok(demand) => Claimant::new("n", demand),
            Err(_) => Claimant {
                idle: true,
                share: demand.unsigned_abs() - 1,
                ..Claimant::new("n", 1)
            },
        };
        demands.iter().map(one).collect()
    }

    #[test]
    fn idle_nodes_lend_their_slots_while_the_others_demand_them() {
        // Everybody has one; the others demand 16.
        let nodes = claimants(&[16, -2, -2, -2]);
        for (limit, slots) in [
            (19, None),
            (18, Some([None, Some(1), Some(1), Some(0)])),
            (17, Some([None, Some(1), Some(0), Some(0)])),
            (16, Some([None, Some(0), Some(0), Some(0)])),
            (2, Some([None, Some(0), Some(0), Some(0)])),
        ] {
            let expected = slots.map(|slots| slots.to_vec());
            assert_eq!(idle_slots(limit, &nodes), expected, "limit {limit}");
        }
    }

    #[test]
    fn they_have_them_back_when_there_is_enough_for_chance_too() {
        // 16 and its root, 4, are wanted.
        let mut nodes = claimants(&[16, -1, -1, -1]);
        nodes[2].held = Duration::from_secs(9);
        for (limit, slots) in [
            (19, Some([None, Some(0), Some(0), Some(0)])),
            (21, Some([None, Some(0), Some(1), Some(0)])),
            (22, Some([None, Some(1), Some(1), Some(0)])),
            (23, None),
        ] {
            let expected = slots.map(|slots| slots.to_vec());
            assert_eq!(idle_slots(limit, &nodes), expected, "limit {limit}");
        }
    }

    #[test]
    fn nothing_moves_while_nobody_wants_anything() {
        let some = |slots: [u32; 3]| Some(slots.map(Some).to_vec());
        assert_eq!(idle_slots(2, &claimants(&[-1, -2, -2])), some([0, 1, 1]));
        assert_eq!(idle_slots(1, &claimants(&[-1, -1, -2])), some([0, 0, 1]));
        assert_eq!(idle_slots(3, &claimants(&[-2, -2, -2])), None);
        assert_eq!(idle_slots(1, &claimants(&[3, 4])), None);
    }
}
