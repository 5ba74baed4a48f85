//! The fleet's limit from the nodes' own limits.

use crate::fleet::message::NodeView;
use crate::fleet::settings::{Estimate, Settings};

/// The limit from now on, within the configured bounds.
///
/// Nodes that have no samples yet have no say: a cold joiner must not pull the fleet down to its start value. If
/// nobody has samples the limit stays where it is.
pub(crate) fn limit(settings: &Settings, now: u32, open: &[&NodeView]) -> u32 {
    let present = if now == 0 {
        settings.initial_limit
    } else {
        now
    };
    let mut own: Vec<u32> = open
        .iter()
        .map(|node| node.report.local_limit)
        .filter(|limit| *limit > 0)
        .collect();
    let found = match settings.estimate {
        Estimate::Fixed(limit) => return limit,
        Estimate::Median => lower_median(&mut own),
        Estimate::Min => own.iter().min().copied(),
    };
    found
        .unwrap_or(present)
        .clamp(settings.min_limit, settings.max_limit)
}

/// The lower median: of two in the middle, the smaller.
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
