//! Fewer slots than nodes: single slots go round (I6).

use crate::fleet::allocate::{Claimant, Round};

/// Where a node is in its turn, in the order in which slots are dealt.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// Its slot is still draining elsewhere.
    Promised,
    /// Has had a slot for less than a round.
    Serving,
    /// Without a slot for a round or more: who waits longest first.
    Waiting,
    /// Has had its round: may go on if nobody waits, who began last first.
    Served,
    /// Has just had its turn: takes what is left, but from nobody.
    Resting,
}

/// One slot each for the first `limit` in turn. A turn is a round from when the slot is there, so hand-over and drain
/// do not count, and whoever waits has as many turns before it as there are nodes that waited longer.
pub(super) fn split(limit: u32, claimants: &[Claimant<'_>], round: Round) -> Vec<u32> {
    let place = |claimant: &Claimant<'_>| match (claimant.share, claimant.target) {
        (0, 0) if claimant.held < round.length => Place::Resting,
        (0, 0) => Place::Waiting,
        (0, _) => Place::Promised,
        _ if claimant.held < round.length => Place::Serving,
        _ => Place::Served,
    };
    let mut order: Vec<usize> = (0..claimants.len()).collect();
    order.sort_by_key(|index| {
        let claimant = &claimants[*index];
        let place = place(claimant);
        let held = u64::try_from(claimant.held.as_micros()).unwrap_or(u64::MAX);
        let rank = if place == Place::Served {
            held
        } else {
            u64::MAX - held
        };
        // Never by the alphabet: those alike take turns.
        (
            place,
            rank,
            (*index as u64 + round.number) % claimants.len() as u64,
        )
    });
    let mut targets = vec![0; claimants.len()];
    for index in order.into_iter().take(limit as usize) {
        targets[index] = 1;
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everybody_gets_a_turn_whatever_the_rhythm_of_the_plans() {
        for (limit, between) in [(1, 30), (1, 100), (1, 500), (2, 130), (3, 1_000)] {
            let mut claimants = [Claimant::new("n", 9); 5];
            let mut turns = [0_u32; 5];
            let length = Duration::from_millis(100);
            let since = Duration::from_millis(between);
            for number in 0..200 {
                let targets = split(limit, &claimants, Round { number, length });
                for (claimant, target) in claimants.iter_mut().zip(targets) {
                    claimant.held += since;
                    if (claimant.share > 0) != (target > 0) {
                        claimant.held = Duration::ZERO;
                    }
                    (claimant.share, claimant.target) = (target, target);
                }
                for (turns, claimant) in turns.iter_mut().zip(&claimants) {
                    *turns += claimant.share;
                }
                assert_eq!(
                    claimants.iter().map(|claimant| claimant.share).sum::<u32>(),
                    limit
                );
            }
            let (least, most) = (turns.iter().min(), turns.iter().max());
            assert!(
                most.expect("five") - least.expect("five") <= 5,
                "{limit}, {between}: {turns:?}"
            );
        }
    }
}
