//! How layers ask a strict limiter, and how anybody waits for it.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::{Admission, Asking, Count, Counting, Deciding};
use crate::strict::StrictLimiter;
use crate::strict::handle::Weighed;
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
        let weighed = self.in_line(*key, cost, max_wait).await;
        self.0.count(weighed.decisions.binding());
        *weighed.decisions.binding()
    }

    /// Decides on a request of a layer.
    pub(crate) fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        if asking.max_wait.is_zero()
            && let Some(denied) = self.remembered(key, cost)
        {
            // A flood is not boxed either.
            self.0.count(denied.binding());
            return Deciding::Now(Admission {
                decisions: denied,
                counting: None,
            });
        }
        let limiter = self.clone();
        Deciding::Later(Box::pin(
            async move { limiter.admit(key, cost, asking).await },
        ))
    }

    async fn admit(&self, key: Key, cost: u32, asking: Asking) -> Admission {
        let weighed = if asking.max_wait.is_zero() {
            self.weigh(key, cost).await
        } else {
            self.in_line(key, cost, asking.max_wait).await
        };
        if let Count::All = asking.count {
            self.0.count(weighed.decisions.binding());
            return Admission {
                decisions: weighed.decisions,
                counting: None,
            };
        }
        match self.reservation(key, cost, weighed) {
            Ok(reservation) => Admission {
                decisions: reservation.decisions().clone(),
                counting: Some(Box::new(Counting::of_strict(reservation, asking.count))),
            },
            Err(decisions) => Admission {
                decisions,
                counting: None,
            },
        }
    }

    async fn in_line(&self, key: Key, cost: u32, max_wait: Duration) -> Weighed {
        let (clock, lines) = (&self.0.parts().clock, &self.0.lines);
        let began = clock.now();
        let left = || max_wait.saturating_sub(clock.now().since(began));
        // Whoever waits already goes first.
        if !lines.has(&key) {
            let weighed = self.weigh(key, cost).await;
            if wait(&weighed, left()).is_none() {
                return weighed;
            }
        }
        let place = lines.join(key);
        let mut missed = false;
        loop {
            let Ok(mut room) = tokio::time::timeout(left(), place.turn()).await else {
                return self.give_up(key, cost).await;
            };
            if !missed && *room >= cost {
                // There was room for this one too: those behind need not wait for its answer.
                *room -= cost;
                drop(room);
                let weighed = self.weigh(key, cost).await;
                if wait(&weighed, left()).is_none() {
                    return weighed;
                }
                missed = true;
                continue;
            }
            *room = 0;
            loop {
                let weighed = self.weigh(key, cost).await;
                if let Some(wait) = wait(&weighed, left()) {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                let decision = weighed.decisions.binding();
                if decision.is_allowed() {
                    *room = decision.remaining();
                }
                return weighed;
            }
        }
    }

    /// What is said to somebody who has waited long enough while others are in front.
    async fn give_up(&self, key: Key, cost: u32) -> Weighed {
        let mut weighed = self.weigh(key, 0).await;
        if weighed.standing.is_none() {
            // Without the store there is nothing to wait for.
            return self.weigh_without(key, cost);
        }
        // What would fit now is theirs.
        weighed.decisions.deny_until_reset();
        weighed
    }
}

/// How long to wait, if a denial is over in time.
fn wait(weighed: &Weighed, left: Duration) -> Option<Duration> {
    let wait = weighed.decisions.binding().retry_after();
    wait.filter(|wait| *wait <= left)
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
