//! What a store keeps for the layered limit, and its steps as functions: regional cells, and the regions' components.
//!
//! The Redis scripts are their other spelling.

use crate::key::Key;
use crate::layered::cell::Told;
use crate::layered::cursor::{Cursor, Pulled};
use crate::layered::exchange::{ImportLine, PublishLine};
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
    /// What is new is what it has not told and what nobody has confirmed to it: a holder may have heard more than is
    /// known of it here, or of the cell, where the cell was lost, or came back as it was earlier (from a snapshot, on a
    /// replica that lagged). Then what the holder knew is where the cell goes on from. As long as nothing was lost,
    /// nobody knows more than the cell, and what is new is what was not told. When all holders have told, their sum is
    /// all there ever was.
    pub(crate) fn tell(&mut self, holder: u64, told: Told) -> u64 {
        let accepted = u64::from(told.accepted);
        let before = self.holders.get(&holder).copied().unwrap_or_default();
        if accepted < before {
            return self.total;
        }
        let new = accepted - before.max(u64::from(told.acknowledged));
        self.total = self.total.max(told.known) + new;
        self.holders.insert(holder, accepted);
        self.total = self.total.max(self.holders.values().sum());
        self.total
    }
}

/// One cell at the global store: each region's count, which only grows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct GlobalCell {
    regions: BTreeMap<Box<str>, u64>,
}

impl GlobalCell {
    /// Whether that was news.
    fn publish(&mut self, region: &str, total: u64) -> bool {
        let known = self.regions.entry(region.into()).or_default();
        let news = total > *known;
        *known = total.max(*known);
        news
    }

    /// What `region` and what the others have published.
    fn seen_from(&self, region: &str) -> (u64, u64) {
        let own = self.regions.get(region).copied().unwrap_or_default();
        let sum: u64 = self.regions.values().sum();
        (own, sum - own)
    }
}

/// The global store: its cells, each with the version of its last change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Global {
    /// All of its changes.
    pub(crate) cursor: Cursor,
    cells: BTreeMap<(Key, u64), (GlobalCell, u64)>,
}

impl Global {
    /// A store that knows nothing has `fresh_epoch` from now on.
    pub(crate) fn publish(&mut self, region: &str, line: &PublishLine, fresh_epoch: u64) {
        if self.cursor.epoch == 0 {
            self.cursor.epoch = fresh_epoch;
        }
        let (cell, changed) = self.cells.entry((line.key, line.sequence)).or_default();
        if cell.publish(region, line.total) {
            self.cursor.version += 1;
            *changed = self.cursor.version;
        }
    }

