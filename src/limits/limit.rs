//! One limit of a plan, for whoever makes a limiter for it.

use crate::decision::Policy;
use crate::error::ConfigError;
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
    /// What cannot be about it, with its name.
    pub(super) fn problem(&self, problem: ConfigError) -> ConfigError {
        ConfigError::Limit {
            name: self.name.into(),
            problem: problem.into(),
        }
    }

    /// Its name in the plan.
    #[must_use]
    pub const fn name(&self) -> &str {
        self.name
    }

    /// Where a limiter in a store counts for it, among all limits of `namespace`. No name has a bar, so no other namespace
    /// and name come to the same.
    #[cfg(feature = "redis")]
    pub(crate) fn namespace(&self, namespace: &str) -> String {
        format!("{namespace}|{}", self.name)
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

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;
    use crate::quota::Quota;

    #[test]
    fn no_two_namespaces_and_names_are_counted_as_one() {
        let policies = [Quota::per_second(1).into()];
        let pairs = [
            ("shop", "a.b"),
            ("shop.a", "b"),
            ("shop", "a-b"),
            ("shop|a", "b"),
            ("shop", "a"),
        ];
        let named = |(namespace, name): (&str, &'static str)| {
            let limit = NamedLimit {
                name,
                policies: &policies,
                max_keys: NonZeroUsize::MIN,
            };
            limit.namespace(namespace)
        };
        let all: std::collections::BTreeSet<String> = pairs.into_iter().map(named).collect();
        assert_eq!(all.len(), pairs.len());
        assert!(all.contains("shop|a.b"));
    }
}
