//! How a layered limiter is configured.

use crate::decision::{Policy, PolicyName};
use crate::error::ConfigError;
use crate::layered::driver::{Task, TaskSetup};
use crate::layered::handle::LayeredLimiter;
use crate::layered::link::Outage;
use crate::layered::regions::GlobalSetup;
use crate::layered::setup::Setup;
use crate::layered::shared::Shared;
use crate::layered::space::Space;
use crate::layered::time::OriginClock;
use crate::layered::window::SlidingWindow;
use crate::limiter::room;
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
    others: Vec<(String, Quota)>,
    max_keys: usize,
    global: Option<(RedisStore, String)>,
    global_every: Option<Duration>,
    flush_every: Option<Duration>,
    outage: Outage,
    patience: Duration,
    clock: Clock,
    wall_clock: Option<Duration>,
    runtime: Option<tokio::runtime::Handle>,
}

impl LayeredLimiterBuilder {
    /// The most policies of one limiter.
    pub const MAX_POLICIES: usize = 8;

    pub(super) fn new(origin: RedisStore, namespace: &str, quota: Quota) -> Self {
        Self {
            origin,
            namespace: namespace.to_owned(),
            quota,
            name: PolicyName::DEFAULT.as_str().to_owned(),
            others: Vec::new(),
            max_keys: 100_000,
            global: None,
            global_every: None,
            flush_every: None,
            outage: Outage::Local,
            patience: Duration::from_secs(1),
            clock: Clock::counter(),
            wall_clock: None,
            runtime: None,
        }
    }

    pub(super) fn of_policies(origin: RedisStore, namespace: &str, policies: &[Policy]) -> Self {
        let (first, others) = policies.split_first().expect("a limit has a policy");
        let builder = Self::new(origin, namespace, *first.quota()).name(first.name().as_str());
        others.iter().fold(builder, |builder, policy| {
            builder.also(policy.name().as_str(), *policy.quota())
        })
    }

    /// The name under which clients see the policy: 1 to 64 letters, digits or any of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Holds every key to `quota`, under `name`, as well: a request passes if all policies allow it, and consumes nothing
    /// of any if one denies it. At most [`Self::MAX_POLICIES`], each with another window.
    pub fn also(mut self, name: &str, quota: Quota) -> Self {
        self.others.push((name.to_owned(), quota));
        self
    }

    /// The most keys to have a view of. Default: 100 000, which takes 25 to 50 MB for each policy when full. Set it to twice the keys
    /// that are active within two windows; at most 100 000 000.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Shares counts with other regions over `store`, which is the same for all of them; `region` is this one's name, 1
    /// to 64 bytes, the same in all of its processes and in no other region. A region tells of its count of a key once that
    /// is a fifth of the limit, or another region uses the key, in this window or the one before.
    ///
    /// While `store` is away or silent each region goes on with what it knows of the others in the windows that have begun,
    /// and in later ones holds the limit by itself: so many regions admit at most so many times the limit. Nobody waits for
    /// it. When it is back, with all of its data, with older data or with none, it is told of every window that still counts,
    /// once, and within two exchanges all regions know of each other again.
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

    /// Another clock for what this process measures, for tests. Default: [`Clock::counter`]. Windows follow origin's clock
    /// all the same, and the background task sleeps in real time: a clock that is moved by hand wakes nobody.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
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
    /// If a setting cannot work, such as a quota that is no sliding window and has a burst or a kind that says so; the
    /// message says what to write instead.
    pub fn build(self) -> Result<LayeredLimiter, ConfigError> {
        let policies = self.policies()?;
        if self.namespace.is_empty() {
            return Err(ConfigError::setting(
                "a namespace",
                "",
                "write one that says what is limited",
            ));
        }
        room::keys(self.max_keys)?;
        let ms = Duration::from_millis;
        if let Some(flush_every) = self.flush_every {
            span("flush_every", flush_every, ms(1), ms(10_000))?;
        }
        span("patience", self.patience, ms(10), ms(60_000))?;
        let windows = policies.iter().map(|policy| policy.quota().window());
        let shortest = windows.min().expect("there is a policy");
        let every = self
            .global_every
            .unwrap_or_else(|| (shortest / 40).clamp(ms(250), ms(3_000)));
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
        let clock = self.clock;
        let now = clock.now();
        let wall = self.wall_clock.unwrap_or_else(since_1970);
        let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let origin_clock = OriginClock::new(wall, now);
        let setup = |(number, policy): (u8, &Policy)| {
            let window = window(policy.quota());
            Setup {
                window,
                policy: policy.name(),
                number,
                flush_after: self
                    .flush_every
                    .unwrap_or_else(|| Setup::flush_after(&window)),
                outage: self.outage,
                global: global.is_some(),
                room: self.max_keys,
                seed,
            }
        };
        let setups: Vec<Setup> = (0..).zip(&policies).map(setup).collect();
        let space = |policy: &Policy| Space::new(&self.namespace, policy.quota().window());
        let spaces = policies.iter().map(space).collect();
        let offset = origin_clock.offset();
        let shared = Shared::new(&setups, spaces, self.max_keys, clock, offset);
        let shared = Arc::new(shared);
        let (close, inbox) = mpsc::unbounded_channel();
        let task = Task::new(TaskSetup {
            shared: Arc::clone(&shared),
            origin: self.origin,
            patience: self.patience,
            clock: origin_clock,
            global,
            inbox,
            seed: task_seed,
            namespace: self.namespace.into(),
        });
        crate::background::spawn(self.runtime.as_ref(), task.run());
        Ok(LayeredLimiter::new(
            shared,
            policies.into(),
            self.max_keys,
            self.patience,
            close,
        ))
    }

    fn policies(&self) -> Result<Vec<Policy>, ConfigError> {
        let mut policies = vec![Policy::new(PolicyName::new(&self.name)?, self.quota)];
        for (name, quota) in &self.others {
            let name = PolicyName::new(name)?;
            if policies.iter().any(|policy| policy.name() == name) {
                let name = name.as_str().into();
                return Err(ConfigError::PolicyTwice { name });
            }
            let window = quota.window();
            if policies
                .iter()
                .any(|other| other.quota().window() == window)
            {
                // They would count in the same cells.
                return Err(ConfigError::setting(
                    "a second policy over one window",
                    quota,
                    "write one with another window, or the stricter alone",
                ));
            }
            policies.push(Policy::new(name, *quota));
        }
        if policies.len() > Self::MAX_POLICIES {
            return Err(ConfigError::setting(
                "the number of policies of a layered limit",
                policies.len(),
                "write at most 8",
            ));
        }
        policies
            .iter()
            .try_for_each(|policy| check(policy.quota()))?;
        Ok(policies)
    }
}

/// Whether a quota can be kept in two cells.
fn check(quota: &Quota) -> Result<(), ConfigError> {
    // A plain quota is taken as a sliding one; what was asked for by name is not taken for something else.
    if !matches!(quota.kind(), Kind::SlidingWindow | Kind::TokenBucket) {
        return Err(ConfigError::setting(
            "the quota of a layered limit",
            quota,
            "write one with .sliding()",
        ));
    }
    if quota.burst_size() != quota.limit() {
        return Err(ConfigError::setting(
            "a burst of a layered limit",
            quota.burst_size(),
            "leave it out; a sliding window admits its limit at once",
        ));
    }
    Ok(())
}

fn window(quota: &Quota) -> SlidingWindow {
    let nanos = u64::try_from(quota.window().as_nanos()).unwrap_or(u64::MAX);
    SlidingWindow::new(quota.limit(), nanos)
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
