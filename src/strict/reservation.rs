//! Costs that are known only afterwards: book what it may cost, settle what it did.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::limiter::finished::Finished;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;
use crate::rule::Moment;
use crate::store::redis::rates::{GiveBack, Standing};
use crate::strict::StrictLimiter;
use crate::strict::booked::{Booked, Unused};
use crate::strict::failure::Fallback;

impl StrictLimiter {
    /// Books `cost` units on `key` until it is known what they come to.
    ///
    /// # Errors
    /// The decision, if they do not fit. Nothing was booked then, unless the store's answer was lost.
    ///
    /// # Cancel safety
    /// Dropped within its runtime after it was polled, it goes on in the background, and what was booked goes back as soon
    /// as that is known.
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
        let (limiter, key) = (self.clone(), *key);
        let held = Finished::new(async move { limiter.hold(key, cost).await }).await?;
        Ok(StrictReservation(held))
    }

    /// Gives back the `units` that were booked last on `key`, as far as they have not come back by themselves: for what
    /// was booked a moment ago. Anything later is better [reserved](Self::reserve).
    ///
    /// Told until the store has confirmed it, as what a [reservation](StrictReservation) gives back, with which it shares
    /// its messages. What a local share has admitted is given back to it. Where everything passes while the store does not
    /// answer, by [`OnFailure::Allow`], what passed uncounted is taken to be refunded first, as long as it would have
    /// counted: no refund of it is one of what others had booked.
    ///
    /// # Cancel safety
    /// Dropped after it was polled, it goes on in the background.
    ///
    /// [`OnFailure::Allow`]: super::OnFailure::Allow
    pub async fn refund(&self, key: &Key, units: u32) {
        let (inner, key) = (&*self.0, *key);
        let parts = inner.parts();
        parts.denied.forget(key);
        if units == 0 {
            return;
        }
        let now = inner.moment();
        let in_store = match &parts.fallback {
            Fallback::Deny => units,
            Fallback::Allow(uncounted) if uncounted.is_full(now) => 0,
            Fallback::Allow(uncounted) => uncounted.give_back(key, units, now),
            Fallback::Share(_) => {
                // What the store is yet to hear of was booked last.
                let in_store = inner.unheard.give_back(key, units, now);
                parts.give_back_to_share(key, units - in_store);
                in_store
            }
        };
        if in_store > 0 {
            inner.unheard.go_back_last(key, in_store, now);
            let _ = self.tell(key).await;
        }
    }

    /// What was booked for `cost` came to `actual`. Whether there is anything to tell the store.
    pub(super) fn note(&self, key: Key, booked: Booked, cost: u32, actual: u32) -> bool {
        let inner = &*self.0;
        if actual == cost {
            return false;
        }
        if actual > cost {
            inner.unheard.add(key, actual - cost, inner.moment());
            return true;
        }
        let units = cost - actual;
        inner.parts().denied.forget(key);
        match booked {
            Booked::InStore(booked) => {
                self.go_back(key, &booked, cost, units);
                true
            }
            Booked::InShare(moment) => self.give_back_shared(key, cost, units, moment),
            Booked::Passed(passed) => match passed.settled(units) {
                Unused::InStore(booked) => {
                    self.go_back(key, &booked, cost, units);
                    true
                }
                Unused::Uncounted(moment) => {
                    inner.uncount(key, cost, units, moment);
                    false
                }
                Unused::Nowhere => false,
            },
            Booked::Nothing => false,
        }
    }

    /// Tells the store what was noted on `key`, of which `more` units were booked on top. Those who do so on one key at
    /// the same time share a message.
    pub(super) async fn tell_of(&self, key: Key, more: u32) {
        if self.tell(key).await.is_err() && more > 0 {
            self.0.parts().book_in_share(key, more);
        }
    }

    /// Units of a booking go back with the next message.
    pub(super) fn go_back(&self, key: Key, booked: &Standing, cost: u32, units: u32) {
        let inner = &*self.0;
        let booking = booked.booking(inner.parts().rates.spelling(), cost);
        let what = GiveBack::booked(units, booking);
        inner.unheard.go_back(key, units, what);
    }

    /// The last `units` of `cost` that a share admitted at `moment`. Whether there is anything to tell the store, which may have heard of it since.
    fn give_back_shared(&self, key: Key, cost: u32, units: u32, moment: Moment) -> bool {
        let (inner, now) = (&*self.0, self.0.moment());
        // What has come back meanwhile may be somebody else's.
        let left = inner.parts().untold.left(cost, units, moment, now);
        if left == 0 {
            return false;
        }
        inner.parts().give_back_to_share(key, left);
        let in_store = inner.unheard.give_back(key, left, now);
        if in_store > 0 {
            let spent = (cost, moment);
            inner.unheard.go_back_of(key, in_store, spent, now);
        }
        in_store > 0
    }
}

