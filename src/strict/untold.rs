//! What was admitted without the store, to be told when it answers again.
//!
//! What would have come back by itself meanwhile need not be told.

use crate::key::Key;
use crate::rule::{Carry, Moment, Rule};
use crate::strict::looked_through::AT_A_TIME;
use crate::strict::spent::Spent;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

mod table;

use self::table::Table;

#[derive(Debug)]
pub(crate) struct Untold {
    rules: Box<[Rule]>,
    max_keys: usize,
    table: Mutex<Table>,
    /// The number of keys, to be read without the lock.
    count: AtomicUsize,
    /// Units that there was no room for.
    lost: AtomicU64,
    successor: OnceLock<Successor>,
}

/// The limiter with other policies that has taken over, and tells the store from then on.
#[derive(Debug)]
struct Successor {
    untold: Arc<Untold>,
    carry: Carry,
}

impl Successor {
    /// Takes what was spent under the policies before, unless it counts under none of its own.
    fn take(&self, key: Key, spent: &Spent, at: Moment) -> bool {
        let next = &*self.untold;
        let Some(carried) = spent.carried(&self.carry, &next.rules, at) else {
            return false;
        };
        let units: Box<[u64]> = carried.outstanding(&next.rules, at).collect();
        next.add_each(key, &units, at);
        true
    }
}

impl Untold {
    pub(crate) fn new(rules: &[Rule], max_keys: usize) -> Self {
        Self {
            rules: rules.into(),
            max_keys,
            table: Mutex::default(),
            count: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            successor: OnceLock::new(),
        }
    }

    /// Leaves everything, also what is still to come, to `next`, under whose policies it counts as `carry` says. What counts
    /// under none of them stays.
    ///
    /// A few keys at a time: whoever asks meanwhile waits for those.
    pub(crate) fn hand_over(&self, next: &Arc<Self>, carry: Carry, at: Moment) {
        self.leave_to(next, carry);
        let mut last = None;
        loop {
            last = self.pass_on_some(last, at);
            if last.is_none() {
                return;
            }
        }
    }

    /// Whether another one has taken over.
    pub(super) fn has_left(&self) -> bool {
        self.successor.get().is_some()
    }

