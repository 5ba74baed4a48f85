//! What each class leaves free of a node's share for the more critical: trunk reservation.
//!
//! While the less critical are always there, what is in use never stays below their cap; above it the more critical
//! come and go alone, as in Erlang's loss system that begins at the cap. Of them is refused
//! `1 / (1 + S/d + S(S-1)/d^2 + ..)`, with as many terms as slots are reserved, where `S` is what they may use and `d`
//! their demand. The more of the slots reserved stay free, the higher the limit goes: the estimator looks at what is
//! in flight.

use crate::criticality::{Criticality, Reserves};

const CLASSES: usize = Criticality::ALL.len();
/// Of those as critical as that or more, one in so many may be refused for the sake of those less critical.
const REFUSED_ONE_IN: [u64; CLASSES - 1] = [100, 10, 3];
/// Together no more than this part of the share, in 1/8: of a limit hardly half of which is in use nothing can be
/// learnt.
const MOST: u64 = 3;

/// The reserves of a node with this `share`, where the class with each index and all more critical ones would use
/// `ranked` thousandths of a slot.
pub(crate) fn reserves(share: u32, ranked: [u64; CLASSES]) -> Reserves {
    let most = (u64::from(share) * MOST / 8) as u32;
    let mut slots = [0; CLASSES];
    for (class, one_in) in REFUSED_ONE_IN.into_iter().enumerate() {
        let usable = share - slots[class];
        // What is no more than urgent by degrees is worth no more than chance brings.
        let worth = if class == Criticality::Critical.index() {
            most
        } else {
            usable.isqrt()
        };
        let reserve = trunk(usable, ranked[class], one_in, worth);
        slots[class + 1] = most.min(slots[class] + reserve);
    }
    Reserves::new(slots)
}

/// The fewest of `usable` slots, and at most `most`, that a demand of so many thousandths needs for itself.
fn trunk(usable: u32, demand: u64, one_in: u64, most: u32) -> u32 {
    if demand == 0 {
        return 0;
    }
    let (mut term, mut sum, mut reserve) = (1000, 1000, 0);
    while reserve < most && sum < one_in * 1000 {
        term = term * u64::from(usable - reserve) * 1000 / demand;
        sum += term;
        reserve += 1;
    }
    reserve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(share: u32, ranked: [u64; CLASSES]) -> [u32; CLASSES] {
        let reserves = reserves(share, ranked);
        Criticality::ALL.map(|class| reserves.cap(share, share, class))
    }

    #[test]
    fn the_first_terms_are_as_computed_by_hand() {
        // 1 + 16/5 + 16*15/25 + 16*15*14/125 = 40.7, with the next term 110.6.
        assert_eq!(trunk(16, 5_000, 40, 16), 3);
        assert_eq!(trunk(16, 5_000, 100, 16), 4);
        assert_eq!(trunk(16, 5_000, 100, 2), 2);
        assert_eq!(trunk(16, 0, 100, 16), 0);
    }

    #[test]
    fn who_is_alone_has_everything() {
        for class in 0..CLASSES {
            // Nobody more critical, in any number of its own kind.
            let ranked = std::array::from_fn(|rank| if rank < class { 0 } else { 50_000 });
            assert_eq!(caps(16, ranked)[..=class], [16; CLASSES][..=class]);
        }
    }

    #[test]
    fn a_class_leaves_what_the_more_critical_need_and_no_more_than_three_eighths() {
        assert_eq!(caps(16, [5_000, 5_000, 5_000, 50_000]), [16, 12, 10, 10]);
        assert_eq!(caps(16, [5_000, 12_500, 20_000, 25_000]), [16, 12, 10, 10]);
        assert_eq!(caps(16, [40_000, 40_000, 40_000, 40_000]), [16, 10, 10, 10]);
        assert_eq!(
            caps(100, [10_000, 20_000, 30_000, 90_000]),
            [100, 98, 96, 95]
        );
    }

    #[test]
    fn any_share_and_any_demand_leave_caps_that_fall_with_the_class_to_one_at_least() {
        for share in (1..300).chain([100_000, u32::MAX]) {
            for demand in [1, 500, 7_000, 400_000, u64::MAX / 4] {
                let caps = caps(share, [demand, demand, demand.saturating_mul(2), u64::MAX]);
                assert!(caps.is_sorted_by(|a, b| a >= b), "{share}: {caps:?}");
                assert!(caps[3] >= 1 && caps[3] >= share / 2, "{share}: {caps:?}");
            }
        }
    }
}
