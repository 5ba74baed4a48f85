//! The quota that a key has of its own at present, for all identities that count under it.

use crate::key::Key;
use crate::tiers::own::Own;
use arc_swap::{ArcSwap, Guard};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The limiter in which a key counts; answers of all identities that count under it lead here.
#[derive(Debug)]
pub(super) struct Account(ArcSwap<Own>);

impl Account {
    /// The limiter of this moment.
    #[inline]
    pub(super) fn own(&self) -> Guard<Arc<Own>> {
        self.0.load()
    }
}

/// The accounts that some answer leads to.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    each: HashMap<Key, Entry>,
    /// With so many it is time to look which of them nobody leads to any more.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    account: Weak<Account>,
    /// The number of the look-up that told the quota.
    told_by: u64,
}

impl Accounts {
    /// The account of `key`, which counts in `own` from now on, unless a look-up that began after the one with this
    /// `number` has said otherwise. What was spent goes along.
    pub(super) fn tell(&self, key: Key, own: Arc<Own>, number: u64) -> Arc<Account> {
        let mut open = self.lock();
        if let Some(entry) = open.each.get_mut(&key)
            && let Some(account) = entry.account.upgrade()
        {
            if number > entry.told_by {
                entry.told_by = number;
                let before = account.own();
                if before.id != own.id {
                    own.limiter.take_over_key(&before.limiter, key);
                    account.0.store(own);
                }
            }
            return account;
        }
        open.make_room();
        let account = Arc::new(Account(ArcSwap::new(own)));
        let entry = Entry {
            account: Arc::downgrade(&account),
            told_by: number,
        };
        open.each.insert(key, entry);
        account
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Keeps the table below twice what is in use, at a constant cost for each that is opened.
    fn make_room(&mut self) {
        if self.each.len() >= self.sweep_at {
            self.each
                .retain(|_, entry| entry.account.strong_count() > 0);
            self.sweep_at = (2 * self.each.len()).max(FEW);
        }
    }
}

/// Not worth a sweep.
const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::PolicyName;
    use crate::limits::{Limits, Plan};
    use crate::quota::Quota;
    use crate::tiers::own::Owns;
    use crate::time::LocalTime;

    fn own(limit: u32, owns: &Owns) -> Arc<Own> {
        let limits = Limits::new(&Plan::new());
        let quota = Quota::per_hour(limit);
        owns.of(quota, &limits, LocalTime::from_nanos(1)).unwrap()
    }

    #[test]
    fn an_answer_that_comes_late_does_not_undo_a_newer_one() {
        let owns = Owns::new(PolicyName::DEFAULT, 9);
        let (accounts, key) = (Accounts::default(), Key::of("customer"));
        let limit = |account: &Account| account.own().limiter.policy().quota().limit();
        let first = accounts.tell(key, own(10, &owns), 1);
        let newer = accounts.tell(key, own(20, &owns), 3);
        let late = accounts.tell(key, own(30, &owns), 2);
        assert_eq!([&first, &newer, &late].map(|it| limit(it)), [20, 20, 20]);
        let other = accounts.tell(Key::of("other"), own(30, &owns), 2);
        assert_eq!(limit(&other), 30);
    }

    #[test]
    fn accounts_that_no_answer_leads_to_are_forgotten() {
        let owns = Owns::new(PolicyName::DEFAULT, 1);
        let accounts = Accounts::default();
        let tell = |number: u64| accounts.tell(Key::of(&number), own(10, &owns), number);
        let kept: Vec<_> = (0..100).map(tell).collect();
        for number in 100..10_000 {
            let _ = tell(number);
            assert!(accounts.lock().each.len() <= 2 * kept.len());
        }
    }
}
