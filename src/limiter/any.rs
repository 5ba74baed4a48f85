//! Any of the limiters, as layers take them and tables of limits hold them.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
#[cfg(feature = "redis")]
use crate::layered::{Batch, LayeredLimiter};
#[cfg(feature = "redis")]
use crate::leased::LeasedLimiter;
#[cfg(feature = "redis")]
use crate::limiter::remote::Remote;
use crate::limiter::{AnyReservation, BatchError, RateLimiter};
#[cfg(feature = "fleet")]
use crate::limiter::{Asking, Deciding};
#[cfg(feature = "redis")]
use crate::strict::StrictLimiter;
#[cfg(feature = "fleet")]
use std::time::Duration;

/// A limiter that a layer can ask. Made from any of them; cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyLimiter {
    /// Counts in this process.
    Local(RateLimiter),
    /// Counts in a store.
    #[cfg(feature = "redis")]
    Strict(StrictLimiter),
    /// Decides in this process, and counts in a region's store.
    #[cfg(feature = "redis")]
    Layered(LayeredLimiter),
    /// Takes units from a store in advance, and spends them in this process.
    #[cfg(feature = "redis")]
    Leased(LeasedLimiter),
}

impl AnyLimiter {
    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers.
    ///
    /// Ready at once unless the limiter counts in a store; then all is as its own `decide` says.
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        match self {
            Self::Local(limiter) => limiter.check(key, cost),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.decide(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide(key, cost).await,
        }
    }

    /// As [`Self::decide`], with the answers of all policies.
    pub async fn decide_each(&self, key: &Key, cost: u32) -> Decisions {
        match self {
            Self::Local(limiter) => limiter.check_each(key, cost),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_each(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.decide_each(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide_each(key, cost).await,
        }
    }

    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then. Those who wait on one key of this
    /// process are served in the order in which they came; all else is as the limiter's own `until_ready` says.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    #[cfg(feature = "fleet")]
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        match self {
            Self::Local(limiter) => limiter.until_ready(key, cost, max_wait).await,
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.until_ready(key, cost, max_wait).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.until_ready(key, cost, max_wait).await,
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.until_ready(key, cost, max_wait).await,
        }
    }

    /// Books `cost` units on `key` until it is known what they come to; all is as the limiter's own `reserve` says.
    ///
    /// # Errors
    /// The decision, if they do not fit.
    ///
    /// # Examples
    /// ```
    /// use tidegate::limiter::AnyLimiter;
    /// use tidegate::{Key, Quota, RateLimiter};
    ///
    /// # futures_util::FutureExt::now_or_never(async {
    /// let limiter = AnyLimiter::from(RateLimiter::new(Quota::per_minute(10_000)));
    /// let tenant = Key::of("acme");
    /// let reservation = limiter.reserve(&tenant, 4_000).await.unwrap();
    /// // The answer took 1 200 tokens.
    /// reservation.commit(1_200).await;
    /// assert_eq!(limiter.peek(&tenant).await.remaining(), 8_800);
    /// # }).unwrap();
    /// ```
    pub async fn reserve(&self, key: &Key, cost: u32) -> Result<AnyReservation, Decision> {
        Ok(match self {
            Self::Local(limiter) => limiter.reserve(key, cost)?.into(),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.reserve(key, cost).await?.into(),
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.reserve(key, cost).await?.into(),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.reserve(key, cost).await?.into(),
        })
    }

    /// Decides on each of up to 100 `checks` by itself. Where a store is asked, all go on one way.
    ///
    /// # Errors
    /// [`BatchError::TooMany`] for more. Nothing was booked then.
    pub async fn decide_many(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        match self {
            Self::Local(limiter) => limiter.check_many(checks),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_many(checks).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter
                .decide_batch(checks, Batch::Independent)
                .await
                .map_err(BatchError::from),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide_many(checks).await,
        }
    }

    /// Books all of up to 100 `checks` or none of them; all is as the limiter's own batch says.
    ///
    /// # Errors
    /// [`BatchError::Denied`] with the first that does not fit, [`BatchError::TooMany`] for more than 100. Nothing is
    /// booked then, as far as a store answers.
    pub async fn decide_all(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        match self {
            Self::Local(limiter) => limiter.check_all(checks),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_all(checks).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => {
                let told = limiter.decide_batch(checks, Batch::AllOrNothing).await?;
                match told.iter().position(|decision| !decision.is_allowed()) {
                    Some(at) => Err(BatchError::Denied {
                        at,
                        decision: told[at],
                    }),
                    None => Ok(told),
                }
            }
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide_all(checks).await,
        }
    }

    /// Gives back the `units` that were booked last on `key`, as far as they have not come back by themselves: for what
    /// was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// What comes back, where, and when nothing does, is as the limiter's own `refund` says: layered and leased ones give
    /// back what this process has booked, and to this process. Ready at once unless the limiter is a strict one.
    pub async fn refund(&self, key: &Key, units: u32) {
        match self {
            Self::Local(limiter) => limiter.refund(key, units),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.refund(key, units).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.refund(key, units),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.refund(key, units),
        }
    }

    /// How `key` stands, without booking anything.
    pub async fn peek(&self, key: &Key) -> Decision {
        match self {
            Self::Local(limiter) => limiter.peek(key),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.peek(key).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.peek(key),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.peek(key),
        }
    }

    /// The limiter, if it counts in this process.
    #[must_use]
    pub const fn as_local(&self) -> Option<&RateLimiter> {
        match self {
            Self::Local(limiter) => Some(limiter),
            #[cfg(feature = "redis")]
            Self::Strict(_) | Self::Layered(_) | Self::Leased(_) => None,
        }
    }

    /// The quota, and the name under which clients see it; of several the first.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policies()[0]
    }

