//! Many decisions at once: from what is in hand, and in one round trip for all that is not.

use crate::decision::Decision;
use crate::key::Key;
use crate::leased::LeasedLimiter;
use crate::limiter::{BatchError, remote_batch};

impl LeasedLimiter {
    /// Decides on each of up to 100 `checks` by itself: as [`Self::decide`], and those that have to wait for the store wait
    /// together.
    ///
    /// # Errors
    /// [`BatchError::TooMany`] for more. Nothing was booked then.
    ///
    /// # Cancel safety
    /// What had come for those that were not ready is put in hand; others may be booked.
    pub async fn decide_many(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        remote_batch::decide_many(self, checks).await
    }

    /// Books all of up to 100 `checks` or none of them.
    ///
    /// Those that have to wait for the store wait together. If one is denied, the others are put in hand, for the next
    /// costs here; until then they count, so somebody else may be denied meanwhile what would have fitted. Nobody ever
    /// gets more than the quota.
    ///
    /// # Errors
    /// [`BatchError::Denied`] with the first that does not fit, [`BatchError::TooMany`] for more than 100. Nothing is
    /// booked then.
    ///
    /// # Cancel safety
    /// Dropping the future books nothing: what had come is put in hand.
    pub async fn decide_all(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        remote_batch::decide_all(self, checks).await
    }
}
