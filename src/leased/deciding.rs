//! How layers ask a leased limiter, and how anybody waits for its quota: whoever came first goes first.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::caller::Caller;
use crate::leased::handle::{Attempt, Drawn};
use crate::leased::lease::Lease;
use crate::leased::{LeasedLimiter, LeasedReservation};
use crate::limiter::{Admission, Asking, Count, Counting, Deciding};
use std::time::Duration;

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
        let (decisions, _) = self.in_line(*key, cost, max_wait, Drawn::Spent).await;
        self.count(decisions.binding());
        *decisions.binding()
    }

    /// Decides on a request of a layer.
    #[inline]
    pub(crate) fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        let waits = !asking.max_wait.is_zero();
        // Whoever waits already goes first.
        if waits && self.0.lines.has(&key) {
            return self.decide_later(key, cost, asking, None);
        }
        match self.attempt(key, cost, drawn(asking)) {
            Attempt::Wait(caller) => self.decide_later(key, cost, asking, Some(caller)),
            Attempt::Decided(decisions, _)
                if waits && is_worth_waiting(&decisions, asking.max_wait) =>
            {
                self.decide_later(key, cost, asking, None)
            }
            Attempt::Decided(decisions, drawn) => {
                Deciding::Now(self.admission(key, cost, asking, decisions, drawn))
            }
            Attempt::Without => {
                let decisions = self.without(key, cost);
                Deciding::Now(self.admission(key, cost, asking, decisions, Vec::new()))
            }
        }
    }

    #[cold]
    fn decide_later(
        &self,
        key: Key,
        cost: u32,
        asking: Asking,
        caller: Option<Caller>,
    ) -> Deciding {
        let limiter = self.clone();
        Deciding::Later(Box::pin(async move {
            let heard = match caller {
                Some(caller) => Some(limiter.hear(caller, cost).await),
                None => None,
            };
            let max_wait = asking.max_wait;
            let (decisions, leases) = match heard {
                Some(heard) if !is_worth_waiting(&heard.0, max_wait) => heard,
                _ => limiter.in_line(key, cost, max_wait, drawn(asking)).await,
            };
            limiter.admission(key, cost, asking, decisions, leases)
        }))
    }

    #[inline]
    fn admission(
        &self,
        key: Key,
        cost: u32,
        asking: Asking,
        decisions: Decisions,
        drawn: Vec<Lease>,
    ) -> Admission {
        self.count(decisions.binding());
        let counting = match asking.count {
            Count::All => None,
            _ if !decisions.is_allowed() => None,
            count => {
                let decisions = decisions.clone();
                let reservation = LeasedReservation::new(self, key, cost, decisions, drawn);
                Some(Box::new(Counting::of_leased(reservation, count)))
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
        drawn: Drawn,
    ) -> (Decisions, Vec<Lease>) {
        let clock = &self.0.shared.parts.clock;
        let began = clock.now();
        if self.0.lines.has(&key)
            && let Some(denied) = self.foreseen(key, cost)
            && !is_worth_waiting(&denied, max_wait)
        {
            return (denied, Vec::new());
        }
        let place = self.0.lines.join(key);
        let Ok(_turn) = tokio::time::timeout(max_wait, place.turn()).await else {
            // Those in front are still waiting: what would fit now is theirs.
            let mut standing = self.peek_each(&key);
            standing.deny_until_reset();
            return (standing, Vec::new());
        };
        loop {
            let (decisions, leases) = self.weigh(key, cost, drawn).await;
            let left = max_wait.saturating_sub(clock.now().since(began));
            match decisions.binding().retry_after() {
                Some(wait) if wait <= left => tokio::time::sleep(wait).await,
                _ => return (decisions, leases),
            }
        }
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

const fn drawn(asking: Asking) -> Drawn {
    match asking.count {
        Count::All => Drawn::Spent,
        _ => Drawn::Kept,
    }
}

/// Whether a denial is over in time.
fn is_worth_waiting(denied: &Decisions, max_wait: Duration) -> bool {
    let wait = denied.binding().retry_after();
    wait.is_some_and(|wait| wait <= max_wait)
}