    /// What has changed since `read`, in order; everything, if that is of a store that this one does not go on from.
    pub(crate) fn pull(&self, region: &str, read: Cursor) -> Pulled {
        let since = match self.cursor.goes_on_from(read) {
            true => read.version,
            false => 0,
        };
        let news = self.cells.iter().filter(|(_, (_, at))| *at > since);
        let mut news: Vec<_> = news.collect();
        news.sort_unstable_by_key(|(_, (_, at))| *at);
        let line = |(&(key, sequence), (cell, _)): (&(Key, u64), &(GlobalCell, u64))| {
            let (own, foreign) = cell.seen_from(region);
            ImportLine {
                policy: 0,
                key,
                sequence,
                own,
                foreign,
            }
        };
        Pulled {
            cursor: Cursor {
                version: news.last().map_or(since, |(_, (_, at))| *at),
                ..self.cursor
            },
            lines: news.into_iter().map(line).collect(),
            more: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layered::cell::Cell;

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
    fn a_count_that_came_back_as_it_was_earlier_goes_on_from_what_nodes_know() {
        let mut cell = OriginCell::default();
        cell.tell(1, told(300, 0, 0));
        cell.tell(2, told(300, 0, 300));
        let earlier = cell.clone();
        cell.tell(1, told(400, 300, 600));
        assert_eq!(cell.tell(2, told(400, 300, 700)), 800);
        let mut cell = earlier;
        for _ in 0..2 {
            assert_eq!(cell.tell(1, told(401, 400, 800)), 801);
        }
        assert_eq!(cell.tell(2, told(401, 400, 800)), 802);
        assert_eq!(cell.tell(1, told(400, 300, 600)), 802, "it was overtaken");
        // Where others, who are gone, had told since: what is new is not hidden by what was known.
        for own in [25, 30] {
            let mut cell = OriginCell::default();
            cell.tell(1, told(own, 0, 0));
            cell.tell(2, told(50 - own, 0, u64::from(own)));
            assert_eq!(cell.tell(1, told(33, 30, 60)), 63, "{own}");
        }
    }

    /// Nodes, and messages between them and the cell that are lost, late and in any order.
    #[derive(Default)]
    struct Walk {
        cell: OriginCell,
        nodes: [Cell; 3],
        accepted: u64,
        confirmed: [u32; 3],
        messages: Vec<(usize, Told)>,
        answers: Vec<(usize, u32, u64)>,
        /// What had been told, and not been heard to be, when the cell went back.
        doubtful: u64,
    }

    impl Walk {
        fn accept(&mut self, node: usize, cost: u32) {
            self.nodes[node].accept(cost);
            self.accepted += u64::from(cost);
        }

        fn tell(&mut self, node: usize) {
            let told = self.nodes[node].poll_tell();
            self.messages.extend(told.map(|told| (node, told)));
        }

        fn arrives(&mut self, (node, told): (usize, Told)) {
            let total = self.cell.tell(node as u64, told);
            self.answers.push((node, told.accepted, total));
        }

        fn is_answered(&mut self, (node, accepted, total): (usize, u32, u64)) {
            self.nodes[node].handle_told(accepted, total);
            self.confirmed[node] = self.confirmed[node].max(accepted);
        }

        fn goes_back(&mut self, cell: &OriginCell) {
            for (node, confirmed) in self.confirmed.iter().enumerate() {
                let mine = self.messages.iter().filter(|(of, _)| *of == node);
                let least = mine.map(|(_, told)| told.acknowledged).min();
                let sure = u64::from(least.unwrap_or(*confirmed).min(*confirmed));
                let told = self.cell.holders.get(&(node as u64)).copied();
                self.doubtful += told.unwrap_or_default().saturating_sub(sure);
            }
            self.cell = cell.clone();
        }

        fn step(&mut self, rng: &mut fastrand::Rng) {
            let node = rng.usize(..self.nodes.len());
            match rng.u32(..12) {
                0..4 => self.accept(node, rng.u32(1..9)),
                4..6 => self.tell(node),
                6..8 if !self.messages.is_empty() => {
                    let message = self.messages.swap_remove(rng.usize(..self.messages.len()));
                    self.arrives(message);
                }
                8..10 if !self.answers.is_empty() => {
                    let answer = self.answers.swap_remove(rng.usize(..self.answers.len()));
                    self.is_answered(answer);
                }
                10 => self.nodes[node].handle_read(self.cell.total()),
                _ => {
                    self.nodes[node].handle_not_told();
                    if rng.bool() {
                        self.messages.retain(|(of, _)| *of != node);
                        self.answers.retain(|(of, ..)| *of != node);
                    }
                }
            }
        }

        /// All that is under way arrives, and every node has something more to tell.
        fn ends(&mut self) {
            for node in 0..self.nodes.len() {
                self.accept(node, 1);
                self.tell(node);
            }
            for message in std::mem::take(&mut self.messages) {
                self.arrives(message);
            }
        }
    }

    #[test]
    fn a_count_that_goes_back_again_and_again_loses_nothing_and_doubles_only_what_was_under_way() {
        let (mut doubled, mut doubtless) = (0, 0);
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut walk = Walk::default();
            let mut earlier = vec![OriginCell::default()];
            for _ in 0..rng.u32(..4) {
                for _ in 0..rng.u32(..60) {
                    walk.step(&mut rng);
                    if rng.u32(..10) == 0 {
                        earlier.push(walk.cell.clone());
                    }
                }
                walk.goes_back(&earlier[rng.usize(..earlier.len())]);
            }
            for _ in 0..rng.u32(..60) {
                walk.step(&mut rng);
            }
            walk.ends();
            let total = walk.cell.total();
            assert!(total >= walk.accepted, "{seed}: {total} {}", walk.accepted);
            let most = walk.accepted + walk.doubtful;
            assert!(total <= most, "{seed}: {total} {most}");
            doubled += u64::from(total > walk.accepted);
            doubtless += u64::from(walk.doubtful == 0);
        }
        // Both happen.
        assert!(doubled > 20 && doubtless > 200, "{doubled} {doubtless}");
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

    #[test]
    fn what_changed_is_pulled_once_and_everything_after_a_store_went_back() {
        let line = |number: u64, total| PublishLine {
            policy: 0,
            key: Key::of(&number),
            sequence: 7,
            total,
        };
        let mut store = Global::default();
        let nothing = store.pull("eu", Cursor::default());
        assert!(nothing.lines.is_empty() && nothing.cursor == Cursor::default());
        store.publish("us", &line(1, 5), 9);
        store.publish("us", &line(2, 5), 8);
        let earlier = store.clone();
        let first = store.pull("eu", nothing.cursor);
        assert_eq!((first.lines.len(), first.cursor.epoch), (2, 9));
        assert!(!first.cursor.goes_on_from(nothing.cursor));
        store.publish("us", &line(1, 6), 8);
        store.publish("us", &line(1, 6), 8);
        let second = store.pull("eu", first.cursor);
        assert_eq!((second.lines.len(), second.lines[0].foreign), (1, 6));
        assert!(second.cursor.goes_on_from(first.cursor));
        assert!(store.pull("eu", second.cursor).lines.is_empty());
        // As it was earlier, on the same server; and on another, when as much has changed there since.
        let back = earlier.pull("eu", second.cursor);
        assert!(back.lines.len() == 2 && !back.cursor.goes_on_from(second.cursor));
        let mut other = earlier;
        other.cursor.server = 1;
        other.publish("us", &line(3, 5), 8);
        assert_eq!(other.cursor.version, second.cursor.version);
        let back = other.pull("eu", second.cursor);
        assert!(back.lines.len() == 3 && !back.cursor.goes_on_from(second.cursor));
    }
}
