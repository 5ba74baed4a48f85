//! Costs that are known only afterwards: hold what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::layered::LayeredLimiter;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;

impl LayeredLimiter {
    /// Holds `cost` units on `key` until it is known what they come to, if they fit. Waits as [`Self::decide`] does.
    ///
    /// # Errors
    /// The decision, if they do not fit. Nothing is held then.
    ///
    /// # Cancel safety
    /// As [`Self::decide`].
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(limiter: tidegate::layered::LayeredLimiter) {
    /// use tidegate::Key;
    ///
    /// if let Ok(reservation) = limiter.reserve(&Key::of("acme"), 4_000).await {
    ///     // The answer took 1 200 tokens.
    ///     reservation.commit(1_200);
    /// }
    /// # }
    /// ```
    pub async fn reserve(&self, key: &Key, cost: u32) -> Result<LayeredReservation, Decision> {
        let held = self.hold(*key, cost).await?;
        Ok(LayeredReservation(held))
    }

    /// Gives back the `units` that this process booked last on `key`, as far as they have not come back by themselves:
    /// for what was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// # Guarantees
    /// * Given back is at most what this process has booked in the window in which it booked last, and nothing when the
    ///   window after that is over, or the key was forgotten or had to share a cell for want of room. Each call gives
    ///   back, so nothing is to be refunded twice.
    /// * Of what origin has heard nothing is taken back there, since counts only grow: those units are there for the next
    ///   costs of the key in this process, and for others they come back by themselves.
    pub fn refund(&self, key: &Key, units: u32) {
        self.0.shared.refund(*key, units);
    }
}

/// Units that are held until it is known what they come to. Made by [`LayeredLimiter::reserve`].
///
/// Dropping it cancels it.
///
/// # Guarantees
/// * What is held counts in full in this process, in the window in which it was reserved. Other processes hear of it when
///   it is committed: until then each of them may hold as much.
/// * What it came to counts in that window too, as far as it was held; what goes beyond, and all of it when the window
///   after that is over, counts in the present one.
/// * Settling it takes back exactly what it held: never what somebody else counted, also when the key was forgotten
///   meanwhile.
#[derive(Debug)]
#[must_use = "dropping a reservation cancels it"]
pub struct LayeredReservation(Held<LayeredLimiter>);

impl LayeredReservation {
    /// What was said when it was made.
    pub const fn decision(&self) -> &Decision {
        self.0.decisions().binding()
    }

    /// Units that are held.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.0.cost()
    }

    /// It came to `actual` units. What goes beyond the reserved is counted all the same, beyond the limit if need be.
    pub fn commit(mut self, actual: u32) {
        self.0.settle(actual);
    }

    /// It came to nothing: gives everything back, as dropping it does.
    pub fn cancel(self) {}

    /// It came to what was reserved.
    pub(crate) fn keep(self) {
        self.0.keep();
    }

    /// It came to what was reserved, or to nothing; says how the key stands then.
    pub(crate) fn answered(mut self, keeps: bool) -> Decisions {
        self.0.settle(if keeps { self.0.cost() } else { 0 });
        self.0.limiter().peek_each(&self.0.key())
    }
}

impl From<Held<LayeredLimiter>> for LayeredReservation {
    fn from(held: Held<LayeredLimiter>) -> Self {
        Self(held)
    }
}
