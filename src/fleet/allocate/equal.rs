//! The same for everybody.

use crate::fleet::allocate::{Claimant, by_name};

/// `floor(L/N)`, and one more for the first `L mod N` in byte order of the names. When there are fewer slots than
/// nodes the order rotates by round, so that nobody waits for ever.
pub(super) fn split(limit: u32, claimants: &[Claimant<'_>], turn: u64) -> Vec<u32> {
    let count = claimants.len();
    let (each, rest) = (limit as usize / count, limit as usize % count);
    let offset = if each == 0 {
        (turn % count as u64) as usize
    } else {
        0
    };
    let mut targets = vec![each as u32; count];
    for (place, index) in by_name(claimants).into_iter().enumerate() {
        if (place + count - offset) % count < rest {
            targets[index] += 1;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_fewer_slots_than_nodes_everybody_gets_a_turn() {
        let names = ["a", "b", "c"];
        let claimants = names.map(|name| Claimant {
            name,
            share: 0,
            in_flight: 0,
            demand: 1,
            weight: 1,
            starved: true,
        });
        let mut turns = [0; 3];
        for turn in 0..3 {
            let targets = split(1, &claimants, turn);
            assert_eq!(targets.iter().sum::<u32>(), 1);
            turns
                .iter_mut()
                .zip(targets)
                .for_each(|(sum, target)| *sum += target);
        }
        assert_eq!(turns, [1, 1, 1]);
    }
}
