//! Waiting for a quota: whoever came first goes first.

use crate::decision::{Decision, Verdict};
use crate::key::Key;
use crate::limiter::RateLimiter;
use std::time::Duration;

impl RateLimiter {
    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then.
    ///
    /// Those who wait on one key are served in the order in which they came; who does not wait, and calls
    /// [`Self::check`], is not kept back by them. The answer is a denial as soon as it is clear that the wait would be too
    /// long, or has no point.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line. Nothing is booked before its turn has come and the cost fits.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use tidegate::{Key, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_second(1000).burst(1));
    /// let mail = Key::of("smtp.example.com");
    /// for _ in 0..3 {
    ///     let decision = limiter.until_ready(&mail, 1, Duration::from_secs(5)).await;
    ///     assert!(decision.is_allowed());
    /// }
    /// # }
    /// ```
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        let book = || {
            let decision = self.check(key, cost);
            if decision.is_allowed() {
                Ok(decision)
            } else {
                Err(decision)
            }
        };
        match self.in_line(key, cost, max_wait, book).await {
            Ok(decision) | Err(decision) => decision,
        }
    }

    /// As [`Self::until_ready`], with what is to be done when its turn has come and the cost fits.
    pub(super) async fn in_line<T>(
        &self,
        key: &Key,
        cost: u32,
        max_wait: Duration,
        book: impl Fn() -> Result<T, Decision> + Send,
    ) -> Result<T, Decision> {
        let inner = &*self.0;
        let began = inner.now().now;
        let asked = self.ask(key, cost);
        if !asked.is_allowed() && asked.retry_after().is_none_or(|wait| wait > max_wait) {
            inner.seen.count(&inner.policies, &asked);
            return Err(asked);
        }
        let place = inner.lines.join(*key);
        let Ok(_turn) = tokio::time::timeout(max_wait, place.turn()).await else {
            // Those in front are still waiting: what would fit now is theirs.
            let mut asked = self.ask(key, cost);
            if asked.is_allowed() {
                asked.outcome = Verdict::Deny;
                asked.retry_after_nanos = asked.reset_after_nanos.max(1);
            }
            inner.seen.count(&inner.policies, &asked);
            return Err(asked);
        };
        loop {
            // Asked first: only the last answer is counted.
            let asked = self.ask(key, cost);
            let waited = inner.now().now.since(began);
            match asked.retry_after() {
                Some(wait) if waited.saturating_add(wait) <= max_wait => {
                    tokio::time::sleep(wait).await;
                }
                _ => match book() {
                    // Somebody who does not wait came in between.
                    Err(_) if asked.is_allowed() => {}
                    done => return done,
                },
            }
        }
    }

    /// What [`Self::check`] would say, without booking or counting anything.
    pub(super) fn ask(&self, key: &Key, cost: u32) -> Decision {
        self.where_it_counts(|inner| inner.local.ask(*key, cost, inner.now()))
    }

    /// Whether somebody waits for `key`.
    pub(super) fn has_line(&self, key: &Key) -> bool {
        self.0.lines.has(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::time::{Clock, ManualClock};
    use std::pin::Pin;
    use std::task::Poll;

    type Waiting = Pin<Box<dyn Future<Output = Decision>>>;

    fn limiter(quota: Quota) -> (RateLimiter, ManualClock) {
        let (clock, lever) = Clock::manual();
        let builder = RateLimiter::builder(quota).clock(clock);
        (builder.build().unwrap(), lever)
    }

    fn wait(limiter: &RateLimiter, cost: u32, max_wait: Duration) -> Waiting {
        let limiter = limiter.clone();
        Box::pin(async move { limiter.until_ready(&Key::of("a"), cost, max_wait).await })
    }

    /// Both clocks, for the rules count on one and tokio sleeps on the other.
    async fn advance(lever: &ManualClock, by: Duration) {
        lever.advance(by);
        tokio::time::advance(by).await;
    }

    async fn poll(waiting: &mut Waiting) -> Poll<Decision> {
        std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_go_in_the_order_in_which_they_came() {
        let (limiter, lever) = limiter(Quota::per_second(1).burst(3));
        assert!(limiter.check(&Key::of("a"), 3).is_allowed());
        let mut large = wait(&limiter, 3, 9 * SECOND);
        let mut small = wait(&limiter, 1, 9 * SECOND);
        assert!(poll(&mut large).await.is_pending() && poll(&mut small).await.is_pending());
        // One unit is there, and would do for the second.
        advance(&lever, SECOND + SECOND / 100).await;
        assert!(poll(&mut small).await.is_pending());
        advance(&lever, 2 * SECOND).await;
        assert!(poll(&mut small).await.is_pending(), "not its turn");
        assert!(matches!(poll(&mut large).await, Poll::Ready(it) if it.is_allowed()));
        drop(large);
        assert!(poll(&mut small).await.is_pending(), "nothing is left");
        advance(&lever, SECOND).await;
        assert!(matches!(poll(&mut small).await, Poll::Ready(it) if it.is_allowed()));
        drop(small);
        assert_eq!(limiter.0.lines.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_nothing_and_keeps_nobody_waiting() {
        let (limiter, lever) = limiter(Quota::per_second(1));
        assert!(limiter.check(&Key::of("a"), 1).is_allowed());
        let mut first = wait(&limiter, 1, 9 * SECOND);
        let mut second = wait(&limiter, 1, 9 * SECOND);
        assert!(poll(&mut first).await.is_pending() && poll(&mut second).await.is_pending());
        advance(&lever, 2 * SECOND).await;
        drop(first);
        assert_eq!(limiter.peek(&Key::of("a")).remaining(), 1);
        assert!(matches!(poll(&mut second).await, Poll::Ready(it) if it.is_allowed()));
        drop(second);
        assert_eq!(limiter.0.lines.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_or_has_no_point_is_denied_at_once() {
        let (limiter, _lever) = limiter(Quota::per_second(1));
        assert!(limiter.check(&Key::of("a"), 1).is_allowed());
        for (cost, max_wait) in [(1, SECOND - Duration::from_nanos(1)), (2, 100 * SECOND)] {
            let decision = limiter.until_ready(&Key::of("a"), cost, max_wait).await;
            assert!(!decision.is_allowed());
        }
        assert_eq!(limiter.0.lines.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_long_wait_a_short_one_ends_in_time_and_books_nothing() {
        let (limiter, lever) = limiter(Quota::per_second(1).burst(5));
        assert!(limiter.check(&Key::of("a"), 5).is_allowed());
        let mut long = wait(&limiter, 5, 9 * SECOND);
        let mut short = wait(&limiter, 1, 2 * SECOND);
        assert!(poll(&mut long).await.is_pending() && poll(&mut short).await.is_pending());
        advance(&lever, 2 * SECOND + SECOND / 100).await;
        let Poll::Ready(decision) = poll(&mut short).await else {
            panic!("it waits for more than it was told");
        };
        assert!(!decision.is_allowed() && decision.retry_after().is_some());
        drop(short);
        assert_eq!(limiter.peek(&Key::of("a")).remaining(), 2);
        advance(&lever, 3 * SECOND).await;
        assert!(matches!(poll(&mut long).await, Poll::Ready(it) if it.is_allowed()));
    }
}
