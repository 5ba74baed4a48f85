//! The coordinator of the published fleet: the median of the nodes' limits, and what of it each may have.

use crate::engine::Nanos;
use std::collections::BTreeMap;

/// How the fleet's limit is divided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::limiter) enum Deal {
    /// The same for all, what does not divide to the first.
    Equal,
    /// Who has a free slot is satisfied, and has one more than it uses; the rest equally over the others.
    Demand,
}

/// What a node tells with its beat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) own_limit: u32,
    pub(super) in_flight: u32,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    deal: Deal,
    lease: Nanos,
    /// Of the last beat.
    limit: u32,
    records: BTreeMap<usize, Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    report: Report,
    share: u32,
    expires: Nanos,
}

impl Coordinator {
    pub(super) const fn new(deal: Deal, lease: Nanos) -> Self {
        Self {
            deal,
            lease,
            limit: 0,
            records: BTreeMap::new(),
        }
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// A beat of `node`: what it may have from now on.
    pub(super) fn beat(&mut self, now: Nanos, node: usize, report: Report) -> u32 {
        self.records.retain(|_, record| record.expires > now);
        let expires = now + self.lease;
        let record = self.records.entry(node).or_insert(Record {
            report,
            share: 0,
            expires,
        });
        (record.report, record.expires) = (report, expires);
        self.limit = self.median();
        let others = self.records.iter().filter(|(other, _)| **other != node);
        let taken: u32 = others
            .map(|(_, other)| other.share.max(other.report.in_flight))
            .sum();
        let share = self.target(node).min(self.limit.saturating_sub(taken));
        if let Some(record) = self.records.get_mut(&node) {
            record.share = share;
        }
        share
    }

    pub(super) fn leave(&mut self, node: usize) {
        self.records.remove(&node);
    }

    /// The store has lost everything.
    pub(super) fn flush(&mut self) {
        self.records.clear();
    }

    /// The lower one.
    fn median(&self) -> u32 {
        let records = self.records.values();
        let mut limits: Vec<u32> = records.map(|record| record.report.own_limit).collect();
        let middle = limits.len().saturating_sub(1) / 2;
        *limits.select_nth_unstable(middle).1
    }

    fn target(&self, node: usize) -> u32 {
        let is_satisfied = |record: &Record| record.report.in_flight < record.share;
        let (all, left) = match self.deal {
            Deal::Equal => (self.records.iter().collect::<Vec<_>>(), self.limit),
            Deal::Demand => {
                let (satisfied, hungry): (Vec<_>, Vec<_>) = self
                    .records
                    .iter()
                    .partition(|(_, record)| is_satisfied(record));
                if let Some((_, record)) = satisfied.iter().find(|(other, _)| **other == node) {
                    return record.report.in_flight + 1;
                }
                let used = satisfied.iter().map(|(_, it)| it.report.in_flight + 1);
                (hungry, self.limit.saturating_sub(used.sum()))
            }
        };
        let rank = all.iter().take_while(|(other, _)| **other != node).count() as u32;
        let count = all.len() as u32;
        let part = left / count + u32::from(rank < left % count);
        match self.deal {
            Deal::Equal => part,
            Deal::Demand => part.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    fn coordinator(deal: Deal) -> Coordinator {
        Coordinator::new(deal, 2 * SECOND)
    }

    fn report(own_limit: u32, in_flight: u32) -> Report {
        Report {
            own_limit,
            in_flight,
        }
    }

    #[test]
    fn the_limit_is_the_lower_median_of_those_who_are_there() {
        let mut fleet = coordinator(Deal::Equal);
        for (node, own, limit) in [
            (0, 512, 512),
            (1, 4, 4),
            (2, 64, 64),
            (3, 64, 64),
            (4, 4, 64),
        ] {
            fleet.beat(0, node, report(own, 0));
            assert_eq!(fleet.limit(), limit, "after node {node}");
        }
        fleet.leave(2);
        fleet.beat(SECOND, 3, report(64, 0));
        assert_eq!(fleet.limit(), 4, "of 512, 64, 4 and 4");
        // The leases of all but the last are over.
        fleet.beat(2 * SECOND, 3, report(64, 0));
        assert_eq!(fleet.limit(), 64);
    }

    #[test]
    fn equal_shares_are_those_of_the_budget_that_nobody_has_or_uses() {
        let mut fleet = coordinator(Deal::Equal);
        let mut beat = |node, in_flight| fleet.beat(0, node, report(10, in_flight));
        assert_eq!(beat(0, 0), 10, "alone");
        // The first has it all, and then what it runs.
        assert_eq!(beat(1, 0), 0);
        assert_eq!(beat(0, 8), 5);
        assert_eq!(beat(1, 0), 2);
        assert_eq!(beat(0, 3), 5);
        assert_eq!(beat(1, 2), 5);
        // Of three four, three and three: what there is at each beat.
        assert_eq!(
            [beat(2, 0), beat(0, 3), beat(1, 3), beat(2, 0)],
            [0, 4, 3, 3]
        );
    }

    #[test]
    fn shares_by_demand_leave_the_satisfied_one_more_than_they_use() {
        let mut fleet = coordinator(Deal::Demand);
        let mut beat = |node, in_flight| fleet.beat(0, node, report(12, in_flight));
        assert_eq!([beat(0, 0), beat(1, 0), beat(2, 0)], [12, 0, 0]);
        // It uses one of twelve, so it keeps two.
        assert_eq!(beat(0, 1), 2);
        // Two are hungry: five each.
        assert_eq!([beat(1, 0), beat(2, 0)], [5, 5]);
        assert_eq!([beat(1, 5), beat(2, 5)], [5, 5]);
        // Now all are, and are to have four; what the second still runs is not there for the first.
        assert_eq!([beat(0, 2), beat(1, 5), beat(0, 2)], [2, 4, 2]);
        assert_eq!([beat(1, 4), beat(0, 2)], [4, 3]);
    }

    /// With a limit of 4 over five nodes the last have nothing by equal shares.
    #[test]
    fn who_is_flushed_is_dealt_anew_by_the_first_to_beat() {
        let mut fleet = coordinator(Deal::Equal);
        for node in 0..5 {
            fleet.beat(0, node, report(4, 0));
        }
        let shares: Vec<u32> = (0..5)
            .map(|node| fleet.beat(1, node, report(4, 0)))
            .collect();
        assert_eq!(shares, [1, 1, 1, 1, 0]);
        fleet.flush();
        assert_eq!(fleet.beat(2, 4, report(4, 0)), 4);
    }
}
