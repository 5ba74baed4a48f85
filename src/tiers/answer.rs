//! What is remembered of an identity: the answer of its look-up, and until when it may be used.
//!
//! ```text
//! answered ------- fresh_until ------- stale_until ------>
//!   fresh: used     stale: used, while   gone: whoever
//!                   one look-up runs     asks waits
//! ```
//!
//! Answers are kept by quick_cache (MIT; needs hashbrown alone): a newcomer is the first to go until it is asked for
//! again, so a flood of made-up identities passes through without driving out those who come every day. moka has more than
//! is needed, and neither renews what it still serves; so time is ours, from a clock that tests can move.

use crate::key::Key;
use crate::tiers::account::Account;
use crate::time::LocalTime;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of one identity.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) fresh_until: LocalTime,
    pub(super) stale_until: LocalTime,
    refreshing: AtomicBool,
}

/// What a look-up said.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// It has this limit, and counts under this key.
    Known { limit: LimitOf, key: Key },
    /// There is nobody of that identity.
    Unknown,
    /// Nothing, in time.
    Failed,
}

/// Whose limit it is.
#[derive(Clone, Debug)]
pub(super) enum LimitOf {
    /// The plan's, of this name.
    Plan(Arc<str>),
    /// The client's own.
    Own(Arc<Account>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Age {
    Fresh,
    Stale,
    Gone,
}

impl Answer {
    pub(super) const fn new(said: Said, fresh_until: LocalTime, stale_until: LocalTime) -> Self {
        Self {
            said,
            fresh_until,
            stale_until,
            refreshing: AtomicBool::new(false),
        }
    }

    pub(super) fn age(&self, now: LocalTime) -> Age {
        if now < self.fresh_until {
            Age::Fresh
        } else if now < self.stale_until {
            Age::Stale
        } else {
            Age::Gone
        }
    }

    /// Whether the caller is the one who is to look again.
    pub(super) fn begin_refresh(&self) -> bool {
        !self.refreshing.load(Ordering::Relaxed) && !self.refreshing.swap(true, Ordering::Relaxed)
    }

    /// Nobody looks again: there were too many look-ups.
    pub(super) fn put_off_refresh(&self) {
        self.refreshing.store(false, Ordering::Relaxed);
    }

    /// This one until `until`, and no longer than it would have been served anyway.
    pub(super) fn kept_until(&self, until: LocalTime) -> Self {
        let fresh_until = until.min(self.stale_until);
        Self::new(self.said.clone(), fresh_until, self.stale_until)
    }
}

/// The answers that are remembered, at most so many.
pub(super) struct Answers(Cache<Key, Arc<Answer>>);

impl Answers {
    pub(super) fn new(max_keys: usize) -> Self {
        Self(Cache::new(max_keys))
    }

    /// Allocates nothing.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<Arc<Answer>> {
        self.0.get(&key)
    }

    /// As [`Self::get`], without being a use of it.
    pub(super) fn peek(&self, key: Key) -> Option<Arc<Answer>> {
        self.0.peek(&key)
    }

    pub(super) fn put(&self, key: Key, answer: Arc<Answer>) {
        self.0.insert(key, answer);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone_and_keeping_it_moves_no_end() {
        let at = LocalTime::from_nanos;
        let answer = Answer::new(Said::Unknown, at(10), at(20));
        for (now, age) in [
            (9, Age::Fresh),
            (10, Age::Stale),
            (19, Age::Stale),
            (20, Age::Gone),
        ] {
            assert_eq!(answer.age(at(now)), age, "{now}");
        }
        let kept = answer.kept_until(at(15));
        assert_eq!(
            [14, 15, 20].map(|now| kept.age(at(now))),
            [Age::Fresh, Age::Stale, Age::Gone]
        );
        assert_eq!(answer.kept_until(at(99)).age(at(20)), Age::Gone);
        assert!(answer.begin_refresh() && !answer.begin_refresh());
        answer.put_off_refresh();
        assert!(answer.begin_refresh());
    }

    #[test]
    fn a_flood_of_newcomers_drives_out_none_who_come_again_and_again() {
        let answers = Answers::new(200);
        let answer = || {
            Arc::new(Answer::new(
                Said::Unknown,
                LocalTime::NEVER,
                LocalTime::NEVER,
            ))
        };
        let customers: Vec<Key> = (0..20u32).map(|it| Key::of(&it)).collect();
        for &key in &customers {
            answers.put(key, answer());
        }
        let mut forgotten = 0;
        for made_up in 0..50_000u32 {
            answers.put(Key::of(&(1_000 + made_up)), answer());
            if made_up % 10 == 0 {
                let key = customers[made_up as usize / 10 % customers.len()];
                if answers.get(key).is_none() {
                    forgotten += 1;
                    answers.put(key, answer());
                }
            }
        }
        assert!(answers.len() <= 200, "{answers:?}");
        // Each was asked for 250 times; the least recently used would have gone each time.
        assert!(forgotten <= 50, "{forgotten} of 5000");
    }
}
