//! The keys of which there is something to tell, in the order in which all of it will have come back by itself: which of
//! them needs no room any more is known without looking for it.
//!
//! No operation moves more than a few keys, also where the table grows.

use crate::key::Key;
use crate::rule::{Moment, Rule};
use crate::strict::spent::Spent;
use crate::time::LocalTime;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

#[derive(Debug, Default)]
pub(super) struct Table {
    keys: BTreeMap<Key, Kept>,
    order: BTreeSet<(LocalTime, Key)>,
    /// Keys of which the store is yet to hear something else.
    unheard: BTreeSet<Key>,
    /// How many of those are here as well.
    both: usize,
}

#[derive(Debug)]
struct Kept {
    spent: Spent,
    /// Its place in the order.
    over: LocalTime,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Keys that are here, or of which the store is yet to hear something else.
    pub(super) fn known(&self) -> usize {
        self.keys.len() + self.unheard.len() - self.both
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.keys.contains_key(&key)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Spent> {
        self.keys.get(&key).map(|kept| &kept.spent)
    }

    /// Makes something of what is kept of `key`, if it is only nothing yet.
    pub(super) fn change(
        &mut self,
        key: Key,
        rules: &[Rule],
        at: Moment,
        change: impl FnOnce(&mut Spent),
    ) {
        let new = !self.keys.contains_key(&key);
        if new && self.unheard.contains(&key) {
            self.both += 1;
        }
        let kept = self.keys.entry(key).or_insert_with(|| Kept {
            spent: Spent::nothing(rules, at),
            over: at.now,
        });
        change(&mut kept.spent);
        let over = kept.spent.over(rules);
        if new || over != kept.over {
            self.order.remove(&(kept.over, key));
            self.order.insert((over, key));
            kept.over = over;
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Spent> {
        let kept = self.keys.remove(&key)?;
        self.order.remove(&(kept.over, key));
        if self.unheard.contains(&key) {
            self.both -= 1;
        }
        Some(kept.spent)
    }

    /// Removes `most` keys at most of which all has come back.
    pub(super) fn forget(&mut self, most: usize, rules: &[Rule], at: Moment) {
        for _ in 0..most {
            let Some(&(over, key)) = self.order.first() else {
                return;
            };
            let is_back = |spent: &Spent| spent.is_back(rules, at);
            if over > at.now || !self.get(key).is_none_or(is_back) {
                return;
            }
            self.remove(key);
        }
    }

    /// In the order in which they come back.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.order.iter().map(|(_, key)| *key)
    }

    /// The one that is next when all are gone through, whatever comes and goes meanwhile.
    pub(super) fn after(&self, key: Option<Key>) -> Option<Key> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.keys.range((from, Bound::Unbounded));
        rest.next().map(|(key, _)| *key)
    }

    /// The store is yet to hear something else of `key`.
    pub(super) fn begin_unheard(&mut self, key: Key) {
        if self.unheard.insert(key) && self.contains(key) {
            self.both += 1;
        }
    }

    pub(super) fn end_unheard(&mut self, key: Key) {
        if self.unheard.remove(&key) && self.contains(key) {
            self.both -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    fn at(millis: u64) -> Moment {
        Moment::at(LocalTime::from_nanos(millis * 1_000_000))
    }

    /// As if all had been looked at each time.
    #[test]
    fn it_counts_and_forgets_as_if_it_looked_at_everything() {
        let rules = [Quota::per_second(10), Quota::per_second(20).fixed()];
        let rules = rules.map(|quota| Rule::new(quota.into()));
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut table, mut now) = (Table::default(), 1_000);
        for _ in 0..20_000 {
            let key = Key::of(&rng.u64(0..40));
            now += rng.u64(0..20);
            match rng.u32(0..9) {
                0..=3 => {
                    let units = rng.u64(1..5);
                    table.change(key, &rules, at(now), |spent| {
                        spent.book(&rules, &[units, units], at(now));
                    });
                }
                4 => {
                    table.remove(key);
                }
                5 => table.begin_unheard(key),
                6 => table.end_unheard(key),
                7 if table.contains(key) => table.change(key, &rules, at(now), |spent| {
                    spent.give_back_last(&rules, 1, at(now));
                }),
                _ => {
                    table.forget(usize::MAX, &rules, at(now));
                    let is_back = |kept: &Kept| kept.spent.is_back(&rules, at(now));
                    assert!(!table.keys.values().any(is_back));
                }
            }
            let both = table.keys.keys().filter(|key| table.unheard.contains(key));
            assert_eq!(table.both, both.count());
            let order = table.keys.iter().map(|(key, kept)| (kept.over, *key));
            assert_eq!(table.order, order.collect());
        }
        let mut seen = Vec::new();
        while let Some(key) = table.after(seen.last().copied()) {
            seen.push(key);
        }
        assert_eq!(seen.len(), table.len());
    }
}
