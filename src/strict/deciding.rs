//! How layers ask a strict limiter, and how anybody waits for it.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::count::Booking;
use crate::limiter::lines::Lines;
use crate::limiter::remote::{Attempt, Remote, Weighed};
use crate::strict::booked::Booked;
use crate::strict::{StrictLimiter, StrictReservation};
use crate::time::Clock;
use std::time::Duration;

impl StrictLimiter {
    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then.
    ///
    /// Of this process those who wait on one key are served in the order in which they came; who does not wait, and
    /// calls [`Self::decide`], is not kept back by them. The store is asked for one of them after the other, but at once
    /// for as many as its last answer had room for: if another process takes that in between, whoever missed it waits
    /// again behind the others. The answer is a denial as soon as it is clear that the wait would be too long, or has no
    /// point; to hear so from the store may take longer than `max_wait`, by no more than [`Self::decide`] takes.
    ///
    /// # Cancel safety
    /// As [`Self::decide`]; and dropping the future leaves the line.
    ///
    /// # Panics
    /// As [`Self::decide`].
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        self.wait_for(*key, cost, max_wait).await
    }
}

impl Remote for StrictLimiter {
    type Booked = Booked;
    type Asked = ();
    type Reservation = StrictReservation;

    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn clock(&self) -> &Clock {
        &self.0.parts().clock
    }

    fn count(&self, decision: &Decision) {
        self.0.count(decision);
    }

    /// A flood of remembered denials is not boxed.
    fn attempt(&self, key: Key, cost: u32, _: Booking) -> Attempt<Self> {
        match self.remembered(key, cost) {
            Some(denied) => Attempt::Decided((denied, Booked::Nothing)),
            None => Attempt::Asked(()),
        }
    }

    async fn hear(&self, (): (), _: Key, _: u32, _: Booking) -> Option<Weighed<Self>> {
        None
    }

    async fn weigh(&self, key: Key, cost: u32, _: Booking) -> Weighed<Self> {
        self.weigh_in_store(key, cost).await
    }

    /// The store's word, unless somebody waits already, who goes first.
    async fn foresee(&self, key: Key, cost: u32, _: Booking) -> Option<Weighed<Self>> {
        match self.lines().has(&key) {
            true => None,
            false => Some(self.weigh_in_store(key, cost).await),
        }
    }

    async fn give_up(&self, key: Key, cost: u32) -> Weighed<Self> {
        let (mut decisions, asked) = self.weigh_in_store(key, 0).await;
        if !matches!(asked, Booked::InStore(_)) {
            // Without the store there is nothing to wait for.
            return self.without(key, cost, None);
        }
        decisions.deny_until_reset();
        (decisions, Booked::Nothing)
    }

    fn room_behind(&self, decision: &Decision) -> u32 {
        decision.remaining()
    }

    async fn settled(&self, key: Key, booked: Booked, cost: u32, actual: u32) {
        if self.note(key, booked, cost, actual) {
            self.tell_of(key, actual.saturating_sub(cost)).await;
        }
    }

    /// In the background. Without a runtime to do it on, it is told with the next question.
    fn settle(&self, key: Key, booked: Booked, cost: u32, actual: u32) {
        if self.note(key, booked, cost, actual)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let limiter = self.clone();
            let more = actual.saturating_sub(cost);
            runtime.spawn(async move { limiter.tell_of(key, more).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::Poll;
    use tidegate_test_support::RedisServer;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A limiter, and a key that has spent all of `quota`.
    async fn spent(quota: Quota) -> Option<(RedisServer, StrictLimiter, Key)> {
        let server = RedisServer::start()?;
        let store = RedisStore::new(server.url()).unwrap();
        let builder = StrictLimiter::builder(store, "lines", quota).patience(MINUTE);
        let (limiter, key) = (builder.build().unwrap(), Key::of("a"));
        assert!(limiter.decide(&key, quota.burst_size()).await.is_allowed());
        Some((server, limiter, key))
    }

    async fn poll<T>(waiting: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await
    }

    /// Polls `first` until it stands in line.
    async fn stands<T>(
        limiter: &StrictLimiter,
        first: &mut std::pin::Pin<&mut impl Future<Output = T>>,
    ) {
        while limiter.0.lines.len() == 0 {
            assert!(poll(first).await.is_pending(), "nothing is left");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn those_who_wait_go_in_the_order_in_which_they_came() {
        let Some((_server, limiter, key)) = spent(Quota::per_second(2).burst(4)).await else {
            return;
        };
        let gone = Mutex::new(Vec::new());
        let wait = |cost| {
            let (limiter, gone) = (&limiter, &gone);
            async move {
                let decision = limiter.until_ready(&key, cost, MINUTE).await;
                gone.lock().unwrap().push((cost, decision.is_allowed()));
            }
        };
        let mut large = pin!(wait(4));
        stands(&limiter, &mut large).await;
        // One unit is there long before four are, and would do for these.
        tokio::join!(large, wait(1), wait(2));
        assert_eq!(*gone.lock().unwrap(), [(4, true), (1, true), (2, true)]);
        assert_eq!(limiter.0.lines.len(), 0);
    }

    #[tokio::test]
    async fn for_as_many_as_there_is_room_the_store_is_asked_at_once() {
        let Some((_server, limiter, key)) = spent(Quota::per_second(2).burst(4)).await else {
            return;
        };
        let mut first = pin!(limiter.until_ready(&key, 1, MINUTE));
        stands(&limiter, &mut first).await;
        let mut others = [(); 3].map(|()| Box::pin(limiter.until_ready(&key, 1, MINUTE)));
        for other in &mut others {
            assert!(poll(&mut other.as_mut()).await.is_pending());
        }
        limiter.refund(&key, 4).await;
        assert!(first.await.is_allowed());
        let before = limiter.stats().asked;
        for other in &mut others {
            assert!(poll(&mut other.as_mut()).await.is_pending(), "an answer");
        }
        assert_eq!(limiter.stats().asked, before + 3);
        for other in others {
            assert!(other.await.is_allowed());
        }
        assert_eq!(limiter.0.lines.len(), 0);
    }
}