/// Units that are booked until it is known what they come to. Made by [`StrictLimiter::reserve`].
///
/// Dropping it cancels it in the background.
///
/// # Guarantees
/// * What was reserved counts in full until it is settled.
/// * What goes back is told until the store has confirmed it: at once, with the next question about its key, and in the
///   background, where it is repeated after the circuit breaker's pause, then after twice that, up to a pause of thirty
///   times the first. It needs the runtime for it, and goes on when the limiter was dropped.
/// * It is given back once, however often it is told, and never more than others lose by the reservation at the moment at
///   which the store hears of it. What has come back by itself by then is not told any more.
/// * Units stay booked, until they come back by themselves, where the process ends before the store has heard of them,
///   where 100 000 bookings wait for it already (see [`StrictStats::kept`](super::StrictStats::kept)), and where an answer
///   was lost: for good, of a request that [`OnFailure::Allow`](super::OnFailure::Allow) let pass, or until 64 other
///   processes had told the store of the key. So do most units that a local share had admitted and the store was told of
///   later: of a log, and of a sliding window in the one after it.
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
    /// on top, beyond the limit if need be. Either is told until the store knows of it.
    ///
    /// # Cancel safety
    /// Dropped after it was polled, it goes on in the background; before that, it is as the reservation dropped.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;
    use crate::strict::OnFailure;
    use crate::strict::unheard::What;
    use crate::time::Clock;
    use std::time::Duration;

    /// The script leaves out of a bucket what has come back by itself: what is told must not leave it out as well.
    #[test]
    fn of_what_a_share_admitted_and_the_store_has_heard_all_goes_back_that_is_left() {
        let bucket = Quota::per_second(10);
        let window = bucket.sliding();
        // Of a bucket those that were used came back first.
        let cases = [
            (bucket, 0, 5),
            (bucket, 2, 5),
            (window, 0, 5),
            (window, 2, 3),
        ];
        for (quota, actual, told) in cases {
            let (clock, lever) = Clock::manual();
            lever.advance(Duration::from_secs(1_000));
            let nowhere = RedisStore::new("redis://127.0.0.1:1").unwrap();
            let limiter = StrictLimiter::builder(nowhere, "heard", quota)
                .on_failure(OnFailure::local_share(1))
                .clock(clock);
            let limiter = limiter.build().unwrap();
            let (inner, key) = (&*limiter.0, Key::of("a"));
            let moment = inner.moment();
            let (_, booked) = limiter.without(key, 5, None);
            assert!(inner.unheard.next(key, moment).is_ok_and(|it| it.is_some()));
            inner.unheard.heard(key, moment);
            lever.advance(Duration::from_millis(200));
            assert!(limiter.note(key, booked, 5, actual));
            let sent = inner.unheard.next(key, inner.moment()).expect("room");
            let What::GivesBack(each) = sent.expect("what is left").what else {
                panic!("it was admitted");
            };
            let rules = inner.parts().rates.spelling().rules();
            let expected = GiveBack::last([told].into(), rules, moment);
            assert_eq!(format!("{each:?}"), format!("[{expected:?}]"), "{quota}");
        }
    }
}
