//! What a look-up answers: the limit that somebody has.

use crate::key::Key;
use crate::quota::Quota;
use std::sync::Arc;

/// The limit that a client has.
///
/// # Examples
/// ```
/// use tidegate::tiers::Tier;
/// use tidegate::{Key, Quota};
///
/// let by_plan = Tier::named("pro");
/// let by_contract = Tier::quota(Quota::per_second(750));
/// // All API keys of one customer count together.
/// let of_customer = Tier::named("pro").counted_as(Key::of(&("customer", 17u64)));
/// # let _ = (by_plan, by_contract, of_customer);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tier {
    pub(super) limit: TierLimit,
    pub(super) counted_as: Option<Key>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum TierLimit {
    Named(Arc<str>),
    Own(Quota),
}

impl Tier {
    /// The limit of the plan that is called `name`. A name that the plan does not have at the time of a request counts as
    /// a stranger's.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::new(TierLimit::Named(name.into()))
    }

    /// A quota of the client's own.
    ///
    /// Clients with equal quotas share a limiter, where each has its own count. A limiter takes 17 KB before it counts
    /// anything (with the 100 000 keys that a plan has by default), so
    /// [`TiersBuilder::quotas`](crate::tiers::TiersBuilder::quotas) bounds how many different ones there are. Each that
    /// there ever was leaves its `RateLimit-Policy` behind, some 40 bytes, for the life of the process. One that makes room
    /// for others is held by each layer that has asked it, with its connection if it is over a store, until that layer
    /// meets another quota for the first time.
    #[must_use]
    pub const fn quota(quota: Quota) -> Self {
        Self::new(TierLimit::Own(quota))
    }

    /// Counts under `key`, together with all whose answers name the same one, instead of under the client's identity.
    ///
    /// Quotas of their own should then be the same for all of them: if look-ups differ, what the newest said holds for
    /// all.
    #[must_use]
    pub const fn counted_as(mut self, key: Key) -> Self {
        self.counted_as = Some(key);
        self
    }

    const fn new(limit: TierLimit) -> Self {
        Self {
            limit,
            counted_as: None,
        }
    }
}
