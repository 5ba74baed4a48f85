//! The way of one question to the store: past the circuit breaker, after what it does not know yet.

use crate::decision::Decision;
use crate::key::Key;
use crate::observe;
use crate::rule::Moment;
use crate::store::redis::rates::Standing;
use crate::store::{StoreError, StoreErrorKind};
use crate::strict::StrictLimiter;
use crate::strict::booked::Passed;
use crate::strict::breaker::{Breaker, Change, Pass};
use crate::strict::failure::Fallback;
use crate::strict::handle::Inner;
use crate::strict::parts::Parts;
use crate::strict::telling::Begin;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

impl StrictLimiter {
    /// Asks the store once, if it is to be asked, having told it first what it does not know of this key. What was booked
    /// for nobody, since the answer came too late, goes back: all of it where somebody else has decided meanwhile, and what
    /// was not used of a request that was let `passed`.
    pub(super) async fn ask_to_decide(
        &self,
        key: Key,
        cost: u32,
        random: u32,
        passed: Option<Passed>,
    ) -> Result<Standing, StoreError> {
        let parts = &self.0.parts;
        let operation = parts.rates.spelling().decide(cost, random);
        let limiter = self.clone();
        let late = move |booked: Standing| {
            let unused = match &passed {
                Some(passed) => limiter.counted_after_all(passed, booked, key, cost),
                None => Some((booked, cost)),
            };
            if let Some((booked, units)) = unused.filter(|(_, units)| *units > 0) {
                limiter.go_back(key, &booked, cost, units);
            }
            limiter.0.back.notify_one();
            limiter.tell_the_rest(Begin::AtOnce);
        };
        let (rates, patience) = (&parts.rates, parts.patience);
        let ask = || rates.ask_or_hear_late(key, operation, patience, late);
        self.ask_after_telling(key, ask).await
    }

    async fn ask_after_telling<F>(
        &self,
        key: Key,
        ask: impl FnOnce() -> F,
    ) -> Result<Standing, StoreError>
    where
        F: Future<Output = Result<Standing, StoreError>>,
    {
        let inner = &*self.0;
        if inner.unheard.is_left()
            && let Err(error) = self.tell(key).await
            // A store that refuses what goes back may decide all the same: more is counted there than was used.
            && !(error.kind() == StoreErrorKind::Rejected && inner.unheard.only_gives_back(key))
        {
            return Err(error);
        }
        let standing = inner.ask_once(ask).await?;
        self.tell_the_rest(Begin::AtOnce);
        Ok(standing)
    }

    /// A request that was let pass is counted by the store. What is left of it to give back, if that is known already.
    fn counted_after_all(
        &self,
        passed: &Passed,
        booked: Standing,
        key: Key,
        cost: u32,
    ) -> Option<(Standing, u32)> {
        let (uncounted, unused) = passed.heard(booked);
        if let Some(moment) = uncounted {
            // What was not used has been taken from it already.
            let used = cost - unused.as_ref().map_or(0, |(_, units)| *units);
            self.0.uncount(key, used, used, moment);
        }
        unused
    }
}

impl Inner {
    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn count(&self, decision: &Decision) {
        let policies = self.parts.rates.spelling().policies();
        self.seen.count(policies, decision);
    }

    /// The last `units` of `cost` that passed uncounted at `moment` were counted after all, or not used.
    pub(super) fn uncount(&self, key: Key, cost: u32, units: u32, moment: Moment) {
        if let Fallback::Allow(uncounted) = &self.parts.fallback {
            let now = self.moment();
            // What has come back meanwhile may be somebody else's.
            let units = uncounted.left(cost, units, moment, now);
            if units > 0 {
                uncounted.give_back(key, units, now);
            }
        }
    }

    /// The present moment on the store's clock, as far as it is known here.
    pub(super) fn moment(&self) -> Moment {
        self.clock_of_store.at(self.parts.clock.now()).moment(0)
    }

