//! Any of the limiters, as layers take them.

use crate::decision::Policy;
use crate::key::Key;
use crate::limiter::{Asking, Deciding, RateLimiter};
#[cfg(feature = "redis")]
use crate::strict::StrictLimiter;

/// A limiter that a layer can ask. Made from any of them; cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyLimiter {
    /// Counts in this process.
    Local(RateLimiter),
    /// Counts in a store.
    #[cfg(feature = "redis")]
    Strict(StrictLimiter),
}

impl AnyLimiter {
    /// The quota, and the name under which clients see it; of several the first.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policies()[0]
    }

    /// All policies, in the order in which they were given.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        match self {
            Self::Local(limiter) => limiter.policies(),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.policies(),
        }
    }

    /// Decides on a request of a layer.
    #[doc(hidden)]
    #[inline]
    pub fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        match self {
            Self::Local(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_for(key, cost, asking),
        }
    }
}

impl From<RateLimiter> for AnyLimiter {
    fn from(limiter: RateLimiter) -> Self {
        Self::Local(limiter)
    }
}

#[cfg(feature = "redis")]
impl From<StrictLimiter> for AnyLimiter {
    fn from(limiter: StrictLimiter) -> Self {
        Self::Strict(limiter)
    }
}
