//! A satisfied node keeps what it uses and one slot to probe with; the hungry split the rest.

use crate::fleet::allocate::{Claimant, by_name};

/// A node is satisfied if it has less in flight than its share. The hungry get at least one slot each, the remainder
/// goes to the first in byte order of the names.
pub(super) fn split(limit: u32, claimants: &[Claimant<'_>]) -> Vec<u32> {
    let satisfied = |claimant: &Claimant<'_>| claimant.in_flight < claimant.share;
    let mut targets: Vec<u32> = claimants
        .iter()
        .map(|claimant| {
            if satisfied(claimant) {
                claimant.in_flight + 1
            } else {
                0
            }
        })
        .collect();
    let kept: u64 = targets.iter().map(|target| u64::from(*target)).sum();
    let hungry: Vec<usize> = by_name(claimants)
        .into_iter()
        .filter(|index| !satisfied(&claimants[*index]))
        .collect();
    if hungry.is_empty() {
        return targets;
    }
    let left = u64::from(limit).saturating_sub(kept);
    let count = hungry.len() as u64;
    for (place, index) in hungry.into_iter().enumerate() {
        let more = u64::from((place as u64) < left % count);
        targets[index] = u32::try_from((left / count + more).max(1)).unwrap_or(u32::MAX);
    }
    targets
}
