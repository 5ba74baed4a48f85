//! How layers ask a leased limiter, and how anybody waits for its quota: whoever came first goes first.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::booked::Booked;
use crate::leased::caller::Caller;
use crate::leased::handle::{Here, Missing};
use crate::leased::shared::Reply;
use crate::leased::{LeasedLimiter, LeasedReservation};
use crate::limiter::count::Booking;
use crate::limiter::lines::Lines;
use crate::limiter::remote::{Attempt, Remote, Weighed};
use crate::time::Clock;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

impl LeasedLimiter {
    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then.
    ///
    /// Of this process those who wait on one key are served in the order in which they came; who does not wait, and
    /// calls [`Self::decide`], is not kept back by them. The answer is a denial as soon as it is clear that the wait would
    /// be too long, or has no point: to those behind others by what the store said within a second, and else in their turn. Where the store has to be asked, that may take longer than `max_wait`, by no more
    /// than [`Self::decide`] takes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; what had come for it is put in hand.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers.
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        self.wait_for(*key, cost, max_wait).await
    }

    /// The denial that is clear before it is this caller's turn: of what can never be, or by what the store said lately.
    fn foreseen(&self, key: Key, cost: u32) -> Option<Decisions> {
        let shared = &self.0.shared;
        let now = shared.now();
        if cost == 0 {
            return None;
        }
        let denial = || shared.shard(key).lock().tier.denial(key, cost, now);
        self.never(cost, now).or_else(denial)
    }
}

impl Remote for LeasedLimiter {
    type Booked = Booked;
    type Asked = Caller;
    type Reservation = LeasedReservation;

    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn clock(&self) -> &Clock {
        &self.0.shared.parts.clock
    }

    fn count(&self, decision: &Decision) {
        self.0.seen.count(self.policies(), decision);
    }

    #[inline]
    fn attempt(&self, key: Key, cost: u32, booking: Booking) -> Attempt<Self> {
        let missing = match self.here(key, cost, booking) {
            Here::Decided(decisions, leases) => {
                return Attempt::Decided((decisions, Booked::InHand(leases)));
            }
            Here::Without => return Attempt::Final(self.without(key, cost)),
            Here::Missing(missing) => missing,
        };
        let (
            shared,
            Missing {
                shard,
                mut inner,
                now,
            },
        ) = (&self.0.shared, missing);
        let (sender, reply) = oneshot::channel();
        let ticket = inner.wait(key, cost, now, sender);
        shared.notice(shard, &inner.tier);
        drop(inner);
        shared.counts.waits.fetch_add(1, Ordering::Relaxed);
        Attempt::Asked(Caller::new(Arc::clone(shared), key, ticket, reply))
    }

    async fn hear(
        &self,
        caller: Caller,
        key: Key,
        cost: u32,
        booking: Booking,
    ) -> Option<Weighed<Self>> {
        let (decisions, leases) = match caller.hear().await {
            Reply::Decided(decisions, leases) => (decisions, leases),
            Reply::Without => return Some(self.without(key, cost)),
        };
        if booking == Booking::Spent {
            self.note_spent(key, &leases);
        }
        Some((decisions, Booked::InHand(leases)))
    }

    async fn foresee(&self, key: Key, cost: u32, _: Booking) -> Option<Weighed<Self>> {
        let behind = self.0.lines.has(&key);
        let denied = behind.then(|| self.foreseen(key, cost)).flatten()?;
        Some((denied, Booked::Nothing))
    }

    async fn give_up(&self, key: Key, _: u32) -> Weighed<Self> {
        let mut standing = self.peek_each(&key);
        standing.deny_until_reset();
        (standing, Booked::Nothing)
    }

    fn settle(&self, key: Key, booked: Booked, cost: u32, actual: u32) {
        let Some(more) = actual.checked_sub(cost) else {
            let units = cost - actual;
            self.0.shared.parts.denied.forget(key);
            return match booked {
                Booked::InHand(drawn) => self.put_back(key, drawn, units),
                Booked::Without(moment) => self.give_back_without(key, cost, units, moment),
                Booked::Nothing => {}
            };
        };
        if let Booked::InHand(drawn) = &booked {
            self.note_spent(key, drawn);
        }
        if more > 0 {
            self.book(key, more);
        }
    }
}
