//! Many checks in one call.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::{RateLimiter, Reservation};

impl RateLimiter {
    /// The most checks in one batch.
    pub const MAX_BATCH: usize = 100;

    /// Checks each of `checks` by itself, in order: [`Self::check`] for up to 100 at once.
    ///
    /// # Errors
    /// [`BatchError::TooMany`] for more. Nothing was booked then.
    pub fn check_many(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        within_bounds(checks)?;
        let check = |(key, cost): &(Key, u32)| self.check(key, *cost);
        Ok(checks.iter().map(check).collect())
    }

    /// Books all of up to 100 `checks` or none of them, and says how each key stands then.
    ///
    /// They are booked one after the other, and given back if a later one is denied; until then they count, so somebody
    /// else may be denied meanwhile what would have fitted. Nobody ever gets more than the quota.
    ///
    /// # Errors
    /// [`BatchError::Denied`] with the first that does not fit, [`BatchError::TooMany`] for more than 100. Nothing is
    /// booked then, except on a full table where a key had to be forgotten between a booking and the denial, such as
    /// one of the batch for another: see the guarantees of a [`Reservation`].
    ///
    /// # Examples
    /// ```
    /// use tidegate::limiter::BatchError;
    /// use tidegate::{Key, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_hour(2));
    /// let (from, to) = (Key::of("alice"), Key::of("bob"));
    /// assert!(limiter.check_all(&[(from, 1), (to, 2)]).is_ok());
    /// let error = limiter.check_all(&[(from, 1), (to, 1)]).unwrap_err();
    /// assert!(matches!(error, BatchError::Denied { at: 1, .. }));
    /// assert_eq!(limiter.peek(&from).remaining(), 1);
    /// ```
    pub fn check_all(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        within_bounds(checks)?;
        let mut booked: Vec<Reservation> = Vec::with_capacity(checks.len());
        for (at, (key, cost)) in checks.iter().enumerate() {
            match self.reserve(key, *cost) {
                Ok(reservation) => booked.push(reservation),
                Err(decision) => return Err(BatchError::Denied { at, decision }),
            }
        }
        let settle = |reservation: Reservation| {
            let decision = *reservation.decision();
            reservation.keep();
            decision
        };
        Ok(booked.into_iter().map(settle).collect())
    }
}

/// Why a batch was not booked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// One of the checks does not fit.
    #[error("check {at} of the batch was denied by {}", decision.policy())]
    Denied {
        /// Which one, counted from 0.
        at: usize,
        /// What was said to it.
        decision: Decision,
    },
    /// More checks than are taken at once.
    #[error("a batch cannot have {checks} checks; write at most 100 at once")]
    TooMany {
        /// How many there were.
        checks: usize,
    },
}

pub(super) const fn within_bounds(checks: &[(Key, u32)]) -> Result<(), BatchError> {
    if checks.len() > RateLimiter::MAX_BATCH {
        return Err(BatchError::TooMany {
            checks: checks.len(),
        });
    }
    Ok(())
}
