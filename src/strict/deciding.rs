//! How layers ask a strict limiter, and how anybody waits for it.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::{Admission, Asking, Count, Counting, Deciding};
use crate::strict::StrictLimiter;
use std::time::Duration;

impl StrictLimiter {
    /// Waits until `cost` units fit on `key`, at most `max_wait`, and books them then.
    ///
    /// Each waits for itself, as long as the store has told it to; of those whose time has come at once, any may be
    /// first. The answer is a denial as soon as it is clear that the wait would be too long, or has no point.
    ///
    /// # Cancel safety
    /// As [`Self::decide`].
    pub async fn until_ready(&self, key: &Key, cost: u32, max_wait: Duration) -> Decision {
        let began = self.0.parts().clock.now();
        loop {
            let decision = self.decide(key, cost).await;
            let Some(wait) = decision.retry_after() else {
                return decision;
            };
            let waited = self.0.parts().clock.now().since(began);
            if waited.saturating_add(wait) > max_wait {
                return decision;
            }
            tokio::time::sleep(wait).await;
        }
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
        let began = self.0.parts().clock.now();
        loop {
            let admission = self.admit_now(key, cost, asking.count).await;
            let waited = self.0.parts().clock.now().since(began);
            match admission.decisions.binding().retry_after() {
                Some(wait) if waited.saturating_add(wait) <= asking.max_wait => {
                    tokio::time::sleep(wait).await;
                }
                _ => return admission,
            }
        }
    }

    async fn admit_now(&self, key: Key, cost: u32, count: Count) -> Admission {
        if let Count::All = count {
            return Admission {
                decisions: self.decide_each(&key, cost).await,
                counting: None,
            };
        }
        match self.reserve_each(key, cost).await {
            Ok(reservation) => Admission {
                decisions: reservation.decisions().clone(),
                counting: Some(Box::new(Counting::of_strict(reservation, count))),
            },
            Err(decisions) => Admission {
                decisions,
                counting: None,
            },
        }
    }
}
