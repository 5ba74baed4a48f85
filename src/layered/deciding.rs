//! How layers ask a layered limiter, and how anybody waits for its quota: whoever came first goes first.

use crate::decision::Decision;
use crate::key::Key;
use crate::layered::shared::Seen;
use crate::layered::tiers::Holds;
use crate::layered::time::Moment;
use crate::layered::{LayeredLimiter, LayeredReservation};
use crate::limiter::count::Booking;
use crate::limiter::lines::Lines;
use crate::limiter::remote::{Attempt, Remote, Weighed};
use crate::time::Clock;
use std::time::Duration;

impl LayeredLimiter {
    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then.
    ///
    /// Of this process those who wait on one key are served in the order in which they came; who does not wait, and
    /// calls [`Self::decide`], is not kept back by them. The answer is a denial as soon as it is clear that the wait would
    /// be too long, or has no point. Where origin has to be heard first, that may take longer than `max_wait`, by no more
    /// than [`Self::decide`] takes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line. Nothing is booked before its turn has come and the cost fits.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        self.wait_for(*key, cost, max_wait).await
    }
}

impl Remote for LayeredLimiter {
    type Booked = Holds;
    type Asked = Seen;
    type Reservation = LayeredReservation;

    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    #[inline]
    fn count(&self, decision: &Decision) {
        self.0.seen.count(self.policies(), decision);
    }

    #[inline]
    fn attempt(&self, key: Key, cost: u32, booking: Booking) -> Attempt<Self> {
        self.attempt_at(key, cost, booking, &self.0.shared.moment())
    }

    /// What origin has answered may be about another key of the shard.
    async fn hear(&self, seen: Seen, key: Key, _: u32, _: Booking) -> Option<Weighed<Self>> {
        self.0.shared.shard(key).answer_after(seen).await;
        None
    }

    #[inline]
    async fn weigh(&self, key: Key, cost: u32, booking: Booking) -> Weighed<Self> {
        let attempt = |now: &Moment| match self.attempt_at(key, cost, booking, now) {
            Attempt::Decided(weighed) | Attempt::Final(weighed) => Ok(weighed),
            Attempt::Asked(seen) => Err(seen),
        };
        self.when_heard(key, attempt).await
    }

    async fn foresee(&self, key: Key, cost: u32, _: Booking) -> Option<Weighed<Self>> {
        let asked = self.ask(key, cost);
        (!asked.is_allowed()).then(|| (asked, Holds::default()))
    }

    async fn give_up(&self, key: Key, cost: u32) -> Weighed<Self> {
        let mut asked = self.ask(key, cost);
        asked.deny_until_reset();
        (asked, Holds::default())
    }

    fn settle(&self, key: Key, holds: Holds, cost: u32, actual: u32) {
        self.0.shared.settle(key, &holds, cost, actual);
    }
}
