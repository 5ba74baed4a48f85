//! The options of a strict limiter.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::quota::Quota;
use crate::store::RedisStore;
use crate::store::redis::rates::{Rates, Spelling};
use crate::strict::StrictLimiter;
use crate::strict::breaker::Breaker;
use crate::strict::denied::DeniedKeys;
use crate::strict::failure::{Fallback, OnFailure};
use crate::strict::parts::Parts;
use crate::strict::untold::Untold;
use crate::time::Clock;
use std::time::Duration;

/// Options of a [`StrictLimiter`].
///
/// # Defaults
/// * `name`: `default`, and no other policies
/// * `on_failure`: [`OnFailure::Deny`]
/// * `patience`: 250 ms
/// * `breaker`: 5 failures in a row, then a pause of 1 s, which doubles up to 30 s
/// * `denied_keys`: 10 000, which take up to 5 MB under one policy
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct StrictLimiterBuilder {
    store: RedisStore,
    namespace: Box<str>,
    quota: Quota,
    name: Box<str>,
    others: Vec<(Box<str>, Quota)>,
    on_failure: OnFailure,
    patience: Duration,
    failures: u32,
    pause: Duration,
    denied_keys: usize,
    clock: Clock,
}

impl StrictLimiterBuilder {
    pub(crate) fn new(store: RedisStore, namespace: &str, quota: Quota) -> Self {
        Self {
            store,
            namespace: namespace.into(),
            quota,
            name: PolicyName::DEFAULT.as_str().into(),
            others: Vec::new(),
            on_failure: OnFailure::default(),
            patience: Duration::from_millis(250),
            failures: 5,
            pause: Duration::from_secs(1),
            denied_keys: 10_000,
            clock: Clock::system(),
        }
    }

    pub(crate) fn of_policies(store: RedisStore, namespace: &str, policies: &[Policy]) -> Self {
        let (first, others) = policies.split_first().expect("a limit has a policy");
        let builder = Self::new(store, namespace, *first.quota()).name(first.name().as_str());
        others.iter().fold(builder, |builder, policy| {
            builder.also(policy.name().as_str(), *policy.quota())
        })
    }

    /// The name under which clients see the quota: 1 to 64 letters, digits or any of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// One more quota, under a name of its own: a request passes if all allow it, and else consumes nothing of any.
    pub fn also(mut self, name: &str, quota: Quota) -> Self {
        self.others.push((name.into(), quota));
        self
    }

    /// What requests are told while the store does not answer.
    pub const fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How long a request waits for the store, connecting included. A decision whose answer comes later may be counted
    /// all the same. Set it well above the round trip and below what callers are willing to wait: 250 ms suits a store
    /// in the same region.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// After so many failures in a row the store is left alone for `pause`; then one request at a time probes it, and
    /// each probe that fails doubles the pause, up to 30 times the first.
    pub const fn breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.failures = failures;
        self.pause = pause;
        self
    }

    /// Denials that are remembered, up to four costs of a key, so that of a flood for one of them only those ask the store,
    /// once a second, who come before the first answer is there. What is more than a remembered cost is denied with it (but
    /// of a sliding log, where it is those costs alone). Between a soft limit and the limit itself chance decides, and every
    /// request asks the store.
    ///
    /// A denial holds here until its wait is over, something goes back through this limiter, or a second has passed: what
    /// another process gives back, by a refund, a cancelled reservation or a request that did not count, is seen after
    /// that. Where a [local share](OnFailure::LocalShare) decides in place of the store, it holds until its wait is over or
    /// something goes back here. With 0 each request asks the store, and sees it at once.
    pub const fn denied_keys(mut self, denied_keys: usize) -> Self {
        self.denied_keys = denied_keys;
        self
    }

    /// Another clock for what this process measures, for tests. The store counts on its own.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The limiter. Does not connect, and needs no runtime.
    ///
    /// # Errors
    /// [`ConfigError`] if the namespace is empty, longer than 128 bytes or has braces, a name cannot be sent in a header
    /// or is there twice, a window is no whole number of microseconds, a local share is nothing, or there is no patience,
    /// pause or failure to count.
    pub fn build(self) -> Result<StrictLimiter, ConfigError> {
        Ok(StrictLimiter::assemble(self.parts(Spelling::new)?))
    }

    /// What a limiter is made of whose store runs the script of `spell`.
    pub(crate) fn parts(
        self,
        spell: fn(&[Policy]) -> Result<Spelling, ConfigError>,
    ) -> Result<Parts, ConfigError> {
        let namespace = &*self.namespace;
        if namespace.is_empty() || namespace.len() > 128 || namespace.contains(['{', '}']) {
            return Err(ConfigError::setting(
                "a namespace",
                namespace,
                "write 1 to 128 bytes without braces",
            ));
        }
        let least = Duration::from_millis(1);
        for (what, value) in [
            ("the patience with a store", self.patience),
            ("the pause of a circuit breaker", self.pause),
        ] {
            if value < least || value > LONGEST {
                return Err(ConfigError::Span {
                    what,
                    value,
                    least,
                    most: LONGEST,
                });
            }
        }
        if self.failures == 0 {
            return Err(ConfigError::TooFew {
                what: "failures that open a circuit breaker",
                least: 1,
            });
        }
        let policies = self.policies()?;
        let spelling = spell(&policies)?;
        let rules = spelling.rules();
        let fallback = Fallback::new(self.on_failure, &policies, rules, MAX_UNTOLD, &self.clock)?;
        Ok(Parts {
            untold: Untold::new(rules, MAX_UNTOLD).into(),
            rates: Rates::new(self.store, namespace, spelling),
            fallback,
            breaker: Breaker::new(
                self.failures,
                self.pause,
                self.pause.saturating_mul(LONGEST_PAUSE),
            ),
            denied: DeniedKeys::new(self.denied_keys),
            patience: self.patience,
            clock: self.clock,
        })
    }

    fn policies(&self) -> Result<Vec<Policy>, ConfigError> {
        let mut policies = vec![Policy::new(PolicyName::new(&self.name)?, self.quota)];
        for (name, quota) in &self.others {
            let name = PolicyName::new(name)?;
            if policies.iter().any(|known| known.name() == name) {
                return Err(ConfigError::PolicyTwice {
                    name: name.as_str().into(),
                });
            }
            policies.push(Policy::new(name, *quota));
        }
        Ok(policies)
    }
}

const LONGEST: Duration = Duration::from_secs(3_600);
/// In first pauses.
const LONGEST_PAUSE: u32 = 30;
/// Keys that are remembered for the store while it is away.
const MAX_UNTOLD: usize = 100_000;
