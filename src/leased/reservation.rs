//! Costs that are known only afterwards: draw what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::leased::LeasedLimiter;
use crate::leased::lease::Lease;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;

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
    /// * While the store does not answer, what was admitted without it is given back where it was.
    pub fn refund(&self, key: &Key, units: u32) {
        let shared = &*self.0.shared;
        shared.parts.denied.forget(*key);
        let (now, shard) = (shared.now(), shared.shard(*key));
        let mut inner = shard.lock();
        let back = inner.tier.refund(*key, units, now);
        shared.notice(shard, &inner.tier);
        drop(inner);
        if back < units && !shared.may_ask(now.local) {
            let moment = shared.moment();
            shared.parts.give_back_without(*key, units - back, moment);
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
        shared.parts.denied.forget(key);
        if drawn.is_empty() {
            return shared.parts.give_back_without(key, units, shared.moment());
        }
        // What was drawn first is over first, and so was used.
        let used = |lease: &mut Lease| lease.split(lease.units - units.min(lease.units));
        let used: Vec<Lease> = drawn.iter_mut().map(used).collect();
        let (now, shard) = (shared.now(), shared.shard(key));
        let mut inner = shard.lock();
        inner.tier.note_spent(key, &used, now);
        inner.tier.put_back(key, &drawn, now);
        shared.notice(shard, &inner.tier);
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
/// * What a local share had admitted goes back to it until the store has heard of it, and then stays booked until it
///   comes back by itself.
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