    pub(crate) fn keys(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there may be keys that had no room at `at`. Who asks makes some.
    pub(super) fn is_full(&self, at: Moment) -> bool {
        if self.keys() < self.max_keys {
            return false;
        }
        let mut table = self.lock();
        table.forget(AT_A_TIME, &self.rules, at);
        self.count(&table);
        table.len() >= self.max_keys
    }

    /// How much less would count under every rule without the last `units` of `cost` that were admitted at `moment`: of a
    /// bucket the first of them come back first.
    pub(crate) fn left(&self, cost: u32, units: u32, moment: Moment, at: Moment) -> u32 {
        let [all, used] = [cost, cost - units].map(|units| {
            let spent = Spent::of(&self.rules, &self.each(units), moment);
            spent.outstanding(&self.rules, at).collect::<Vec<u64>>()
        });
        let less = all.iter().zip(used);
        let least = less.map(|(all, used)| all.saturating_sub(used)).min();
        u32::try_from(least.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// `units` were admitted on `key`.
    pub(crate) fn add(&self, key: Key, units: u32, at: Moment) {
        self.add_each(key, &self.each(units), at);
    }

    /// As [`Self::add`], with a number for each rule: also those that were taken and could not be told.
    ///
    /// They are lost where there is room for no more keys, and of none all has come back.
    pub(crate) fn add_each(&self, key: Key, units: &[u64], at: Moment) {
        let mut table = self.lock();
        if let Some(successor) = self.successor.get()
            && successor.take(key, &Spent::of(&self.rules, units, at), at)
        {
            return;
        }
        if table.len() >= self.max_keys && !table.contains(key) {
            table.forget(AT_A_TIME, &self.rules, at);
        }
        if table.len() >= self.max_keys && !table.contains(key) {
            self.lost.fetch_add(most(units).into(), Ordering::Relaxed);
        } else {
            let book = |spent: &mut Spent| spent.book(&self.rules, units, at);
            table.change(key, &self.rules, at, book);
        }
        self.count(&table);
    }

    /// The last `units` on `key` were not used after all. How many of them are not here: they were told, or have come back
    /// by themselves.
    pub(crate) fn give_back(&self, key: Key, units: u32, at: Moment) -> u32 {
        let mut table = self.lock();
        let successor = self.successor.get();
        if let Some(successor) = successor {
            self.pass_on(&mut table, key, successor, at);
        }
        let mut left = units;
        if let Some(spent) = table.get(key) {
            let here = spent.outstanding(&self.rules, at).max().unwrap_or(0);
            left = units.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
            let give_back = |spent: &mut Spent| spent.give_back_last(&self.rules, units, at);
            table.change(key, &self.rules, at, give_back);
            let is_back = |spent: &Spent| spent.is_back(&self.rules, at);
            if table.get(key).is_some_and(is_back) {
                table.remove(key);
            }
            self.count(&table);
        }
        drop(table);
        match successor {
            Some(successor) if left > 0 => successor.untold.give_back(key, left, at),
            _ => left,
        }
    }

    /// Whether there may be something to tell of `key`.
    pub(super) fn has(&self, key: Key) -> bool {
        self.keys() > 0 && self.lock().contains(key)
    }

    /// Takes out what is to be told of `key`: units under each rule.
    pub(crate) fn take(&self, key: Key, at: Moment) -> Option<Box<[u64]>> {
        let mut table = self.lock();
        let spent = table.remove(key)?;
        self.count(&table);
        let units = || spent.outstanding(&self.rules, at).collect();
        (!spent.is_back(&self.rules, at)).then(units)
    }

    /// Keys of which there is something to tell, at most so many.
    pub(crate) fn some(&self, most: usize) -> Vec<Key> {
        self.lock().keys().take(most).collect()
    }

    /// Keys of which there is something to tell, and those of which the store is yet to hear something else.
    pub(super) fn known(&self) -> usize {
        self.lock().known()
    }

    /// The store is yet to hear something else of `key`.
    pub(super) fn begin_unheard(&self, key: Key) {
        self.lock().begin_unheard(key);
    }

    pub(super) fn end_unheard(&self, key: Key) {
        self.lock().end_unheard(key);
    }

    pub(super) const fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn leave_to(&self, next: &Arc<Self>, carry: Carry) {
        let successor = Successor {
            untold: Arc::clone(next),
            carry,
        };
        // Whoever has looked for a successor before has put everything in the table.
        let _table = self.lock();
        // Who takes over first is the only one.
        let _ = self.successor.set(successor);
    }

    /// Passes on the next few keys after `last`. Answers the last of them, if there may be more.
    fn pass_on_some(&self, mut last: Option<Key>, at: Moment) -> Option<Key> {
        let successor = self.successor.get()?;
        let mut table = self.lock();
        for _ in 0..AT_A_TIME {
            last = table.after(last);
            self.pass_on(&mut table, last?, successor, at);
        }
        last
    }

    fn pass_on(&self, table: &mut Table, key: Key, successor: &Successor, at: Moment) {
        // Both tables are locked, so that whoever looks for it finds it.
        let take = |spent: &Spent| successor.take(key, spent, at);
        if table.get(key).is_some_and(take) {
            table.remove(key);
            self.count(table);
        }
    }

    fn each(&self, units: u32) -> Box<[u64]> {
        vec![units.into(); self.rules.len()].into()
    }

    fn count(&self, table: &Table) {
        self.count.store(table.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under the rule of which there are the most.
pub(super) fn most(units: &[u64]) -> u32 {
    let most = units.iter().copied().max().unwrap_or(0);
    u32::try_from(most).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::time::LocalTime;

    fn untold(quota: Quota, max_keys: usize) -> Untold {
        Untold::new(&[Rule::new(quota.into())], max_keys)
    }

    fn at(millis: u64) -> Moment {
        Moment::at(LocalTime::from_nanos(millis * 1_000_000))
    }

    #[test]
    fn what_came_back_meanwhile_is_not_told() {
        let (a, b) = (Key::of("a"), Key::of("b"));
        let bucket = untold(Quota::per_second(10), 9);
        bucket.add(a, 3, at(1_000));
        bucket.add(a, 2, at(1_100));
        bucket.add(b, 1, at(1_000));
        assert_eq!(bucket.keys(), 2);
        assert_eq!(bucket.take(a, at(1_250)).as_deref(), Some(&[3][..]));
        assert_eq!(bucket.take(b, at(1_250)), None);
        assert_eq!((bucket.keys(), bucket.take(a, at(1_250))), (0, None));

        let window = untold(Quota::per_second(10).fixed(), 9);
        window.add(a, 3, at(1_000));
        window.add(a, 4, at(2_000));
        assert_eq!(window.take(a, at(2_999)).as_deref(), Some(&[4][..]));
        window.add(a, 4, at(2_000));
        assert_eq!(window.take(a, at(3_000)), None);
    }

    #[test]
    fn who_gives_back_hears_how_much_was_not_here() {
        let key = Key::of("a");
        let bucket = untold(Quota::per_second(10), 9);
        bucket.add(key, 5, at(1_000));
        assert_eq!(bucket.give_back(key, 2, at(1_000)), 0);
        // One of the other three has come back.
        assert_eq!(bucket.give_back(key, 9, at(1_100)), 7);
        assert_eq!((bucket.keys(), bucket.give_back(key, 4, at(1_100))), (0, 4));
    }

    #[test]
    fn without_room_it_counts_what_it_cannot_keep() {
        let untold = untold(Quota::per_second(10), 2);
        for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
            untold.add(Key::of(key), 1 + number as u32, at(1_000));
        }
        assert_eq!((untold.keys(), untold.lost()), (2, 3));
        assert!(untold.is_full(at(1_000)));
        // Both have come back, which makes room.
        untold.add(Key::of("d"), 5, at(2_000));
        assert_eq!((untold.keys(), untold.lost()), (1, 3));
        untold.add(Key::of("e"), 5, at(2_000));
        assert!(untold.is_full(at(2_000)) && !untold.is_full(at(3_000)));
    }

    /// Wherever in the table the key is whose units have come back.
    #[test]
    fn room_is_found_as_long_as_of_any_key_all_has_come_back() {
        let untold = untold(Quota::per_second(10), 1_000);
        for number in 0..1_000_u64 {
            let units = if number % 100 == 99 { 1 } else { 9 };
            untold.add(Key::of(&number), units, at(1_000));
        }
        for number in 1_000..1_010_u64 {
            untold.add(Key::of(&number), 9, at(1_200));
        }
        assert_eq!((untold.keys(), untold.lost()), (1_000, 0));
        untold.add(Key::of("one more"), 9, at(1_200));
        assert_eq!((untold.keys(), untold.lost()), (1_000, 9));
    }

    #[test]
    fn what_is_left_of_a_booking_is_what_has_come_back_under_no_rule() {
        let rules = [Quota::per_second(10), Quota::per_hour(9).fixed()];
        let rules = rules.map(|quota| Rule::new(quota.into()));
        let untold = Untold::new(&rules, 9);
        let left = |millis| untold.left(5, 5, at(1_000), at(millis));
        assert_eq!([left(1_000), left(1_200), left(2_000)], [5, 3, 0]);
        assert_eq!(left(1), 5, "the clock was put back");
        // Those that were used came back first.
        let left = |millis| untold.left(5, 3, at(1_000), at(millis));
        assert_eq!([left(1_100), left(1_200), left(1_300)], [3, 3, 2]);
        assert_eq!(left(1_500), 0);
    }

    #[test]
    fn who_takes_over_tells_what_was_and_what_comes_later() {
        let (old, new) = (
            [Quota::per_second(10)],
            [Quota::per_second(20), Quota::per_hour(9)],
        );
        let [old, new] = [&old[..], &new[..]].map(|quotas| {
            let policies = quotas.iter().map(|quota| (*quota).into());
            policies.collect::<Vec<crate::decision::Policy>>()
        });
        let rules = |policies: &[crate::decision::Policy]| {
            let rules = policies.iter().map(|policy| Rule::new(*policy));
            rules.collect::<Vec<Rule>>()
        };
        let (a, b) = (Key::of("a"), Key::of("b"));
        let before = Untold::new(&rules(&old), 9);
        let next = Arc::new(Untold::new(&rules(&new), 9));
        before.add(a, 3, at(1_000));
        before.hand_over(&next, Carry::new(&old, &new), at(1_000));
        assert_eq!((before.keys(), next.keys()), (0, 1));
        // Of a request that was under way.
        before.add(a, 2, at(1_000));
        before.add(b, 4, at(1_000));
        assert_eq!(before.give_back(b, 1, at(1_000)), 0);
        assert_eq!((before.keys(), next.keys()), (0, 2));
        // Nothing was counted by the hour.
        assert_eq!(next.take(a, at(1_000)).as_deref(), Some(&[5, 0][..]));
        assert_eq!(next.take(b, at(1_000)).as_deref(), Some(&[3, 0][..]));
    }

    #[test]
    fn what_counts_under_no_rule_of_who_takes_over_stays() {
        let (old, new) = (Quota::per_second(10), Quota::per_hour(10));
        let (a, b) = (Key::of("a"), Key::of("b"));
        let (before, next) = (untold(old, 9), Arc::new(untold(new, 9)));
        before.add(a, 3, at(1_000));
        before.hand_over(&next, Carry::new(&[old.into()], &[new.into()]), at(1_000));
        before.add(b, 4, at(1_000));
        assert_eq!((before.keys(), next.keys()), (2, 0));
        assert_eq!(before.give_back(a, 1, at(1_000)), 0);
        assert_eq!(before.take(a, at(1_000)).as_deref(), Some(&[2][..]));
    }

    /// While others go on with the one before: some of the keys are there already, and some are here.
    #[test]
    fn nothing_is_lost_or_told_twice_while_another_takes_over() {
        let (old, new) = (Quota::per_hour(100).fixed(), Quota::per_hour(90).fixed());
        let (before, next) = (untold(old, 99), Arc::new(untold(new, 99)));
        let keys: Vec<Key> = (0..50_u64).map(|number| Key::of(&number)).collect();
        keys.iter().for_each(|key| before.add(*key, 3, at(1_000)));
        before.leave_to(&next, Carry::new(&[old.into()], &[new.into()]));
        let mut last = before.pass_on_some(None, at(1_000));
        assert_eq!((before.keys(), next.keys()), (34, 16));
        for key in &keys[..20] {
            before.add(*key, 2, at(1_000));
            assert_eq!(before.give_back(*key, 4, at(1_000)), 0, "here or there");
        }
        while last.is_some() {
            last = before.pass_on_some(last, at(1_000));
        }
        assert_eq!((before.keys(), next.keys()), (0, 50));
        for (number, key) in keys.iter().enumerate() {
            let units = next.take(*key, at(1_000));
            let left = if number < 20 { 1 } else { 3 };
            assert_eq!(units.as_deref(), Some(&[left][..]));
        }
    }
}
