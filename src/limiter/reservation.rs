//! Costs that are known only afterwards: book what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::limiter::booking::{Booking, Place};
use crate::limiter::carry::Successor;
use crate::limiter::refunds::Counted;

impl RateLimiter {
    /// Books `cost` units on `key` until it is known what they come to: tokens of a model, bytes of an answer, a log-in
    /// that fails.
    ///
    /// # Errors
    /// The decision, if they do not fit. Nothing was booked then.
    ///
    /// # Examples
    /// ```
    /// use tidegate::{Key, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_minute(10_000));
    /// let tenant = Key::of("acme");
    /// let reservation = limiter.reserve(&tenant, 4_000).unwrap();
    /// assert_eq!(limiter.peek(&tenant).remaining(), 6_000);
    /// // The answer took 1 200 tokens.
    /// reservation.commit(1_200);
    /// assert_eq!(limiter.peek(&tenant).remaining(), 8_800);
    /// ```
    pub fn reserve(&self, key: &Key, cost: u32) -> Result<Reservation, Decision> {
        let mut limiter = self;
        let booking = loop {
            let inner = &*limiter.0;
            let refunds = &inner.refunds;
            match inner.local.reserve(*key, cost, inner.now(), refunds) {
                Some(booking) => break booking,
                None => limiter = &inner.successor().limiter,
            }
        };
        limiter.0.seen.count(&limiter.0.policies, &booking.decision);
        if !booking.decision.is_allowed() {
            return Err(booking.decision);
        }
        Ok(Reservation {
            limiter: limiter.clone(),
            key: *key,
            cost,
            booking,
            settled: false,
        })
    }

    /// Gives back the `units` that were booked last on `key`, as far as they have not come back by themselves; nothing to
    /// a key without a cell of its own, because the [table is full](super::TableStats).
    ///
    /// For what was booked a moment ago. Anything later is better [reserved](Self::reserve): a reservation knows when it
    /// was booked, and gives back nothing that has come back meanwhile or that is another's.
    pub fn refund(&self, key: &Key, units: u32) {
        let counted = Counted::default();
        self.where_it_counts(|inner| {
            let counting = inner.refunds.counting(&counted);
            inner
                .local
                .give_back_last(*key, units, inner.now(), counting)
        });
    }
}

/// Units that are booked until it is known what they come to. Made by [`RateLimiter::reserve`].
///
/// Dropping it cancels it.
///
/// # Guarantees
/// * What was reserved counts in full until it is settled, so what is committed never exceeds a quota, unless
///   [`Self::commit`] is told of more than was reserved.
/// * Given back is at most what others lost by the reservation: never what has come back by itself meanwhile.
/// * When the table is full, a key that was forgotten meanwhile gets nothing back, and what is counted on the overflow cell
///   is given back there unless a key was forgotten meanwhile among those that share it: what that one had spent is merged
///   with all that was booked before, and stays for as long as it takes to come back by itself.
/// * When another [plan](crate::limits::Limits::change) was brought meanwhile, all that counts on is given back in the
///   same way, but for what is counted on an overflow cell, a token bucket with another rate or burst, and a log that has
///   become shorter: what a booking means there cannot be known, and nothing is given back.
#[derive(Debug)]
#[must_use = "dropping a reservation cancels it"]
pub struct Reservation {
    limiter: RateLimiter,
    key: Key,
    cost: u32,
    booking: Booking,
    settled: bool,
}

impl Reservation {
    /// What was said when it was booked.
    pub const fn decision(&self) -> &Decision {
        &self.booking.decision
    }

    /// Units that are booked.
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// It came to `actual` units. What was reserved and not used is given back; what was used and not reserved is booked
    /// on top, beyond the limit if need be: whoever comes next waits until it has come back.
    pub fn commit(mut self, actual: u32) {
        self.settled = true;
        match actual.checked_sub(self.cost) {
            Some(more) => self
                .limiter
                .where_it_counts(|inner| inner.local.book(self.key, more, inner.now())),
            None => self.give_back(self.cost - actual),
        }
    }

    /// It came to nothing: gives everything back, as dropping it does.
    pub fn cancel(self) {}

    /// It came to what was reserved.
    pub(super) fn keep(self) {
        let cost = self.cost;
        self.commit(cost);
    }

    /// It came to what was reserved, or to nothing; says how the key stands then.
    pub(super) fn answered(self, keeps: bool) -> Decisions {
        let (limiter, key) = (self.limiter.clone(), self.key);
        if keeps {
            self.keep();
        } else {
            self.cancel();
        }
        limiter.peek_each(&key)
    }

    fn give_back(&self, units: u32) {
        let mut inner = &*self.limiter.0;
        let mut moved: Option<Place> = None;
        let counted = Counted::default();
        loop {
            let place = moved.as_ref().unwrap_or(&self.booking.place);
            let (at, counting) = (inner.now(), inner.refunds.counting(&counted));
            let given = inner
                .local
                .give_back(self.key, &self.booking, place, units, at, counting);
            if given.is_some() {
                return;
            }
            let Successor { limiter, carry } = inner.successor();
            let marks = carry.marks(place.marks.each());
            moved = Some(Place::moved(limiter.0.local.marks(marks)));
            inner = &limiter.0;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.give_back(self.cost);
        }
    }
}
