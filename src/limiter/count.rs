//! Which requests cost something: all, or those whose answer says so.

use crate::classify::Answer;
use crate::decision::Decisions;
use crate::key::Key;
use crate::limiter::{AnyReservation, RateLimiter};

/// Which requests a layer counts.
///
/// Unless it is all of them, a request's cost is reserved until its answer is there, and then kept or given back: never
/// more are on their way than could all count, and a client that goes away before the answer has come is counted.
/// What a layer inside answered in place of the handler, such as a denial, is not.
///
/// While a limiter's table is full and keys are forgotten, what does not count may stay booked until it has come back by
/// itself: see the guarantees of a [`Reservation`](super::Reservation).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Count {
    /// Every request.
    #[default]
    All,
    /// Those that fail: a status of 400 or more, a gRPC status other than 0 in the head, or an error in place of an
    /// answer. For log-ins, and for clients that look for what is not there.
    Failures,
    /// Those whose answer the function picks.
    Only(fn(Answer) -> bool),
}

impl Count {
    #[cfg(feature = "redis")]
    pub(crate) const fn booking(self) -> Booking {
        match self {
            Self::All => Booking::Spent,
            Self::Failures | Self::Only(_) => Booking::Kept,
        }
    }

    fn counts(self, answer: Answer) -> bool {
        match self {
            Self::All => true,
            Self::Failures => match answer {
                Answer::Status(status) => status >= 400,
                Answer::Grpc(code) => code != 0,
                Answer::Error => true,
            },
            Self::Only(picks) => picks(answer),
        }
    }
}

/// What becomes of the units of a request.
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "whoever chooses comes with a store")
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Booking {
    Spent,
    /// Held until it is settled what they come to.
    Kept,
}

/// A request on its way whose cost is kept or given back when it is answered. Dropped without an answer, it is kept.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[derive(Debug)]
pub struct Counting {
    count: Count,
    booked: Option<AnyReservation>,
}

impl Counting {
    /// Reserves the cost of a request. With the denial come the answers of all policies.
    ///
    /// # Errors
    /// The decisions, if the cost does not fit.
    pub fn begin(
        limiter: &RateLimiter,
        key: Key,
        cost: u32,
        count: Count,
    ) -> Result<Self, Decisions> {
        match limiter.reserve(&key, cost) {
            Ok(reservation) => Ok(Self::of(reservation, count)),
            Err(decision) => Err(limiter.peek_each(&key).with(decision)),
        }
    }

    /// The same, of what is reserved.
    pub(crate) fn of(reservation: impl Into<AnyReservation>, count: Count) -> Self {
        Self {
            count,
            booked: Some(reservation.into()),
        }
    }

    /// What was said when the cost was reserved.
    pub fn decision(&self) -> &crate::Decision {
        let booked = self.booked.as_ref().expect("settled at the end");
        booked.decision()
    }

    /// Keeps the cost or gives it back, and says how the key stands then; in a store, which is told in the background,
    /// how it stood when the cost was reserved.
    ///
    /// `ours` is an answer that a layer of ours wrote.
    pub fn answered(mut self, answer: Answer, ours: bool) -> Decisions {
        let keeps = !ours && self.count.counts(answer);
        let booked = self.booked.take().expect("settled at the end");
        booked.answered(keeps)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(booked) = self.booked.take() {
            booked.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    fn begin(limiter: &RateLimiter, count: Count) -> Counting {
        Counting::begin(limiter, Key::EVERYONE, 1, count).unwrap()
    }

    #[test]
    fn only_what_failed_or_never_ended_is_kept() {
        let limiter = RateLimiter::new(Quota::per_hour(10).fixed());
        let left = |decisions: Decisions| decisions.binding().remaining();
        let fails = [
            (Answer::Status(200), 10),
            (Answer::Status(302), 10),
            (Answer::Status(401), 9),
            (Answer::Status(500), 8),
            (Answer::Grpc(0), 8),
            (Answer::Grpc(16), 7),
            (Answer::Error, 6),
        ];
        for (answer, stands) in fails {
            let counting = begin(&limiter, Count::Failures);
            assert_eq!(left(counting.answered(answer, false)), stands, "{answer:?}");
        }
        let counting = begin(&limiter, Count::Failures);
        assert_eq!(left(counting.answered(Answer::Status(503), true)), 6);
        drop(begin(&limiter, Count::Failures));
        assert_eq!(limiter.peek(&Key::EVERYONE).remaining(), 5);
        let missing = Count::Only(|answer| answer == Answer::Status(404));
        assert_eq!(
            left(begin(&limiter, missing).answered(Answer::Status(401), false)),
            5
        );
        assert_eq!(
            left(begin(&limiter, missing).answered(Answer::Status(404), false)),
            4
        );
    }

    #[test]
    fn only_what_failed_is_kept_where_keys_share_an_overflow_cell() {
        for quota in ["10/h", "10/h fixed", "10/h log"] {
            let builder = RateLimiter::builder(quota.parse().unwrap()).max_keys(1);
            let limiter = builder.build().unwrap();
            assert!(limiter.check(&Key::of("full"), 10).is_allowed());
            let mut left = Vec::new();
            for client in 0..40u32 {
                let key = Key::of(&client);
                let counting = Counting::begin(&limiter, key, 1, Count::Failures).unwrap();
                let status = if client % 10 == 0 { 401 } else { 200 };
                let stands = counting.answered(Answer::Status(status), false);
                left.push(stands.binding().remaining());
            }
            left.dedup();
            assert_eq!(left, [9, 8, 7, 6], "{quota}");
        }
    }

    #[test]
    fn a_denial_comes_with_all_policies() {
        let builder = RateLimiter::builder(Quota::per_hour(9).fixed())
            .also("one", Quota::per_hour(1).fixed());
        let limiter = builder.build().unwrap();
        drop(begin(&limiter, Count::Failures));
        let denied = Counting::begin(&limiter, Key::EVERYONE, 1, Count::Failures).unwrap_err();
        assert_eq!(denied.binding().policy().as_str(), "one");
        assert!(denied.binding().retry_after().is_some());
        assert_eq!(denied.each()[0].remaining(), 8);
        assert_eq!(denied.each()[1], *denied.binding());
    }
}
