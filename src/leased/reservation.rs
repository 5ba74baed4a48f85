//! Costs that are known only afterwards: draw what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::LeasedLimiter;
use crate::leased::lease::Lease;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;
use crate::rule::Moment;

impl LeasedLimiter {
    /// Books `cost` units on `key` until it is known what they come to.
    ///
    /// # Errors
    /// The decision, if they do not fit. Nothing was booked then.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(limiter: tidegate::leased::LeasedLimiter) {
    /// use tidegate::Key;
    ///
    /// if let Ok(reservation) = limiter.reserve(&Key::of("acme"), 4_000).await {
    ///     // The answer took 1 200 tokens.
    ///     reservation.commit(1_200);
    /// }
    /// # }
    /// ```
    pub async fn reserve(&self, key: &Key, cost: u32) -> Result<LeasedReservation, Decision> {
        let held = self.hold(*key, cost).await?;
        Ok(LeasedReservation(held))
    }

    /// Gives back the `units` that this process booked last on `key`, as far as they have not come back by themselves:
    /// for what was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// # Guarantees
    /// * What comes back is put in hand, for the next costs here, and goes back to the store as all that is there.
    /// * It is at most what this process has spent, and nothing when its window is over, its slots have begun to come back,
    ///   or the key was forgotten. Under a token bucket others may have taken units in between: then only those come back
    ///   that were spent since. Each call gives back, so nothing is to be refunded twice.
    /// * What was admitted without the store, and it was not told of yet, is given back first, where it was.
    pub fn refund(&self, key: &Key, units: u32) {
        let shared = &*self.0.shared;
        shared.parts.denied.forget(*key);
        let (now, shard) = (shared.now(), shared.shard(*key));
        let mut inner = shard.lock();
        let untold = &shared.parts.untold;
        let left = untold.give_back(*key, units, shared.moment());
        let in_hand = inner.tier.refund(*key, left, now);
        shared.notice(shard, &inner.tier);
        drop(inner);
        // With what the store was told of, here or by who took over.
        let without = units - in_hand - shared.disown(*key, left - in_hand);
        if without > 0 {
            shared.parts.give_back_to_share(*key, without);
        }
    }

    /// What was drawn is spent.
    pub(super) fn note_spent(&self, key: Key, drawn: &[Lease]) {
        if !drawn.is_empty() {
            let shared = &*self.0.shared;
            let (now, shard) = (shared.now(), shared.shard(key));
            shard.lock().tier.note_spent(key, drawn, now);
        }
    }

    /// Books units whether they fit or not.
    pub(super) fn book(&self, key: Key, units: u32) {
        let shared = &*self.0.shared;
        let (now, shard) = (shared.now(), shared.shard(key));
        let mut inner = shard.lock();
        if shared.may_ask(now.local) {
            let each = vec![u64::from(units); self.policies().len()];
            inner.tier.owe(key, &each, now);
            shared.notice(shard, &inner.tier);
        } else {
            drop(inner);
            shared.parts.book_without(key, units, shared.moment());
        }
    }

    /// Puts `units` of what was drawn in hand.
    pub(super) fn put_back(&self, key: Key, mut drawn: Vec<Lease>, units: u32) {
        let shared = &*self.0.shared;
        // What was drawn first is over first, and so was used.
        let used = |lease: &mut Lease| lease.split(lease.units - units.min(lease.units));
        let used: Vec<Lease> = drawn.iter_mut().map(used).collect();
        let (now, shard) = (shared.now(), shared.shard(key));
        let mut inner = shard.lock();
        inner.tier.note_spent(key, &used, now);
        inner.tier.put_back(key, &drawn, now);
        shared.notice(shard, &inner.tier);
    }

    /// The last `units` of `cost` that were admitted at `moment` without the store go back to the local share that admitted
    /// them, and wherever they count by now.
    pub(super) fn give_back_without(&self, key: Key, cost: u32, units: u32, moment: Moment) {
        let shared = &*self.0.shared;
        // What has come back meanwhile may be somebody else's.
        let now = shared.moment();
        let units = shared.parts.untold.left(cost, units, moment, now);
        if units > 0 && shared.parts.give_back_to_share(key, units) {
            shared.disown(key, units);
        }
    }
}

/// Units that are booked until it is known what they come to. Made by [`LeasedLimiter::reserve`].
///
/// Dropping it cancels it.
///
/// # Guarantees
/// * What was reserved counts in full until it is settled.
/// * What comes back is put in hand, and goes back to the store as all that is there; of it nothing that has come back by
///   itself meanwhile.
/// * What a local share had admitted goes back to it, and once the store has heard of it, it is put in hand as well. It
///   stays booked, until it comes back by itself, where the key was forgotten since, or had been and the store had not
///   confirmed that, or an answer to what the store was told of it was lost.
#[derive(Debug)]
#[must_use = "dropping a reservation cancels it"]
pub struct LeasedReservation(Held<LeasedLimiter>);

impl LeasedReservation {
    /// What was said when it was booked.
    pub const fn decision(&self) -> &Decision {
        self.0.decisions().binding()
    }

    /// Units that are booked.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.0.cost()
    }

    /// It came to `actual` units. What was reserved and not used is put in hand; what was used and not reserved is booked
    /// on top, beyond the limit if need be, and told until the store knows of it. Neither waits.
    pub fn commit(mut self, actual: u32) {
        self.0.settle(actual);
    }

    /// It came to nothing, as when it is dropped.
    pub fn cancel(self) {}

    /// It came to what was reserved.
    pub(crate) fn keep(self) {
        self.0.keep();
    }

    /// It came to what was reserved, or to nothing; says how the key stood when it was booked.
    pub(crate) fn answered(self, keeps: bool) -> Decisions {
        self.0.answered(keeps)
    }
}