    pub(super) async fn ask_once<F>(&self, ask: impl FnOnce() -> F) -> Result<Standing, StoreError>
    where
        F: Future<Output = Result<Standing, StoreError>>,
    {
        let now = self.parts.clock.now();
        let Some(pass) = self.breaker().pass(now) else {
            return Err(away());
        };
        let mut question = Question {
            inner: self,
            pass: Some(pass),
        };
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        let answer = ask().await;
        question.answered(answer.as_ref().err());
        if let Ok(standing) = &answer {
            self.clock_of_store
                .note(standing.now(), self.parts.clock.now());
        }
        answer
    }

    /// Whether a question would not be refused by the breaker.
    pub(super) fn may_ask(&self) -> bool {
        self.breaker().would_pass(self.parts.clock.now())
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way. Dropped before its answer, it leaves the breaker as it is.
struct Question<'a> {
    inner: &'a Inner,
    pass: Option<Pass>,
}

impl Question<'_> {
    fn answered(&mut self, failure: Option<&StoreError>) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let now = self.inner.parts.clock.now();
        let change = match failure {
            None => self.inner.breaker().handle_answer(pass),
            Some(_) => {
                self.inner.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.inner.breaker().handle_failure(pass, now)
            }
        };
        match (change, failure) {
            (Change::Opened, Some(error)) => observe::rates_store_away(error),
            (Change::Closed, _) => {
                observe::rates_store_back();
                self.inner.back.notify_one();
            }
            _ => {}
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let now = self.inner.parts.clock.now();
            self.inner.breaker().handle_abandoned(pass, now);
        }
    }
}

pub(super) fn away() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unreachable,
        "the store has failed too often and is left alone for a while",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use crate::strict::OnFailure;
    use crate::strict::booked::Booked;
    use crate::time::{Clock, ManualClock};
    use std::time::Duration;

    fn where_everything_passes() -> (StrictLimiter, ManualClock) {
        let (clock, lever) = Clock::manual();
        let nowhere = RedisStore::new("redis://127.0.0.1:1").unwrap();
        let limiter = StrictLimiter::builder(nowhere, "asking", Quota::per_hour(10));
        let limiter = limiter.on_failure(OnFailure::Allow).clock(clock);
        (limiter.build().unwrap(), lever)
    }

    fn uncounted(limiter: &StrictLimiter, key: Key) -> u64 {
        let parts = &limiter.0.parts;
        let Fallback::Allow(uncounted) = &parts.fallback else {
            panic!("{parts:?}");
        };
        let units = uncounted.take(key, limiter.0.moment());
        units.map_or(0, |units| units[0])
    }

    #[test]
    fn what_the_store_has_booked_is_not_uncounted_whenever_its_answer_comes() {
        let (limiter, _lever) = where_everything_passes();
        let (key, booked) = (Key::of("a"), Standing::of_booking());
        for early in [true, false] {
            let passed = Passed::default();
            let hear = || limiter.counted_after_all(&passed, booked.clone(), key, 5);
            if early {
                assert!(hear().is_none());
            }
            let _ = limiter.without(key, 3, None);
            let (decisions, _) = limiter.without(key, 5, Some(passed.clone()));
            assert!(decisions.is_allowed());
            if !early {
                assert!(hear().is_none());
            }
            assert_eq!(uncounted(&limiter, key), 3, "early: {early}");
        }
    }

    /// It is those that others have passed with since.
    #[test]
    fn what_passed_uncounted_and_has_come_back_by_itself_is_not_taken_back_as_well() {
        let (limiter, lever) = where_everything_passes();
        let key = Key::of("a");
        let (_, first) = limiter.without(key, 5, None);
        let second = Passed::default();
        let _ = limiter.without(key, 4, Some(second.clone()));
        lever.advance(Duration::from_secs(3_600));
        let _ = limiter.without(key, 7, None);
        assert!(matches!(first, Booked::Passed(_)));
        assert!(!limiter.note(key, first, 5, 0));
        let unused = limiter.counted_after_all(&second, Standing::of_booking(), key, 4);
        assert!(unused.is_none());
        assert_eq!(uncounted(&limiter, key), 7);
    }
}