    /// All policies, in the order in which they were given.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        match self {
            Self::Local(limiter) => limiter.policies(),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.policies(),
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.policies(),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.policies(),
        }
    }

    /// Whether another limiter has taken over, so that this one cannot begin again.
    pub(crate) fn has_left(&self) -> bool {
        match self {
            Self::Local(limiter) => limiter.has_left(),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.has_left(),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.has_left(),
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.has_left(),
        }
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(one), Self::Local(other)) => one.is(other),
            #[cfg(feature = "redis")]
            (Self::Strict(one), Self::Strict(other)) => one.is(other),
            #[cfg(feature = "redis")]
            (Self::Leased(one), Self::Leased(other)) => one.is(other),
            #[cfg(feature = "redis")]
            (Self::Layered(one), Self::Layered(other)) => one.is(other),
            #[cfg(feature = "redis")]
            _ => false,
        }
    }

    /// Goes on with the counts of the limiter before this one, which is another one. Those in a store are where they were;
    /// this one tells it what that one has not.
    pub(crate) fn take_over(&self, before: &Self) {
        match (before, self) {
            (Self::Local(before), Self::Local(next)) => next.take_over(before),
            #[cfg(feature = "redis")]
            (Self::Strict(before), Self::Strict(next)) => next.take_over(before),
            #[cfg(feature = "redis")]
            (Self::Leased(before), Self::Leased(next)) => next.take_over(before),
            #[cfg(feature = "redis")]
            (Self::Layered(before), Self::Layered(next)) => next.take_over(before),
            #[cfg(feature = "redis")]
            _ => {}
        }
    }

    /// As [`Self::take_over`], of one key alone.
    #[cfg(feature = "fleet")]
    pub(crate) fn take_over_key(&self, before: &Self, key: Key) {
        if let (Some(before), Some(next)) = (before.as_local(), self.as_local()) {
            next.take_over_key(before, key);
        }
    }

    /// Decides on a request of a layer.
    #[cfg(feature = "fleet")]
    #[doc(hidden)]
    #[inline]
    pub fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        match self {
            Self::Local(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide_for(key, cost, asking),
        }
    }
}

impl From<RateLimiter> for AnyLimiter {
    fn from(limiter: RateLimiter) -> Self {
        Self::Local(limiter)
    }
}

