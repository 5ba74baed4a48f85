//! Costs that are known only afterwards: book what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;
use crate::store::redis::rates::{Operation, Standing};
use crate::strict::StrictLimiter;

impl StrictLimiter {
    /// Books `cost` units on `key` until it is known what they come to.
    ///
    /// # Errors
    /// The decision, if they do not fit. Nothing was booked then, unless the store's answer was lost.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(limiter: tidegate::strict::StrictLimiter) {
    /// use tidegate::Key;
    ///
    /// if let Ok(reservation) = limiter.reserve(&Key::of("acme"), 4_000).await {
    ///     // The answer took 1 200 tokens.
    ///     reservation.commit(1_200).await;
    /// }
    /// # }
    /// ```
    pub async fn reserve(&self, key: &Key, cost: u32) -> Result<StrictReservation, Decision> {
        let held = self.hold(*key, cost).await?;
        Ok(StrictReservation(held))
    }

    /// Gives back the `units` that were booked last on `key`, as far as they have not come back by themselves: for what
    /// was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// If the store does not answer, they stay booked.
    pub async fn refund(&self, key: &Key, units: u32) {
        let inner = &*self.0;
        inner.parts().denied.forget(*key);
        let each = vec![u64::from(units); self.policies().len()];
        let undo = Operation::Undo {
            units: &each,
            id: None,
        };
        if units > 0 && self.ask(*key, undo).await.is_err() {
            self.give_back_without(*key, units);
        }
    }

    /// Those who book on one key at the same time share a message.
    pub(super) async fn book(&self, key: Key, units: u32) {
        let inner = &*self.0;
        inner.unheard.add(key, units, inner.moment());
        if self.tell(key).await.is_err() {
            inner.parts().book_in_share(key, units);
        }
    }

    pub(super) async fn give_back(
        &self,
        key: Key,
        booked: Option<Standing>,
        cost: u32,
        units: u32,
    ) {
        let Some(booked) = booked else {
            return self.give_back_without(key, units);
        };
        self.0.parts().denied.forget(key);
        let refund = Operation::GiveBack {
            units,
            booked: booked.now(),
            given_back: booked.given_back(),
            marks: &booked.marks(self.0.parts().rates.spelling(), cost),
        };
        // If the store does not answer, they stay booked.
        let _ = self.ask(key, refund).await;
    }

    /// What was admitted without the store, and is not told yet.
    fn give_back_without(&self, key: Key, units: u32) {
        let inner = &*self.0;
        if inner.parts().give_back_to_share(key, units) {
            inner.unheard.give_back(key, units, inner.moment());
        }
    }
}

/// Units that are booked until it is known what they come to. Made by [`StrictLimiter::reserve`].
///
/// Dropping it cancels it in the background.
///
/// # Guarantees
/// * What was reserved counts in full until it is settled.
/// * Given back is at most what others lost by the reservation, and once: a refund whose answer is lost is not repeated,
///   and the units then come back by themselves.
#[derive(Debug)]
#[must_use = "dropping a reservation cancels it"]
pub struct StrictReservation(Held<StrictLimiter>);

impl StrictReservation {
    /// What was said when it was booked.
    pub const fn decision(&self) -> &Decision {
        self.0.decisions().binding()
    }

    /// Units that are booked.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.0.cost()
    }

    /// It came to `actual` units. What was reserved and not used is given back; what was used and not reserved is booked
    /// on top, beyond the limit if need be. The latter is told again until the store knows of it.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may have done so or not.
    pub async fn commit(self, actual: u32) {
        self.0.settled(actual).await;
    }

    /// It came to nothing: gives everything back.
    pub async fn cancel(self) {
        self.commit(0).await;
    }

    /// It came to what was reserved.
    pub(crate) fn keep(self) {
        self.0.keep();
    }

    /// It came to what was reserved, or to nothing; says how the key stood when it was booked.
    pub(crate) fn answered(self, keeps: bool) -> Decisions {
        self.0.answered(keeps)
    }
}

impl From<Held<StrictLimiter>> for StrictReservation {
    fn from(held: Held<StrictLimiter>) -> Self {
        Self(held)
    }
}
