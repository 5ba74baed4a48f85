//! Costs that are known only afterwards: book what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::store::redis::rates::{Operation, StoreMoment};
use crate::strict::StrictLimiter;
use crate::strict::handle::Weighed;

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
        let weighed = self.weigh(*key, cost).await;
        let reserved = self.reservation(*key, cost, weighed);
        reserved.map_err(|decisions| *decisions.binding())
    }

    /// The reservation that a booking becomes, or the answers of all policies.
    pub(super) fn reservation(
        &self,
        key: Key,
        cost: u32,
        weighed: Weighed,
    ) -> Result<StrictReservation, Decisions> {
        self.0.count(weighed.decisions.binding());
        if !weighed.decisions.is_allowed() {
            return Err(weighed.decisions);
        }
        let spelling = self.0.parts().rates.spelling();
        let booking = weighed.standing.map(|standing| Booking {
            booked: standing.now(),
            given_back: standing.given_back(),
            marks: standing.marks(spelling, cost),
        });
        Ok(StrictReservation {
            limiter: self.clone(),
            key,
            cost,
            decisions: weighed.decisions,
            booking,
            settled: false,
        })
    }

    /// Gives back the `units` that were booked last on `key`, as far as they have not come back by themselves: for what
    /// was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// If the store does not answer, they stay booked.
    pub async fn refund(&self, key: &Key, units: u32) {
        let inner = &*self.0;
        inner.parts().denied.forget(*key);
        if units > 0 && self.ask(*key, Operation::Undo(units)).await.is_err() {
            self.give_back_without(*key, units);
        }
    }

    async fn book(&self, key: Key, units: u32) {
        let inner = &*self.0;
        let each = vec![u64::from(units); self.policies().len()];
        if self.ask(key, Operation::Book(&each)).await.is_err() {
            let moment = inner.moment();
            inner.parts().book_without(key, units, moment);
        }
    }

    async fn give_back(&self, key: Key, booking: Option<Booking>, units: u32) {
        if units == 0 {
            return;
        }
        let Some(booking) = booking else {
            return self.give_back_without(key, units);
        };
        self.0.parts().denied.forget(key);
        let refund = Operation::GiveBack {
            units,
            booked: booking.booked,
            given_back: booking.given_back,
            marks: &booking.marks,
        };
        // If the store does not answer, they stay booked.
        let _ = self.ask(key, refund).await;
    }

    /// What was admitted without the store, and is not told yet.
    fn give_back_without(&self, key: Key, units: u32) {
        let inner = &*self.0;
        let moment = inner.moment();
        inner.parts().give_back_without(key, units, moment);
    }
}

/// A booking in the store, as its refund needs to know it.
#[derive(Debug)]
struct Booking {
    booked: StoreMoment,
    given_back: u64,
    marks: Box<[u64]>,
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
pub struct StrictReservation {
    limiter: StrictLimiter,
    key: Key,
    cost: u32,
    decisions: Decisions,
    /// None where it was decided without the store.
    booking: Option<Booking>,
    settled: bool,
}

impl StrictReservation {
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

    /// It came to `actual` units. What was reserved and not used is given back; what was used and not reserved is booked
    /// on top, beyond the limit if need be. The latter is told again until the store knows of it.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may have done so or not.
    pub async fn commit(mut self, actual: u32) {
        self.settled = true;
        let booking = self.booking.take();
        match actual.checked_sub(self.cost) {
            Some(0) => {}
            Some(more) => self.limiter.book(self.key, more).await,
            None => {
                let unused = self.cost - actual;
                self.limiter.give_back(self.key, booking, unused).await;
            }
        }
    }

    /// It came to nothing: gives everything back.
    pub async fn cancel(self) {
        self.commit(0).await;
    }
}

impl Drop for StrictReservation {
    /// Without a runtime to do it on, the units stay booked and come back by themselves.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (limiter, key, cost) = (self.limiter.clone(), self.key, self.cost);
            let booking = self.booking.take();
            runtime.spawn(async move { limiter.give_back(key, booking, cost).await });
        }
    }
}
