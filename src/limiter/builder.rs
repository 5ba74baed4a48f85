//! The options of a rate limiter.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::limiter::RateLimiter;
use crate::limiter::room;
use crate::quota::Quota;
use crate::time::Clock;
use std::num::NonZeroUsize;

/// Options of a [`RateLimiter`].
///
/// # Defaults
/// * `name`: `default`
/// * no other policies
/// * `max_keys`: 100 000, which takes 3 to 6 MB when full
/// * `clock`: [`Clock::counter`], and for calendars the system's wall clock
/// * `seed`: none, chance is chance
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder {
    quota: Quota,
    name: Box<str>,
    others: Vec<Other>,
    max_keys: usize,
    clock: Clock,
    seed: Option<u64>,
}

/// A policy whose name has or has not been looked at.
#[derive(Clone, Debug)]
enum Other {
    Named(Box<str>, Quota),
    Policy(Policy),
}

impl RateLimiterBuilder {
    pub(super) const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    pub(super) fn new(quota: Quota) -> Self {
        Self {
            quota,
            name: PolicyName::DEFAULT.as_str().into(),
            others: Vec::new(),
            max_keys: Self::MAX_KEYS.get(),
            clock: Clock::counter(),
            seed: None,
        }
    }

    /// The name under which clients see the quota, in headers and problem documents: 1 to 64 letters, digits or any
    /// of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// One more quota, under a name of its own: a request passes if all allow it, and else consumes nothing of any.
    pub fn also(mut self, name: &str, quota: Quota) -> Self {
        self.others.push(Other::Named(name.into(), quota));
        self
    }

    /// As [`Self::also`], for a policy that was made before.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.others.push(Other::Policy(policy));
        self
    }

    /// The most keys to tell apart at a time. Set it to twice the clients that are active within a window: keys are
    /// spread by hash, so above 768 the first of them may share a cell when the table is nine tenths full.
    ///
    /// 1 000 000 takes 32 to 64 MB when full, and a third of a megabyte before it is used. At most 100 000 000.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Another clock, for tests and simulations.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Draws the chances of quotas with a [soft limit](Quota::soft) in an order that `seed` determines, for tests and
    /// simulations.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The limiter.
    ///
    /// # Errors
    /// [`ConfigError`] if a name cannot be sent in a header or is there twice, or there is no room for a key, or for more than
    /// 100 000 000.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let first = Policy::new(PolicyName::new(&self.name)?, self.quota);
        let mut policies = vec![first];
        for other in &self.others {
            let policy = match other {
                Other::Named(name, quota) => Policy::new(PolicyName::new(name)?, *quota),
                Other::Policy(policy) => *policy,
            };
            let name = policy.name();
            if policies.iter().any(|known| known.name() == name) {
                return Err(ConfigError::PolicyTwice {
                    name: name.as_str().into(),
                });
            }
            policies.push(policy);
        }
        let max_keys = room::keys(self.max_keys)?;
        Ok(RateLimiter::assemble(
            policies.into(),
            max_keys,
            self.clock,
            self.seed,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    #[test]
    fn the_builder_refuses_what_cannot_work() {
        let builder = RateLimiter::builder(Quota::per_second(1));
        assert_eq!(
            builder.clone().max_keys(0).build().unwrap_err(),
            ConfigError::MaxKeys
        );
        assert!(matches!(
            builder.clone().name("two words").build().unwrap_err(),
            ConfigError::PolicyName { .. }
        ));
        let twice = builder.clone().name("a").also("a", Quota::per_hour(1));
        assert!(matches!(
            twice.build().unwrap_err(),
            ConfigError::PolicyTwice { .. }
        ));
        assert!(matches!(
            builder
                .clone()
                .also("", Quota::per_hour(1))
                .build()
                .unwrap_err(),
            ConfigError::PolicyName { .. }
        ));
        let named = builder.name("writes").max_keys(1).build().unwrap();
        assert_eq!(named.policy().name().as_str(), "writes");
        assert_eq!(named.check(&Key::of("a"), 1).policy().as_str(), "writes");
    }
}
