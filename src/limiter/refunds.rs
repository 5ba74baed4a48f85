//! What is given back on a key while bookings on it are open: refunds on one key have to know of each other.

use crate::key::Key;
use std::cell::RefCell;
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

/// Where units that are given back once have been counted last.
#[derive(Debug, Default)]
pub(super) struct Counted(RefCell<Option<Arc<Refunds>>>);

/// Where units are counted that are given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting<'a> {
    refunds: &'a Arc<Refunds>,
    counted: &'a Counted,
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

    /// Counts units here, unless they are `counted`.
    pub(super) const fn counting<'a>(self: &'a Arc<Self>, counted: &'a Counted) -> Counting<'a> {
        Counting {
            refunds: self,
            counted,
        }
    }

    /// What is given back from now on counts for the bookings of the limiter before, too.
    pub(super) fn take_over(&self, before: &Arc<Self>) {
        let mut all = before.and_before();
        let mut mine = lock(&self.before);
        mine.append(&mut all);
        mine.retain(|refunds| refunds.strong_count() > 0);
    }

    fn and_before(self: &Arc<Self>) -> Vec<Weak<Self>> {
        let mut all = lock(&self.before).clone();
        all.push(Arc::downgrade(self));
        all
    }

    fn add(&self, key: Key, units: u32) {
        if let Some(account) = self.stripe(key).get_mut(&key) {
            account.units += u64::from(units);
        }
    }

    fn stripe(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Account>> {
        lock(&self.stripes[key.halves()[1] as usize % self.stripes.len()])
    }
}

impl Counting<'_> {
    /// Counts `units` on `key`. To be called before they are given back, so that nobody sees a state that they have moved
    /// without knowing of them; however often that is tried, and in whichever limiters one after the other.
    pub(super) fn count(&self, key: Key, units: u32) {
        let last = self.counted.0.replace(Some(Arc::clone(self.refunds)));
        if last
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, self.refunds))
        {
            return;
        }
        let known = last.map_or_else(Vec::new, |last| last.and_before());
        self.refunds.add(key, units);
        let before = lock(&self.refunds.before);
        let others = before
            .iter()
            .filter(|it| !known.iter().any(|known| known.ptr_eq(it)));
        others
            .filter_map(Weak::upgrade)
            .for_each(|refunds| refunds.add(key, units));
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

    fn count(refunds: &Arc<Refunds>, key: Key, units: u32) {
        refunds.counting(&Counted::default()).count(key, units);
    }

    #[test]
    fn a_booking_knows_what_was_given_back_on_its_key_since_and_nothing_is_kept_of_keys_without() {
        let refunds = Arc::new(Refunds::default());
        let [alice, bob] = ["alice", "bob"].map(Key::of);
        count(&refunds, alice, 1);
        let first = refunds.open(alice);
        count(&refunds, alice, 3);
        count(&refunds, bob, 100);
        let second = refunds.open(alice);
        count(&refunds, alice, 5);
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
        count(&all[2], key, 7);
        assert!(open.iter().all(|open| open.others(0) == 7));
        drop(open);
        let [first, second, third] = all;
        drop((first, second));
        let last = Arc::default();
        third.take_over(&last);
        assert_eq!(lock(&third.before).len(), 1, "who has gone is forgotten");
    }

    /// Everyone's cell is given back to without a lock: it may have moved when it was counted already.
    #[test]
    fn what_is_tried_again_where_others_have_taken_over_counts_once_for_everyone() {
        let all: [_; 3] = std::array::from_fn(|_| Arc::new(Refunds::default()));
        let open: Vec<_> = all
            .iter()
            .map(|refunds| refunds.open(Key::EVERYONE))
            .collect();
        all[1].take_over(&all[0]);
        let counted = Counted::default();
        let tried = |refunds: &Arc<Refunds>| refunds.counting(&counted).count(Key::EVERYONE, 7);
        tried(&all[1]);
        tried(&all[1]);
        let others = || [0, 1, 2].map(|it: usize| open[it].others(0));
        assert_eq!(others(), [7, 7, 0]);
        all[2].take_over(&all[1]);
        tried(&all[2]);
        assert_eq!(others(), [7, 7, 7]);
    }
}
