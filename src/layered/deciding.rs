//! How layers ask a layered limiter, and how anybody waits for its quota: whoever came first goes first.

use crate::decision::{Decision, Decisions, Verdict};
use crate::key::Key;
use crate::layered::handle::Attempt;
use crate::layered::hold::Booking;
use crate::layered::shared::Seen;
use crate::layered::tiers::Holds;
use crate::layered::{LayeredLimiter, LayeredReservation};
use crate::limiter::{Admission, Asking, Count, Counting, Deciding};
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
        let (decisions, _) = self.in_line(*key, cost, max_wait, Booking::Accept).await;
        self.count(decisions.binding());
        *decisions.binding()
    }

    /// Decides on a request of a layer.
    #[inline]
    pub(crate) fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        let waits = !asking.max_wait.is_zero();
        // Whoever waits already goes first.
        let behind = waits && self.0.lines.has(&key);
        let mut asked = None;
        if !behind {
            let now = self.0.shared.moment();
            match self.attempt(key, cost, booking(asking), &now) {
                Attempt::Wait(seen) => asked = Some(seen),
                Attempt::Decided(decisions, _)
                    if waits && is_worth_waiting(&decisions, asking.max_wait) => {}
                Attempt::Decided(decisions, holds) => {
                    return Deciding::Now(self.admission(key, cost, asking, decisions, holds));
                }
            }
        }
        self.decide_later(key, cost, asking, asked)
    }

    #[cold]
    fn decide_later(&self, key: Key, cost: u32, asking: Asking, asked: Option<Seen>) -> Deciding {
        let limiter = self.clone();
        Deciding::Later(Box::pin(async move {
            if let Some(seen) = asked {
                limiter.0.shared.shard(key).answer_after(seen).await;
            }
            let (decisions, holds) = if asking.max_wait.is_zero() {
                limiter.weigh(key, cost, booking(asking)).await
            } else {
                let max_wait = asking.max_wait;
                limiter.in_line(key, cost, max_wait, booking(asking)).await
            };
            limiter.admission(key, cost, asking, decisions, holds)
        }))
    }

    #[inline]
    fn admission(
        &self,
        key: Key,
        cost: u32,
        asking: Asking,
        decisions: Decisions,
        holds: Holds,
    ) -> Admission {
        let decision = *decisions.binding();
        self.count(&decision);
        let counting = match asking.count {
            Count::All => None,
            _ if !decision.is_allowed() => None,
            count => {
                let reservation = LayeredReservation::new(self, key, cost, decision, holds);
                Some(Box::new(Counting::of_layered(reservation, count)))
            }
        };
        Admission {
            decisions,
            counting,
        }
    }

    async fn in_line(
        &self,
        key: Key,
        cost: u32,
        max_wait: Duration,
        booking: Booking,
    ) -> (Decisions, Holds) {
        let (shared, lines) = (&*self.0.shared, &self.0.lines);
        let began = shared.clock.now();
        let asked = self.ask(key, cost);
        if !asked.is_allowed() && !is_worth_waiting(&asked, max_wait) {
            return (asked, Holds::default());
        }
        let place = lines.join(key);
        let Ok(_turn) = tokio::time::timeout(max_wait, place.turn()).await else {
            // Those in front are still waiting: what would fit now is theirs.
            let asked = self.ask(key, cost);
            let mut binding = *asked.binding();
            if binding.is_allowed() {
                binding.outcome = Verdict::Deny;
                binding.retry_after_nanos = binding.reset_after_nanos.max(1);
            }
            return (asked.with(binding), Holds::default());
        };
        loop {
            let (decisions, holds) = self.weigh(key, cost, booking).await;
            let left = max_wait.saturating_sub(shared.clock.now().since(began));
            match decisions.binding().retry_after() {
                Some(wait) if wait <= left => tokio::time::sleep(wait).await,
                _ => return (decisions, holds),
            }
        }
    }
}

const fn booking(asking: Asking) -> Booking {
    match asking.count {
        Count::All => Booking::Accept,
        _ => Booking::Reserve,
    }
}

/// Whether a denial is over in time.
fn is_worth_waiting(denied: &Decisions, max_wait: Duration) -> bool {
    let wait = denied.binding().retry_after();
    wait.is_some_and(|wait| wait <= max_wait)
}
