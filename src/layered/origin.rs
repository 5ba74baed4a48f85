//! What a store keeps for the layered limit, and its steps as functions: regional cells, and the regions' components.
//!
//! The Redis scripts are their other spelling.

use crate::layered::cell::Told;
use std::collections::BTreeMap;

/// One cell at origin.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct OriginCell {
    total: u64,
    /// What each holder has told.
    holders: BTreeMap<u64, u64>,
}

impl OriginCell {
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Counts what `holder` tells, once, however often and in which order it is told.
    ///
    /// A holder that is not known here has nothing acknowledged, unless the cell was lost: then what it knew is where
    /// the cell goes on from, and only what was not acknowledged is new. When all holders have told, their sum is all
    /// there ever was.
    pub(crate) fn tell(&mut self, holder: u64, told: Told) -> u64 {
        let accepted = u64::from(told.accepted);
        match self.holders.get(&holder).copied() {
            None => {
                let new = accepted - u64::from(told.acknowledged);
                self.total = self.total.max(told.known) + new;
            }
            Some(before) if accepted < before => return self.total,
            Some(before) => self.total = (self.total + accepted - before).max(told.known),
        }
        self.holders.insert(holder, accepted);
        self.total = self.total.max(self.holders.values().sum());
        self.total
    }
}

/// One cell at the global store: each region's count, which only grows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct GlobalCell {
    regions: BTreeMap<Box<str>, u64>,
}

impl GlobalCell {
    /// Whether that was news.
    pub(crate) fn publish(&mut self, region: &str, total: u64) -> bool {
        let known = self.regions.entry(region.into()).or_default();
        let news = total > *known;
        *known = total.max(*known);
        news
    }

    /// What `region` and what the others have published.
    pub(crate) fn seen_from(&self, region: &str) -> (u64, u64) {
        let own = self.regions.get(region).copied().unwrap_or_default();
        let sum: u64 = self.regions.values().sum();
        (own, sum - own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(accepted: u32, acknowledged: u32, known: u64) -> Told {
        Told {
            accepted,
            acknowledged,
            known,
        }
    }

    #[test]
    fn what_is_repeated_or_overtaken_counts_once() {
        let mut cell = OriginCell::default();
        assert_eq!(cell.tell(1, told(5, 0, 0)), 5);
        assert_eq!(cell.tell(1, told(9, 0, 0)), 9);
        assert_eq!(cell.tell(1, told(5, 0, 0)), 9);
        assert_eq!(cell.tell(2, told(1, 0, 9)), 10);
        assert_eq!(cell.tell(1, told(9, 5, 9)), 10);
    }

    #[test]
    fn a_lost_count_comes_back_from_what_nodes_know() {
        // Two nodes had 30 and 20 acknowledged, a third, which is gone, 10.
        let mut cell = OriginCell::default();
        assert_eq!(cell.tell(1, told(33, 30, 60)), 63);
        assert_eq!(cell.tell(2, told(21, 20, 60)), 64);
        assert_eq!(cell.tell(2, told(22, 21, 64)), 65);
        // The first to tell did not know of everything.
        let mut cell = OriginCell::default();
        assert_eq!(cell.tell(1, told(30, 30, 35)), 35);
        assert_eq!(cell.tell(2, told(20, 20, 40)), 50);
    }

    #[test]
    fn regions_merge_by_maximum_and_add_up() {
        let mut cell = GlobalCell::default();
        assert!(cell.publish("eu", 5) && cell.publish("us", 7));
        assert!(!cell.publish("eu", 4));
        assert_eq!(
            (cell.seen_from("eu"), cell.seen_from("asia")),
            ((5, 7), (0, 12))
        );
    }
}
