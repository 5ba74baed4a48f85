//! The same for everybody.

use crate::fleet::allocate::{Claimant, by_name};

/// `floor(L/N)`, and one more for the first `L mod N` in byte order of the names.
pub(super) fn split(limit: u32, claimants: &[Claimant<'_>]) -> Vec<u32> {
    let count = claimants.len();
    let (each, rest) = (limit as usize / count, limit as usize % count);
    let mut targets = vec![each as u32; count];
    for index in by_name(claimants).into_iter().take(rest) {
        targets[index] += 1;
    }
    targets
}
