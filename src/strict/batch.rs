//! Many decisions in one round trip.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::{BatchError, RateLimiter};
use crate::strict::{StrictLimiter, StrictReservation};
use futures_util::future::join_all;

impl StrictLimiter {
    /// Decides on each of up to 100 `checks` by itself: as [`Self::decide`], all on one way.
    ///
    /// # Errors
    /// [`BatchError::TooMany`] for more. Nothing was booked then.
    pub async fn decide_many(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        within_bounds(checks)?;
        let decide = |(key, cost): &(Key, u32)| {
            let (key, cost) = (*key, *cost);
            async move { self.decide(&key, cost).await }
        };
        Ok(join_all(checks.iter().map(decide)).await)
    }

    /// Books all of up to 100 `checks` or none of them.
    ///
    /// All are asked for on one way. If one is denied, the others are given back on another; until then they count, so
    /// somebody else may be denied meanwhile what would have fitted. Nobody ever gets more than the quota.
    ///
    /// # Errors
    /// [`BatchError::Denied`] with the first that does not fit, [`BatchError::TooMany`] for more than 100. Nothing is
    /// booked then.
    pub async fn decide_all(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        within_bounds(checks)?;
        let reserve = |(key, cost): &(Key, u32)| {
            let (key, cost) = (*key, *cost);
            async move { self.reserve(&key, cost).await }
        };
        let answers = join_all(checks.iter().map(reserve)).await;
        let denied = answers.iter().position(Result::is_err);
        let mut booked: Vec<StrictReservation> = Vec::with_capacity(answers.len());
        let mut denial = None;
        for answer in answers {
            match answer {
                Ok(reservation) => booked.push(reservation),
                Err(decision) => denial = denial.or(Some(decision)),
            }
        }
        if let (Some(at), Some(decision)) = (denied, denial) {
            // The last first: several on one key come back as if they had never been.
            let cancel = booked.into_iter().rev().map(StrictReservation::cancel);
            join_all(cancel).await;
            return Err(BatchError::Denied { at, decision });
        }
        let decisions = booked.iter().map(|it| *it.decision()).collect();
        booked.into_iter().for_each(StrictReservation::keep);
        Ok(decisions)
    }
}

const fn within_bounds(checks: &[(Key, u32)]) -> Result<(), BatchError> {
    if checks.len() > RateLimiter::MAX_BATCH {
        return Err(BatchError::TooMany {
            checks: checks.len(),
        });
    }
    Ok(())
}
