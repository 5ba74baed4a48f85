//! Any of the limiters, as layers take them and tables of limits hold them.

use crate::decision::{Decision, Policy};
use crate::key::Key;
#[cfg(feature = "redis")]
use crate::layered::LayeredLimiter;
#[cfg(feature = "redis")]
use crate::leased::LeasedLimiter;
use crate::limiter::RateLimiter;
#[cfg(feature = "fleet")]
use crate::limiter::{Asking, Deciding};
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
    /// Decides in this process, and counts in a region's store.
    #[cfg(feature = "redis")]
    Layered(LayeredLimiter),
    /// Takes units from a store in advance, and spends them in this process.
    #[cfg(feature = "redis")]
    Leased(LeasedLimiter),
}

impl AnyLimiter {
    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers.
    ///
    /// Ready at once unless the limiter counts in a store; then all is as its own `decide` says.
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        match self {
            Self::Local(limiter) => limiter.check(key, cost),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.decide(key, cost).await,
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide(key, cost).await,
        }
    }

    /// How `key` stands, without booking anything.
    pub async fn peek(&self, key: &Key) -> Decision {
        match self {
            Self::Local(limiter) => limiter.peek(key),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.peek(key).await,
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.peek(key),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.peek(key),
        }
    }

    /// The limiter, if it counts in this process.
    #[must_use]
    pub const fn as_local(&self) -> Option<&RateLimiter> {
        match self {
            Self::Local(limiter) => Some(limiter),
            #[cfg(feature = "redis")]
            Self::Strict(_) | Self::Layered(_) | Self::Leased(_) => None,
        }
    }

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
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.policies(),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.policies(),
        }
    }

    /// Whether another limiter has taken over, so that this one cannot begin again.
    pub(crate) fn has_left(&self) -> bool {
        self.as_local().is_some_and(RateLimiter::has_left)
    }

    /// Goes on with the counts of the limiter before this one. Those in a store are where they were.
    pub(crate) fn take_over(&self, before: &Self) {
        if let (Some(before), Some(next)) = (before.as_local(), self.as_local())
            && !before.is(next)
        {
            next.take_over(before);
        }
    }

    /// As [`Self::take_over`], of one key alone.
    #[cfg(feature = "fleet")]
    pub(crate) fn take_over_key(&self, before: &Self, key: Key) {
        if let (Some(before), Some(next)) = (before.as_local(), self.as_local()) {
            next.take_over_key(before, key);
        }
    }

    /// Decides on a request of a layer.
    #[cfg(feature = "fleet")]
    #[doc(hidden)]
    #[inline]
    pub fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        match self {
            Self::Local(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Strict(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Layered(limiter) => limiter.decide_for(key, cost, asking),
            #[cfg(feature = "redis")]
            Self::Leased(limiter) => limiter.decide_for(key, cost, asking),
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

#[cfg(feature = "redis")]
impl From<LayeredLimiter> for AnyLimiter {
    fn from(limiter: LayeredLimiter) -> Self {
        Self::Layered(limiter)
    }
}

#[cfg(feature = "redis")]
impl From<LeasedLimiter> for AnyLimiter {
    fn from(limiter: LeasedLimiter) -> Self {
        Self::Leased(limiter)
    }
}
