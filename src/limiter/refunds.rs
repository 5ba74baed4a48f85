//! What is given back on a key while bookings on it are open: refunds on one key have to know of each other.

use crate::key::Key;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Units given back, by key, for as long as something that is booked there may be given back. One limiter's, and in what
/// it has taken over those of the limiters before it, whose bookings are still settled.
#[derive(Debug)]
pub(super) struct Refunds {
    stripes: [Mutex<HashMap<Key, Account>>; 16],
    before: Mutex<Vec<Weak<Self>>>,
}

/// A key with bookings that are open.
#[derive(Debug, Default)]
struct Account {
    bookings: u32,
    /// Units given back since the first of them.
    units: u64,
}

/// That a booking on a key is open.
#[derive(Debug)]
pub(super) struct Open {
    refunds: Arc<Refunds>,
    key: Key,
    /// What had been given back on the key before.
    at: u64,
}

impl Default for Refunds {
    fn default() -> Self {
        Self {
            stripes: std::array::from_fn(|_| Mutex::default()),
            before: Mutex::default(),
        }
    }
}

impl Refunds {
    /// Opens a booking. To be called before it is booked: what is given back in between counts as given back after.
    pub(super) fn open(self: &Arc<Self>, key: Key) -> Open {
        let mut stripe = self.stripe(key);
        let account = stripe.entry(key).or_default();
        account.bookings += 1;
        Open {
            refunds: Arc::clone(self),
            key,
            at: account.units,
        }
    }

    /// Counts `units` on `key`. To be called before they are given back, so that nobody sees a state that they have moved
    /// without knowing of them.
    pub(super) fn count(&self, key: Key, units: u32) {
        let count = |refunds: &Self| {
            if let Some(account) = refunds.stripe(key).get_mut(&key) {
                account.units += u64::from(units);
            }
        };
        count(self);
        let before = lock(&self.before);
        let before = before.iter().filter_map(Weak::upgrade);
        before.for_each(|refunds| count(&refunds));
    }

    /// What is given back from now on counts for the bookings of the limiter before, too.
    pub(super) fn take_over(&self, before: &Arc<Self>) {
        let mut all = lock(&before.before).clone();
        all.push(Arc::downgrade(before));
        let mut mine = lock(&self.before);
        mine.append(&mut all);
        mine.retain(|refunds| refunds.strong_count() > 0);
    }

    fn stripe(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Account>> {
        lock(&self.stripes[key.halves()[1] as usize % self.stripes.len()])
    }
}

impl Open {
    /// Units given back on the key since, but for these `units`, which are counted.
    pub(super) fn others(&self, units: u32) -> u64 {
        let stripe = self.refunds.stripe(self.key);
        let all = stripe.get(&self.key).map_or(0, |account| account.units);
        all.saturating_sub(self.at).saturating_sub(units.into())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut stripe = self.refunds.stripe(self.key);
        if let Some(account) = stripe.get_mut(&self.key) {
            account.bookings -= 1;
            if account.bookings == 0 {
                stripe.remove(&self.key);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_knows_what_was_given_back_on_its_key_since_and_nothing_is_kept_of_keys_without() {
        let refunds = Arc::new(Refunds::default());
        let [alice, bob] = ["alice", "bob"].map(Key::of);
        refunds.count(alice, 1);
        let first = refunds.open(alice);
        refunds.count(alice, 3);
        refunds.count(bob, 100);
        let second = refunds.open(alice);
        refunds.count(alice, 5);
        assert_eq!((first.others(5), second.others(0)), (3, 5));
        drop((first, second));
        assert!(refunds.stripes.iter().all(|stripe| lock(stripe).is_empty()));
    }

    #[test]
    fn what_is_given_back_after_others_have_taken_over_counts_for_the_bookings_before() {
        let all: [_; 3] = std::array::from_fn(|_| Arc::new(Refunds::default()));
        let key = Key::of("alice");
        let open: Vec<_> = all.iter().map(|refunds| refunds.open(key)).collect();
        all[1].take_over(&all[0]);
        all[2].take_over(&all[1]);
        all[2].count(key, 7);
        assert!(open.iter().all(|open| open.others(0) == 7));
        drop(open);
        let [first, second, third] = all;
        drop((first, second));
        let last = Arc::default();
        third.take_over(&last);
        assert_eq!(lock(&third.before).len(), 1, "who has gone is forgotten");
    }
}