#[cfg(feature = "redis")]
impl From<StrictLimiter> for AnyLimiter {
    fn from(limiter: StrictLimiter) -> Self {
        Self::Strict(limiter)
    }
}

#[cfg(feature = "redis")]
impl From<LayeredLimiter> for AnyLimiter {
    fn from(limiter: LayeredLimiter) -> Self {
        Self::Layered(limiter)
    }
}

#[cfg(feature = "redis")]
impl From<LeasedLimiter> for AnyLimiter {
    fn from(limiter: LeasedLimiter) -> Self {
        Self::Leased(limiter)
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use tidegate_test_support::RedisServer;

    /// One of each, with 10 units that do not come back in a test.
    fn one_of_each(server: &RedisServer) -> [AnyLimiter; 4] {
        let quota = Quota::new(10, Quota::MAX_WINDOW).unwrap();
        let minute = Duration::from_secs(60);
        let store = || RedisStore::new(server.url()).unwrap();
        let strict = StrictLimiter::builder(store(), "any", quota).patience(minute);
        let layered = LayeredLimiter::builder(store(), "any", quota).patience(minute);
        let leased = LeasedLimiter::builder(store(), "any leased", quota).patience(minute);
        [
            RateLimiter::new(quota).into(),
            strict.build().unwrap().into(),
            layered.build().unwrap().into(),
            leased.build().unwrap().into(),
        ]
    }

    #[tokio::test]
    async fn whatever_the_limiter_units_are_reserved_waited_for_given_back_and_told_alike() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        for limiter in one_of_each(&server) {
            let key = Key::of("a");
            let reservation = limiter.reserve(&key, 6).await.unwrap();
            assert!(reservation.decision().is_allowed() && reservation.cost() == 6);
            let denied = limiter.reserve(&key, 5).await.unwrap_err();
            assert!(!denied.is_allowed(), "{limiter:?}");
            reservation.commit(1).await;
            limiter.reserve(&key, 9).await.unwrap().cancel().await;
            let told = limiter.decide_each(&key, 5).await;
            assert!(told.is_allowed() && told.each().len() == 1, "{limiter:?}");
            let waited = limiter.until_ready(&key, 4, Duration::ZERO).await;
            assert!(waited.is_allowed(), "{limiter:?}");
            let waited = limiter.until_ready(&key, 1, Duration::ZERO).await;
            assert!(!waited.is_allowed(), "{limiter:?}");
            limiter.refund(&key, 3).await;
            assert!(!limiter.decide(&key, 4).await.is_allowed(), "{limiter:?}");
            assert!(limiter.decide(&key, 3).await.is_allowed(), "{limiter:?}");
        }
    }

    #[tokio::test]
    async fn whatever_the_limiter_a_batch_is_booked_whole_or_each_by_itself() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        for limiter in one_of_each(&server) {
            let [a, b] = ["a", "b"].map(Key::of);
            let told = limiter.decide_all(&[(a, 4), (b, 9)]).await.unwrap();
            assert!(told.iter().all(Decision::is_allowed), "{limiter:?}");
            let all = [(a, 1), (a, 1), (b, 2)];
            let error = limiter.decide_all(&all).await.unwrap_err();
            assert!(
                matches!(error, BatchError::Denied { at: 2, .. }),
                "{limiter:?}: {error}"
            );
            let each = limiter.decide_many(&all).await.unwrap();
            let passed: Vec<bool> = each.iter().map(Decision::is_allowed).collect();
            assert_eq!(passed, [true, true, false], "{limiter:?}");
            // The rest is there, and no more.
            assert!(limiter.decide(&a, 4).await.is_allowed(), "{limiter:?}");
            assert!(limiter.decide(&b, 1).await.is_allowed(), "{limiter:?}");
            for key in [a, b] {
                assert!(!limiter.decide(&key, 1).await.is_allowed(), "{limiter:?}");
            }
            let many = vec![(a, 1); 101];
            let too_many = BatchError::TooMany { checks: 101 };
            assert_eq!(limiter.decide_all(&many).await.unwrap_err(), too_many);
            assert_eq!(limiter.decide_many(&many).await.unwrap_err(), too_many);
        }
    }
}
