//! Costs that are known only afterwards: draw what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::LeasedLimiter;
use crate::leased::handle::Drawn;
use crate::leased::lease::Lease;

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
        let (decisions, drawn) = self.weigh(*key, cost, Drawn::Kept).await;
        self.count(decisions.binding());
        if !decisions.is_allowed() {
            return Err(*decisions.binding());
        }
        Ok(LeasedReservation::new(self, *key, cost, decisions, drawn))
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
#[derive(Debug)]
#[must_use = "dropping a reservation cancels it"]
pub struct LeasedReservation {
    limiter: LeasedLimiter,
    key: Key,
    cost: u32,
    decisions: Decisions,
    /// Of each policy; nothing where it was decided without the store.
    drawn: Vec<Lease>,
    settled: bool,
}

impl LeasedReservation {
    pub(super) fn new(
        limiter: &LeasedLimiter,
        key: Key,
        cost: u32,
        decisions: Decisions,
        drawn: Vec<Lease>,
    ) -> Self {
        Self {
            limiter: limiter.clone(),
            key,
            cost,
            decisions,
            drawn,
            settled: false,
        }
    }

    /// What was said when it was booked.
    pub const fn decision(&self) -> &Decision {
        self.decisions.binding()
    }

    pub(crate) const fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// It came to what was reserved.
    pub(crate) fn keep(mut self) {
        self.settled = true;
    }

    /// Units that are booked.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// It came to `actual` units. What was reserved and not used is put in hand; what was used and not reserved is booked
    /// on top, beyond the limit if need be, and told until the store knows of it. Neither waits.
    pub fn commit(mut self, actual: u32) {
        self.settle(actual);
    }

    /// It came to nothing, as when it is dropped.
    pub fn cancel(self) {}

    fn settle(&mut self, actual: u32) {
        if std::mem::replace(&mut self.settled, true) || actual == self.cost {
            return;
        }
        let shared = &*self.limiter.0.shared;
        let Some(more) = actual.checked_sub(self.cost) else {
            return self.put_back(self.cost - actual);
        };
        let (now, shard) = (shared.now(), shared.shard(self.key));
        let mut inner = shard.lock();
        if shared.may_ask(now.local) {
            let each = vec![u64::from(more); self.limiter.policies().len()];
            inner.tier.owe(self.key, &each, now);
            shared.notice(shard, &inner.tier);
        } else {
            drop(inner);
            shared.parts.book_without(self.key, more, shared.moment());
        }
    }

    fn put_back(&mut self, units: u32) {
        let shared = &*self.limiter.0.shared;
        shared.parts.denied.forget(self.key);
        if self.drawn.is_empty() {
            return shared
                .parts
                .give_back_without(self.key, units, shared.moment());
        }
        // What was drawn first is over first, and so was used.
        for lease in &mut self.drawn {
            lease.split(lease.units - units.min(lease.units));
        }
        let (now, shard) = (shared.now(), shared.shard(self.key));
        let mut inner = shard.lock();
        inner.tier.put_back(self.key, &self.drawn, now);
        shared.notice(shard, &inner.tier);
    }
}

impl Drop for LeasedReservation {
    fn drop(&mut self) {
        self.settle(0);
    }
}
