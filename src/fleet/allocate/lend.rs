//! Whose slots are lent: who has nothing to do needs none while others have work for them.

use crate::fleet::allocate::{CLASSES, Claimant, ranks};

/// For each claimant the slots that it has because it is idle, or `None` if it wants something; `None` for all of them
/// while there is enough for everybody, or nobody wants anything.
///
/// What those who want leave goes to the idle, one slot each, so that their next request finds it there; who has one
/// keeps it first. The others get theirs back at their first want: they say so at once.
pub(super) fn idle_slots(limit: u32, claimants: &[Claimant<'_>]) -> Option<Vec<Option<u32>>> {
    let idle = claimants.iter().filter(|claimant| claimant.idle).count() as u64;
    if idle == 0 || idle == claimants.len() as u64 {
        return None;
    }
    let wanted: u64 = claimants
        .iter()
        .filter(|claimant| !claimant.idle)
        .map(|claimant| u64::from(ranks::want(claimant, CLASSES - 1)))
        .sum();
    let room = u64::from(limit).saturating_sub(wanted);
    if room >= idle {
        return None;
    }
    let mut slots: Vec<Option<u32>> = claimants
        .iter()
        .map(|claimant| claimant.idle.then_some(0))
        .collect();
    let has_one = |index: &usize| claimants[*index].share > 0;
    let (keep, get): (Vec<usize>, Vec<usize>) = (0..claimants.len())
        .filter(|index| claimants[*index].idle)
        .partition(has_one);
    for index in keep.into_iter().chain(get).take(room as usize) {
        slots[index] = Some(1);
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_idle_node_lends_its_slot_while_others_are_short() {
        // 16 and its root, 4, are wanted.
        let nodes = claimants(&[16, -2, -1, -2]);
        for (limit, slots) in [
            (23, None),
            (22, Some([None, Some(1), Some(0), Some(1)])),
            (21, Some([None, Some(1), Some(0), Some(0)])),
            (20, Some([None, Some(0), Some(0), Some(0)])),
            (2, Some([None, Some(0), Some(0), Some(0)])),
        ] {
            let expected = slots.map(|slots| slots.to_vec());
            assert_eq!(idle_slots(limit, &nodes), expected, "limit {limit}");
        }
    }

    #[test]
    fn nobody_lends_to_nobody() {
        assert_eq!(idle_slots(1, &claimants(&[-2, -1])), None);
        assert_eq!(idle_slots(1, &claimants(&[3, 4])), None);
    }
}
