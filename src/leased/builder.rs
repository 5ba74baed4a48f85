//! The options of a leased limiter.

use crate::decision::Policy;
use crate::error::ConfigError;
use crate::leased::LeasedLimiter;
use crate::leased::driver::Task;
use crate::leased::shared::Shared;
use crate::leased::tier::Setup;
use crate::limiter::room;
use crate::quota::{Kind, Quota};
use crate::store::RedisStore;
use crate::store::redis::rates::Spelling;
use crate::strict::{OnFailure, StrictLimiterBuilder};
use crate::time::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Options of a [`LeasedLimiter`].
///
/// # Defaults
/// * `name`: `default`, and no other policies
/// * `max_batch`: 1000; `late`: 0
/// * `max_keys`: 100 000, which take up to 120 MB under one policy
/// * `on_failure`: [`OnFailure::Deny`]
/// * `patience`: 250 ms
/// * `breaker`: 5 failures in a row, then a pause of 1 s, which doubles up to 30 s
/// * `denied_keys`: 10 000
/// * `runtime`: one thread for all limiters and guards of the process
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LeasedLimiterBuilder {
    counted: StrictLimiterBuilder,
    max_batch: u32,
    late: u32,
    max_keys: usize,
    runtime: Option<tokio::runtime::Handle>,
}

impl LeasedLimiterBuilder {
    pub(super) fn new(store: RedisStore, namespace: &str, quota: Quota) -> Self {
        Self::over(StrictLimiterBuilder::new(store, namespace, quota))
    }

    pub(super) fn of_policies(store: RedisStore, namespace: &str, policies: &[Policy]) -> Self {
        Self::over(StrictLimiterBuilder::of_policies(
            store, namespace, policies,
        ))
    }

    const fn over(counted: StrictLimiterBuilder) -> Self {
        Self {
            counted,
            max_batch: 1_000,
            late: 0,
            max_keys: 100_000,
            runtime: None,
        }
    }

    /// The name under which clients see the quota: 1 to 64 letters, digits or any of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        self.counted = self.counted.name(name);
        self
    }

    /// One more quota, under a name of its own: a request passes if all allow it, and else consumes nothing of any.
    pub fn also(mut self, name: &str, quota: Quota) -> Self {
        self.counted = self.counted.also(name, quota);
        self
    }

    /// The most units of a key to take in advance, beyond what callers wait for. How many are taken follows the rate at
    /// which they are spent: what two round trips and 50 ms will need, none where requests come one at a time. Larger only
    /// helps keys that are spent at more than ten thousand units a second; smaller leaves more to other processes when
    /// this one dies.
    pub const fn max_batch(mut self, max_batch: u32) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// The most units of a token bucket that this process may spend though they have begun to come back: with 0 the
    /// limit holds exactly, and units that were taken from a full bucket keep for a moment only. Processes together may
    /// let pass that many each beyond the limit, in any stretch of time. Below `max_batch`; windows have no use for it.
    pub const fn late(mut self, late: u32) -> Self {
        self.late = late;
        self
    }

    /// The most keys to keep. Those that come for the first time while there is no room make the least used ones go,
    /// which give back what they have. At most 100 000 000.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// What requests are told while the store does not answer and nothing is in hand.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.counted = self.counted.on_failure(on_failure);
        self
    }

    /// How long one message to the store may take. A request waits for two at most, and usually for none. A key of which
    /// nothing counts any more stays in the store for four times as long, and 5 s: by default 6 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.counted = self.counted.patience(patience);
        self
    }

    /// After so many failures in a row the store is left alone for `pause`; then one message at a time probes it, and
    /// each probe that fails doubles the pause, up to 30 times the first.
    pub fn breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.counted = self.counted.breaker(failures, pause);
        self
    }

    /// Denials that are remembered for up to a second, so that a flood of requests for one key asks the store once. No
    /// longer, for what others had in hand comes back.
    pub fn denied_keys(mut self, denied_keys: usize) -> Self {
        self.counted = self.counted.denied_keys(denied_keys);
        self
    }

    /// Another clock for what this process measures, for tests. The store counts on its own.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.counted = self.counted.clock(clock);
        self
    }

    /// Runs the background task on a runtime of the caller's, which must have time and I/O enabled. When that ends, whoever
    /// waits and whoever comes is answered as while the store does not answer, once nothing is left in hand.
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The limiter. Does not wait for the store, and needs no runtime.
    ///
    /// # Errors
    /// [`ConfigError`] if units of a quota do not keep (logs and soft limits), `late` is not below `max_batch`, there is no
    /// room for a key, or as [`StrictLimiterBuilder::build`].
    pub fn build(self) -> Result<LeasedLimiter, ConfigError> {
        if self.max_batch == 0 {
            return Err(ConfigError::TooFew {
                what: "units in a batch",
                least: 1,
            });
        }
        if self.late >= self.max_batch {
            return Err(ConfigError::setting(
                "the number of late units",
                self.late,
                "write one below max_batch",
            ));
        }
        room::keys(self.max_keys)?;
        let parts = self.counted.parts(Spelling::leased)?;
        for policy in parts.rates.spelling().policies() {
            if matches!(policy.quota().kind(), Kind::SlidingLog | Kind::Suppress) {
                return Err(ConfigError::setting(
                    "the quota of a leased limit",
                    policy.quota(),
                    "write one with .sliding(), or decide each request by a StrictLimiter",
                ));
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: the name of this process is drawn here and passed in"
        )]
        let holder = fastrand::u64(..);
        let policies = parts.rates.spelling().policies();
        let setup = Setup::new(policies, self.max_batch, self.late, holder);
        let shared = Arc::new(Shared::new(setup, self.max_keys, parts));
        let (close, inbox) = mpsc::unbounded_channel();
        let task = Task::new(Arc::clone(&shared), inbox);
        crate::background::spawn(self.runtime.as_ref(), task.run());
        Ok(LeasedLimiter::new(shared, self.max_keys, close))
    }
}
