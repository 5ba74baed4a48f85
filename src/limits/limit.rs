//! One limit of a plan, for whoever makes a limiter for it.

use crate::decision::Policy;
use std::num::NonZeroUsize;

/// A limit of a [`Plan`](crate::limits::Plan) that needs a limiter: see [`Limits::made_by`].
///
/// [`Limits::made_by`]: crate::limits::Limits::made_by
#[derive(Clone, Copy, Debug)]
pub struct NamedLimit<'a> {
    pub(super) name: &'a str,
    pub(super) policies: &'a [Policy],
    pub(super) max_keys: NonZeroUsize,
}

impl NamedLimit<'_> {
    /// Its name in the plan.
    #[must_use]
    pub const fn name(&self) -> &str {
        self.name
    }

    /// What has to allow a request: at least one policy, under the names that clients see.
    #[must_use]
    pub const fn policies(&self) -> &[Policy] {
        self.policies
    }

    /// The most keys that it tells apart, where that is the plan's to say.
    #[must_use]
    pub const fn max_keys(&self) -> usize {
        self.max_keys.get()
    }
}
