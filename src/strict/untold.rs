//! What was admitted without the store, to be told when it answers again.
//!
//! Each key's untold units are kept as a state of the limiter's own rules, on the store's clock as it is known here:
//! what would have come back by itself meanwhile need not be told.

use crate::key::Key;
use crate::rule::{Carry, Moment, Rule};
use crate::strict::looked_through::{AT_A_TIME, LookedThrough};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Debug)]
pub(crate) struct Untold {
    rules: Box<[Rule]>,
    max_keys: usize,
    keys: Mutex<LookedThrough<Box<[u64]>>>,
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
    /// `state` is to be told, of the policies before.
    fn add(&self, key: Key, state: &[u64], at: Moment) {
        let next = &*self.untold;
        let mut carried = vec![0; next.words()];
        self.carry.carry(state, &mut carried, at);
        let units = next.outstanding(&carried, at);
        if units.iter().any(|units| *units > 0) {
            next.add_each(key, &units, at);
        }
    }
}

impl Untold {
    pub(crate) fn new(rules: &[Rule], max_keys: usize) -> Self {
        Self {
            rules: rules.into(),
            max_keys,
            keys: Mutex::default(),
            count: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            successor: OnceLock::new(),
        }
    }

    /// Leaves everything, also what is still to come, to `next`, under whose policies it counts as `carry` says.
    pub(crate) fn hand_over(&self, next: &Arc<Self>, carry: Carry, at: Moment) {
        let mut keys = self.lock();
        let successor = Successor {
            untold: Arc::clone(next),
            carry,
        };
        // Who takes over first is the only one.
        let successor = self.successor.get_or_init(|| successor);
        for (key, state) in keys.drain() {
            successor.add(key, &state, at);
        }
        self.count.store(0, Ordering::Release);
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
        let mut keys = self.lock();
        self.look_through(&mut keys, at);
        self.keys() >= self.max_keys
    }

    /// How much of `units` that were admitted at `moment` has not come back under any rule since.
    pub(super) fn left(&self, units: u32, moment: Moment, at: Moment) -> u32 {
        let mut state = vec![0; self.words()];
        self.book(&mut state, &vec![units.into(); self.rules.len()], moment);
        let least = self.outstanding(&state, at).iter().copied().min();
        u32::try_from(least.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// `units` were admitted on `key`.
    pub(crate) fn add(&self, key: Key, units: u32, at: Moment) {
        self.add_each(key, &vec![units.into(); self.rules.len()], at);
    }

    /// As [`Self::add`], with a number for each rule: also those that were taken and could not be told.
    pub(crate) fn add_each(&self, key: Key, units: &[u64], at: Moment) {
        let mut keys = self.lock();
        if let Some(successor) = self.successor.get() {
            drop(keys);
            let mut state = vec![0; self.words()];
            self.book(&mut state, units, at);
            return successor.add(key, &state, at);
        }
        if !keys.contains(key) && keys.len() >= self.max_keys {
            self.look_through(&mut keys, at);
        }
        if !keys.contains(key) && keys.len() >= self.max_keys {
            self.lost.fetch_add(most(units).into(), Ordering::Relaxed);
        } else {
            let state = keys.get_or_insert_with(key, || vec![0; self.words()].into());
            self.book(state, units, at);
        }
        self.count.store(keys.len(), Ordering::Release);
    }

    /// The last `units` on `key` were not used after all. How many of them are not here: they were told, or have come back
    /// by themselves.
    pub(crate) fn give_back(&self, key: Key, units: u32, at: Moment) -> u32 {
        let mut keys = self.lock();
        if let Some(successor) = self.successor.get() {
            drop(keys);
            return successor.untold.give_back(key, units, at);
        }
        let Some(state) = keys.get_mut(key) else {
            return units;
        };
        let here = most(&self.outstanding(state, at));
        self.each(state, |_, rule, state| {
            rule.give_back_last(state, units, at);
        });
        if self.outstanding(state, at).iter().all(|units| *units == 0) {
            keys.remove(key);
            self.count.store(keys.len(), Ordering::Release);
        }
        units.saturating_sub(here)
    }

    /// Whether there may be something to tell of `key`.
    pub(super) fn has(&self, key: Key) -> bool {
        self.keys() > 0 && self.lock().contains(key)
    }

    /// Takes out what is to be told of `key`: units under each rule.
    pub(crate) fn take(&self, key: Key, at: Moment) -> Option<Box<[u64]>> {
        let mut keys = self.lock();
        let state = keys.remove(key)?;
        self.count.store(keys.len(), Ordering::Release);
        let units = self.outstanding(&state, at);
        units.iter().any(|units| *units > 0).then_some(units)
    }

    /// Keys of which there is something to tell, at most so many.
    pub(crate) fn some(&self, most: usize) -> Vec<Key> {
        self.lock().iter().map(|(key, _)| key).take(most).collect()
    }

    /// Keys of which there is something to tell, together with others.
    pub(super) fn keys_with(&self, others: impl Iterator<Item = Key>) -> usize {
        let keys = self.lock();
        keys.len() + others.filter(|other| !keys.contains(*other)).count()
    }

    pub(super) const fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn words(&self) -> usize {
        self.rules.iter().map(Rule::words).sum()
    }

    pub(super) fn book(&self, state: &mut [u64], units: &[u64], at: Moment) {
        self.each(state, |place, rule, state| {
            let units = u32::try_from(units[place]).unwrap_or(u32::MAX);
            rule.book(state, units, at);
        });
    }

    pub(super) fn outstanding(&self, state: &[u64], at: Moment) -> Box<[u64]> {
        let mut rest = state;
        let units = |rule: &Rule| {
            let (own, others) = rest.split_at(rule.words());
            rest = others;
            rule.outstanding(own, at)
        };
        self.rules.iter().map(units).collect()
    }

    /// What has come back since needs no room.
    fn look_through(&self, keys: &mut LookedThrough<Box<[u64]>>, at: Moment) {
        keys.look_through(AT_A_TIME, |state| {
            self.outstanding(state, at).iter().any(|units| *units > 0)
        });
        self.count.store(keys.len(), Ordering::Release);
    }

    fn each(&self, state: &mut [u64], mut change: impl FnMut(usize, &Rule, &mut [u64])) {
        let mut rest = state;
        for (place, rule) in self.rules.iter().enumerate() {
            let (own, others) = rest.split_at_mut(rule.words());
            rest = others;
            change(place, rule, own);
        }
    }

    fn lock(&self) -> MutexGuard<'_, LookedThrough<Box<[u64]>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn what_is_left_of_a_booking_is_what_has_come_back_under_no_rule() {
        let rules = [Quota::per_second(10), Quota::per_hour(9).fixed()];
        let rules = rules.map(|quota| Rule::new(quota.into()));
        let untold = Untold::new(&rules, 9);
        let left = |millis| untold.left(5, at(1_000), at(millis));
        assert_eq!([left(1_000), left(1_200), left(2_000)], [5, 3, 0]);
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
}