impl From<Held<LeasedLimiter>> for LeasedReservation {
    fn from(held: Held<LeasedLimiter>) -> Self {
        Self(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use crate::strict::OnFailure;
    use crate::time::{Clock, ManualClock};
    use std::time::Duration;
    use tidegate_test_support::{RedisServer, TcpProxy};

    async fn until(mut so: impl AsyncFnMut() -> bool) {
        for _ in 0..2_000 {
            if so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it has not become so");
    }

    /// Of which nobody answers, and which is asked each time.
    fn alone(quota: Quota) -> (LeasedLimiter, ManualClock) {
        let (clock, lever) = Clock::manual();
        let nowhere = RedisStore::new("redis://127.0.0.1:1").unwrap();
        let limiter = LeasedLimiter::builder(nowhere, "alone", quota)
            .on_failure(OnFailure::local_share(1))
            .breaker(u32::MAX, Duration::from_secs(1))
            .clock(clock);
        (limiter.build().unwrap(), lever)
    }

    /// Takes out what the store is to be told of.
    fn untold(limiter: &LeasedLimiter, key: Key) -> u64 {
        let shared = &limiter.0.shared;
        let units = shared.parts.untold.take(key, shared.moment());
        units.map_or(0, |units| units[0])
    }

    /// Somebody else has what came back meanwhile: in the share, and in what the store is to be told.
    #[tokio::test]
    async fn what_has_come_back_by_itself_is_not_given_back_as_well() {
        let hour = Quota::per_hour(10);
        for quota in [hour, hour.fixed()] {
            let (limiter, lever) = alone(quota);
            let key = Key::of("a");
            let first = limiter.reserve(&key, 10).await.expect("within the share");
            lever.advance(Duration::from_secs(3_600));
            assert!(limiter.decide(&key, 10).await.is_allowed(), "{quota}");
            first.cancel();
            assert_eq!(untold(&limiter, key), 10, "{quota}");
            assert!(!limiter.decide(&key, 1).await.is_allowed(), "{quota}");
        }
    }

    #[tokio::test]
    async fn what_a_share_admitted_is_refunded_though_the_store_is_asked_still() {
        let (limiter, _lever) = alone(Quota::per_hour(10));
        let key = Key::of("a");
        assert!(limiter.decide(&key, 10).await.is_allowed());
        assert!(limiter.stats().up && limiter.stats().untold == 1);
        limiter.refund(&key, 10);
        assert_eq!(limiter.stats().untold, 0);
        assert!(limiter.decide(&key, 10).await.is_allowed());
    }

    /// Another limiter has taken over, and told the store of it or not.
    #[tokio::test]
    async fn what_a_share_admitted_before_a_change_of_plan_goes_back_after_it() {
        let Some(server) = RedisServer::start() else {
            return;
        };
        let proxy = TcpProxy::start(server.address());
        let url = server.url_through(proxy.address());
        let limiter = |limit| {
            let quota = Quota::new(limit, Quota::MAX_WINDOW).unwrap().fixed();
            let limiter = LeasedLimiter::builder(RedisStore::new(&url).unwrap(), "a", quota)
                .on_failure(OnFailure::local_share(2))
                .breaker(1, Duration::from_millis(50));
            limiter.build().unwrap()
        };
        let (before, after) = (limiter(100), limiter(200));
        let key = Key::of("a");
        proxy.refuse();
        until(async || before.reserve(&key, 1).await.is_ok()).await;
        until(async || before.stats().untold == 0).await;
        let [told, untold] = [10, 20].map(|cost| before.reserve(&key, cost));
        let (told, untold) = (told.await.unwrap(), untold.await.unwrap());
        after.take_over(&before);
        assert_eq!((before.stats().untold, after.stats().untold), (0, 1));
        untold.commit(5);
        proxy.heal();
        until(async || {
            let _ = after.decide(&Key::EVERYONE, 1).await;
            after.stats().untold == 0
        })
        .await;
        told.commit(5);
        before.refund(&key, 2);
        after.close().await.expect("the store has heard all");
        let last = limiter(200);
        let mut left = 0;
        while last.decide(&key, 1).await.is_allowed() {
            left += 1;
        }
        assert_eq!(left, 200 - 5 - 3);
    }

    /// What was owed when the last one let go of it: its background task could not tell it any more.
    #[tokio::test]
    async fn what_the_store_was_not_told_when_it_was_asked_is_left_to_who_took_over() {
        let limiter = |limit| {
            let nowhere = RedisStore::new("redis://127.0.0.1:1").unwrap();
            let quota = Quota::per_day(limit).fixed();
            let limiter = LeasedLimiter::builder(nowhere, "a", quota)
                .on_failure(OnFailure::local_share(1))
                .patience(Duration::from_millis(20))
                .breaker(u32::MAX, Duration::from_secs(1));
            limiter.build().unwrap()
        };
        let (before, after) = (limiter(100), limiter(200));
        let key = Key::of("a");
        let reservation = before.reserve(&key, 1).await.expect("within the share");
        reservation.commit(5);
        after.take_over(&before);
        drop(before);
        let mut told = 0;
        until(async || {
            told += untold(&after, key);
            told >= 5
        })
        .await;
        assert_eq!(told, 5);
    }
}
