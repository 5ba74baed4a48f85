//! The fleet's limit from the nodes' own limits.
//!
//! Nodes that have no samples yet have no say: a cold joiner must not pull the fleet down to its start value. If
//! nobody has samples there is no answer, and the limit stays where it is.

use crate::fleet::message::NodeView;

/// The lower median: of two in the middle, the smaller.
pub(super) fn median(open: &[&NodeView]) -> Option<u32> {
    lower_median(&mut limits(open).collect::<Vec<u32>>())
}

/// The smallest.
pub(super) fn min(open: &[&NodeView]) -> Option<u32> {
    limits(open).min()
}

fn limits(open: &[&NodeView]) -> impl Iterator<Item = u32> {
    let own = open.iter().map(|node| node.report.local_limit);
    own.filter(|limit| *limit > 0)
}

fn lower_median(values: &mut [u32]) -> Option<u32> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_in_the_middle_the_smaller_counts() {
        assert_eq!(lower_median(&mut []), None);
        assert_eq!(lower_median(&mut [7]), Some(7));
        assert_eq!(lower_median(&mut [9, 3]), Some(3));
        assert_eq!(lower_median(&mut [9, 3, 5]), Some(5));
        assert_eq!(lower_median(&mut [4, 1, 3, 2]), Some(2));
    }
}
