//! How a layered limiter is configured.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::layered::driver::{GlobalSetup, Task, TaskSetup};
use crate::layered::handle::LayeredLimiter;
use crate::layered::link::Outage;
use crate::layered::setup::Setup;
use crate::layered::shared::Shared;
use crate::layered::space::Space;
use crate::layered::time::OriginClock;
use crate::layered::window::SlidingWindow;
use crate::quota::{Kind, Quota};
use crate::store::RedisStore;
use crate::time::Clock;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Configures a [`LayeredLimiter`].
///
/// # Defaults
/// Policy name `default`, 100 000 keys, no global store, outage [`Local`](Outage::Local), patience 1 s, flushed every
/// hundredth of the window (2 to 100 ms), exchanged globally every fortieth of it (250 ms to 3 s).
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LayeredLimiterBuilder {
    origin: RedisStore,
    namespace: String,
    quota: Quota,
    name: String,
    max_keys: usize,
    global: Option<(RedisStore, String)>,
    global_every: Option<Duration>,
    flush_every: Option<Duration>,
    outage: Outage,
    patience: Duration,
    wall_clock: Option<Duration>,
    runtime: Option<tokio::runtime::Handle>,
}

impl LayeredLimiterBuilder {
    pub(super) fn new(origin: RedisStore, namespace: &str, quota: Quota) -> Self {
        Self {
            origin,
            namespace: namespace.to_owned(),
            quota,
            name: PolicyName::DEFAULT.as_str().to_owned(),
            max_keys: 100_000,
            global: None,
            global_every: None,
            flush_every: None,
            outage: Outage::Local,
            patience: Duration::from_secs(1),
            wall_clock: None,
            runtime: None,
        }
    }

    /// The name under which clients see the policy: 1 to 64 letters, digits or any of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The most keys to have a view of. Default: 100 000, which takes 25 to 50 MB when full. Set it to twice the keys
    /// that are active within two windows.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Shares counts with other regions over `store`, which is the same for all of them; `region` is this one's name, 1
    /// to 64 bytes, the same in all of its processes and in no other region.
    pub fn global(mut self, store: RedisStore, region: &str) -> Self {
        self.global = Some((store, region.to_owned()));
        self
    }

    /// How often counts are exchanged with the other regions, give or take an eighth. Default: a fortieth of the window,
    /// from 250 ms to 3 s. What the regions admit beyond the limit together grows with it.
    pub const fn global_every(mut self, every: Duration) -> Self {
        self.global_every = Some(every);
        self
    }

    /// How long accepts are collected before origin hears of them. Default: a hundredth of the window, from 2 to 100 ms.
    /// Shorter is more accurate, longer writes less. Close to the limit, and when a lot was accepted, it is not waited
    /// for.
    pub const fn flush_every(mut self, every: Duration) -> Self {
        self.flush_every = Some(every);
        self
    }

    /// What happens when origin is away for long. Default: [`Outage::Local`].
    pub const fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How long one message to a store may take. Default: 1 s. Callers wait for origin at most twice as long, and only
    /// until it has failed once.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What the wall clock shows now, since 1970. Default: the system's. Only until origin has answered: windows follow
    /// origin's clock, up to an hour away from this.
    pub const fn wall_clock(mut self, since_1970: Duration) -> Self {
        self.wall_clock = Some(since_1970);
        self
    }

    /// Runs the background task on a runtime of the caller's, which must have time and I/O enabled. Default: one thread
    /// for all limiters and guards of the process.
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the limiter. Does not wait for the stores, and needs no runtime.
    ///
    /// # Errors
    /// If a setting cannot work; the message says what to write instead.
    pub fn build(self) -> Result<LayeredLimiter, ConfigError> {
        let policy = Policy::new(PolicyName::new(&self.name)?, self.quota);
        if self.max_keys == 0 {
            return Err(ConfigError::MaxKeys);
        }
        // A plain quota is taken as a sliding one; what was asked for by name is not taken for something else.
        if !matches!(self.quota.kind(), Kind::SlidingWindow | Kind::TokenBucket) {
            return Err(ConfigError::setting(
                "the quota of a layered limit",
                self.quota,
                "write one with .sliding()",
            ));
        }
        if self.quota.burst_size() != self.quota.limit() {
            return Err(ConfigError::setting(
                "a burst of a layered limit",
                self.quota.burst_size(),
                "leave it out; a sliding window admits its limit at once",
            ));
        }
        let nanos = u64::try_from(self.quota.window().as_nanos()).unwrap_or(u64::MAX);
        let window = SlidingWindow::new(self.quota.limit(), nanos);
        let ms = Duration::from_millis;
        let flush_after = self
            .flush_every
            .unwrap_or_else(|| Setup::flush_after(&window));
        span("flush_every", flush_after, ms(1), ms(10_000))?;
        span("patience", self.patience, ms(10), ms(60_000))?;
        let every = self
            .global_every
            .unwrap_or_else(|| (self.quota.window() / 40).clamp(ms(250), ms(3_000)));
        span("global_every", every, ms(10), ms(600_000))?;
        let global = match self.global {
            None => None,
            Some((store, region)) => {
                if region.is_empty() || region.len() > 64 {
                    return Err(ConfigError::setting(
                        "the name of a region",
                        format_args!("{} bytes long", region.len()),
                        "write 1 to 64 bytes",
                    ));
                }
                Some(GlobalSetup {
                    store,
                    region: region.into(),
                    every,
                })
            }
        };

        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: names, jitter and placing are drawn here and passed in"
        )]
        let (seed, task_seed) = (fastrand::u64(..), fastrand::u64(..));
        let clock = Clock::system();
        let now = clock.now();
        let wall = self.wall_clock.unwrap_or_else(since_1970);
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let origin_clock = OriginClock::new(wall, now);
        let setup = Setup {
            window,
            policy: policy.name(),
            flush_after,
            outage: self.outage,
            global: global.is_some(),
            room: self.max_keys,
            seed,
        };
        let shared = Shared::new(setup, self.max_keys, clock, origin_clock.offset());
        let shared = Arc::new(shared);
        let (close, inbox) = mpsc::unbounded_channel();
        let task = Task::new(TaskSetup {
            shared: Arc::clone(&shared),
            origin: self.origin,
            space: Space::new(&self.namespace, self.quota.window()),
            patience: self.patience,
            clock: origin_clock,
            global,
            inbox,
            seed: task_seed,
            namespace: self.namespace.into(),
        });
        crate::fleet::spawn(self.runtime.as_ref(), task.run());
        Ok(LayeredLimiter::new(shared, policy, self.max_keys, close))
    }
}

fn span(
    what: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Span {
        what,
        value,
        least,
        most,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the first guess of origin's clock, until it answers"
)]
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
