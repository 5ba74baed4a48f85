//! Many decisions in one round trip.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::{BatchError, remote_batch};
use crate::strict::StrictLimiter;

impl StrictLimiter {
    /// Decides on each of up to 100 `checks` by itself: as [`Self::decide`], all on one way.
    ///
    /// # Errors
    /// [`BatchError::TooMany`] for more. Nothing was booked then.
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready may have booked any of them.
    pub async fn decide_many(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        remote_batch::decide_many(self, checks).await
    }

    /// Books all of up to 100 `checks` or none of them.
    ///
    /// All are asked for on one way. If one is denied, the others are given back on another; until then they count, so
    /// somebody else may be denied meanwhile what would have fitted. Nobody ever gets more than the quota.
    ///
    /// # Errors
    /// [`BatchError::Denied`] with the first that does not fit, or that the store did not answer; [`BatchError::TooMany`]
    /// for more than 100. Nothing is booked then, unless the store failed in the middle: a check whose answer was
    /// lost may stay booked. Under a window it counts until that is over, of a sliding one until the next is; in a bucket
    /// until it has come back by itself. Nobody gets more for it. What goes back is told until the store has confirmed it.
    ///
    /// # Cancel safety
    /// Dropping the future books nothing: it is decided in the background, and what was booked is given back, as far as
    /// above. The runtime must live so long.
    pub async fn decide_all(&self, checks: &[(Key, u32)]) -> Result<Vec<Decision>, BatchError> {
        remote_batch::decide_all_or_undo(self, checks).await
    }
}
