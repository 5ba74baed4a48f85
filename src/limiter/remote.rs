//! The one way of a request through a limiter that may have to hear from a store first: decided at once, after an answer,
//! or in line, where whoever came first goes first.
//!
//! ```text
//!   attempt --> decided ------------------------------> admission
//!       |          | a denial that is over in time          ^
//!       |          v                                        |
//!       |        in line: foresee, wait for the turn, weigh |
//!       v          ^ asked again, or a denial as above      |
//!     asked --> hear ---------------------------------------+
//! ```

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::limiter::count::Booking;
use crate::limiter::held::Held;
use crate::limiter::lines::Lines;
use crate::limiter::{Admission, AnyReservation, Asking, Count, Counting, Deciding};
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// A limiter whose decisions may take time.
pub(crate) trait Remote: Clone + fmt::Debug + Send + Sync + 'static {
    /// What a reservation has to know of what was booked.
    type Booked: fmt::Debug + Send;
    /// A question that was asked, to be waited for.
    type Asked: Send + 'static;
    type Reservation: From<Held<Self>> + Into<AnyReservation>;

    fn lines(&self) -> &Lines;

    fn clock(&self) -> &Clock;

    /// Counts what was said to somebody.
    fn count(&self, decision: &Decision);

    /// Decides if nothing has to be heard for it, and else asks.
    fn attempt(&self, key: Key, cost: u32, booking: Booking) -> Attempt<Self>;

    /// What came of a question; none if it is to be weighed again.
    fn hear(
        &self,
        asked: Self::Asked,
        key: Key,
        cost: u32,
        booking: Booking,
    ) -> impl Future<Output = Option<Weighed<Self>>> + Send;

    /// What can be said to somebody who has no place in line yet. Final, unless it is a denial that is over in time.
    fn foresee(
        &self,
        key: Key,
        cost: u32,
        booking: Booking,
    ) -> impl Future<Output = Option<Weighed<Self>>> + Send;

    /// What is said to somebody who has waited long enough while others are in front: what would fit now is theirs.
    fn give_up(&self, key: Key, cost: u32) -> impl Future<Output = Weighed<Self>> + Send;

    /// Units after a decision for which those behind may ask all at once.
    fn room_behind(&self, _decision: &Decision) -> u32 {
        0
    }

    /// What was booked for `cost` came to `actual`. Does not wait.
    fn settle(&self, key: Key, booked: Self::Booked, cost: u32, actual: u32);

    /// As [`Self::settle`], ready when it is done.
    fn settled(
        &self,
        key: Key,
        booked: Self::Booked,
        cost: u32,
        actual: u32,
    ) -> impl Future<Output = ()> + Send {
        async move { self.settle(key, booked, cost, actual) }
    }

    /// Decides, however long it takes to hear what has to be heard.
    #[inline]
    fn weigh(
        &self,
        key: Key,
        cost: u32,
        booking: Booking,
    ) -> impl Future<Output = Weighed<Self>> + Send {
        async move {
            loop {
                match self.attempt(key, cost, booking) {
                    Attempt::Decided(weighed) | Attempt::Final(weighed) => return weighed,
                    Attempt::Asked(asked) => {
                        if let Some(weighed) = self.hear(asked, key, cost, booking).await {
                            return weighed;
                        }
                    }
                }
            }
        }
    }

    /// Decides on a request of a layer.
    #[inline]
    fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        let waits = !asking.max_wait.is_zero();
        // Whoever waits already goes first.
        if waits && self.lines().has(&key) {
            return self.decide_later(key, cost, asking, None);
        }
        match self.attempt(key, cost, asking.count.booking()) {
            Attempt::Asked(asked) => self.decide_later(key, cost, asking, Some(asked)),
            Attempt::Decided((decisions, _))
                if waits && is_worth_waiting(&decisions, asking.max_wait) =>
            {
                self.decide_later(key, cost, asking, None)
            }
            Attempt::Decided(weighed) | Attempt::Final(weighed) => {
                Deciding::Now(self.admission(key, cost, asking.count, weighed))
            }
        }
    }

    #[cold]
    fn decide_later(
        &self,
        key: Key,
        cost: u32,
        asking: Asking,
        asked: Option<Self::Asked>,
    ) -> Deciding {
        let limiter = self.clone();
        Deciding::Later(Box::pin(async move {
            let (booking, max_wait) = (asking.count.booking(), asking.max_wait);
            let heard = match asked {
                Some(asked) => limiter.hear(asked, key, cost, booking).await,
                None => None,
            };
            let weighed = match heard {
                Some(heard) if !is_worth_waiting(&heard.0, max_wait) => heard,
                _ if max_wait.is_zero() => limiter.weigh(key, cost, booking).await,
                _ => limiter.in_line(key, cost, max_wait, booking).await,
            };
            limiter.admission(key, cost, asking.count, weighed)
        }))
    }

    #[inline]
    fn admission(&self, key: Key, cost: u32, count: Count, weighed: Weighed<Self>) -> Admission {
        let (decisions, booked) = weighed;
        self.count(decisions.binding());
        let counting = match count.booking() {
            Booking::Kept if decisions.is_allowed() => {
                let held = Held::new(self, key, cost, decisions.clone(), booked);
                Some(Box::new(Counting::of(Self::Reservation::from(held), count)))
            }
            _ => None,
        };
        Admission {
            decisions,
            counting,
        }
    }

    /// Books until it is known what it comes to, if it fits.
    fn hold(
        &self,
        key: Key,
        cost: u32,
    ) -> impl Future<Output = Result<Held<Self>, Decision>> + Send {
        async move {
            let (decisions, booked) = self.weigh(key, cost, Booking::Kept).await;
            self.count(decisions.binding());
            if !decisions.is_allowed() {
                return Err(*decisions.binding());
            }
            Ok(Held::new(self, key, cost, decisions, booked))
        }
    }

    /// Waits until `cost` fits, in line with the others of this process, and books it then.
    fn wait_for(
        &self,
        key: Key,
        cost: u32,
        max_wait: Duration,
    ) -> impl Future<Output = Decision> + Send {
        async move {
            let (decisions, _) = self.in_line(key, cost, max_wait, Booking::Spent).await;
            self.count(decisions.binding());
            *decisions.binding()
        }
    }

    fn in_line(
        &self,
        key: Key,
        cost: u32,
        max_wait: Duration,
        booking: Booking,
    ) -> impl Future<Output = Weighed<Self>> + Send {
        async move {
            let began = self.clock().now();
            let left = || max_wait.saturating_sub(self.clock().now().since(began));
            if let Some(weighed) = self.foresee(key, cost, booking).await
                && !is_worth_waiting(&weighed.0, left())
            {
                return weighed;
            }
            let place = self.lines().join(key);
            let mut missed = false;
            loop {
                let Ok(mut room) = tokio::time::timeout(left(), place.turn()).await else {
                    return self.give_up(key, cost).await;
                };
                if !missed && *room >= cost {
                    // There was room for this one too: those behind need not wait for its answer.
                    *room -= cost;
                    drop(room);
                    let weighed = self.weigh(key, cost, booking).await;
                    if !is_worth_waiting(&weighed.0, left()) {
                        return weighed;
                    }
                    missed = true;
                    continue;
                }
                *room = 0;
                loop {
                    let weighed = self.weigh(key, cost, booking).await;
                    let decision = weighed.0.binding();
                    if let Some(wait) = decision.retry_after().filter(|wait| *wait <= left()) {
                        tokio::time::sleep(wait).await;
                        continue;
                    }
                    if decision.is_allowed() {
                        *room = self.room_behind(decision);
                    }
                    return weighed;
                }
            }
        }
    }
}

/// What was said to a request, and what was booked for it.
pub(crate) type Weighed<L> = (Decisions, <L as Remote>::Booked);

/// What became of one attempt to decide.
pub(crate) enum Attempt<L: Remote> {
    Decided(Weighed<L>),
    /// The same, and nobody waits for anything better.
    Final(Weighed<L>),
    Asked(L::Asked),
}

/// Whether a denial is over in time.
fn is_worth_waiting(decisions: &Decisions, max_wait: Duration) -> bool {
    let wait = decisions.binding().retry_after();
    wait.is_some_and(|wait| wait <= max_wait)
}
