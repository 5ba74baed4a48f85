//! The options of tiers.

use crate::decision::PolicyName;
use crate::error::{ConfigError, excerpt};
use crate::key::KeySecret;
use crate::limits::Limits;
use crate::tiers::account::Accounts;
use crate::tiers::answer::Answers;
use crate::tiers::handle::{Parts, Tiers};
use crate::tiers::lookup::LookUp;
use crate::tiers::own::Owns;
use crate::time::Clock;
use std::time::Duration;

/// What holds for a client of whom nothing is known, since its look-up failed, took too long, or there were too many.
///
/// Whoever has an answer that is not too old keeps it: see [`TiersBuilder::stale_for`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The limit of strangers, with whom it counts together.
    #[default]
    Stranger,
    /// Nothing passes: [`Verdict::Unavailable`](crate::Verdict::Unavailable), which HTTP layers answer with 503.
    Deny,
}

/// Options of [`Tiers`].
///
/// # Defaults
/// * `cache`: 10 000 answers, for a minute
/// * `stale_for`: 10 minutes
/// * `unknown_for`: 10 s
/// * `on_failure`: [`OnFailure::Stranger`]
/// * `patience`: 1 s, and after a failure a pause of 1 s
/// * `lookups`: 64 at a time
/// * `quotas`: 1000 different ones, called `own`
/// * `secret`: none
/// * `clock`: the boot-time clock
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TiersBuilder {
    limits: Limits,
    strangers: Box<str>,
    look_up: LookUp,
    max_keys: usize,
    ttl: Duration,
    stale_for: Duration,
    unknown_for: Duration,
    on_failure: OnFailure,
    patience: Duration,
    pause: Duration,
    lookups: usize,
    quotas: usize,
    quota_name: Box<str>,
    secret: Option<KeySecret>,
    clock: Clock,
}

impl TiersBuilder {
    pub(super) fn new(limits: Limits, strangers: &str, look_up: LookUp) -> Self {
        Self {
            limits,
            strangers: strangers.into(),
            look_up,
            max_keys: 10_000,
            ttl: Duration::from_secs(60),
            stale_for: Duration::from_secs(600),
            unknown_for: Duration::from_secs(10),
            on_failure: OnFailure::default(),
            patience: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            lookups: 64,
            quotas: 1_000,
            quota_name: "own".into(),
            secret: None,
            clock: Clock::system(),
        }
    }

    /// How many answers are remembered, and how long one is used before it is looked up again. Set the number to twice
    /// the clients that are active within that time; an answer takes about 200 bytes.
    pub const fn cache(mut self, max_keys: usize, ttl: Duration) -> Self {
        self.max_keys = max_keys;
        self.ttl = ttl;
        self
    }

    /// How much longer an answer is used while it is looked up again, which nobody waits for, and while look-ups fail.
    /// So long may a change of somebody's tier take to be seen, at worst; 0 lets the next request wait for the look-up.
    pub const fn stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = stale_for;
        self
    }

    /// How long it is remembered that nobody has an identity. So long a new client counts as a stranger if it came
    /// before it was known.
    pub const fn unknown_for(mut self, unknown_for: Duration) -> Self {
        self.unknown_for = unknown_for;
        self
    }

    /// What holds for those of whom nothing is known when a look-up fails.
    pub const fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How long a look-up may take, and so how long a request waits for one at most; then it is dropped and counts as
    /// failed. An identity whose look-up has failed is not looked up again for `pause`.
    pub const fn patience(mut self, patience: Duration, pause: Duration) -> Self {
        self.patience = patience;
        self.pause = pause;
        self
    }

    /// How many look-ups there may be at a time. Those that would be more fail at once: a flood of made-up identities
    /// asks the database for no more than this, and the connections it has are a good number.
    pub const fn lookups(mut self, lookups: usize) -> Self {
        self.lookups = lookups;
        self
    }

    /// How many different quotas clients may have of their own, and the name under which they see them. Quotas that
    /// nobody uses any more make room; the look-up of one that finds none fails.
    pub fn quotas(mut self, most: usize, name: &str) -> Self {
        self.quotas = most;
        self.quota_name = name.into();
        self
    }

    /// Hashes identities under a secret, so that nobody can choose two that count together. Processes that share limits
    /// need the same.
    pub fn secret(mut self, secret: KeySecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Another clock, for tests: answers age by it. Patience is counted by tokio's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The tiers.
    ///
    /// # Errors
    /// [`ConfigError`] if the plan has no limit for strangers, a time or a number makes no sense, or the name of quotas
    /// cannot be sent in a header.
    pub fn build(self) -> Result<Tiers, ConfigError> {
        if self.limits.limiter(&self.strangers).is_none() {
            return Err(ConfigError::UnknownLimit {
                name: excerpt(&self.strangers),
                known: self.limits.plan().names(),
            });
        }
        let (moment, none) = (Duration::from_millis(1), Duration::ZERO);
        for (what, value, least) in [
            ("the time that an answer is used", self.ttl, moment),
            ("the time that a stale answer is used", self.stale_for, none),
            ("the time that nobody is known", self.unknown_for, moment),
            ("the patience with a look-up", self.patience, moment),
            ("the pause after a look-up that failed", self.pause, moment),
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
        for (what, number) in [
            ("answers to remember", self.max_keys),
            ("look-ups at a time", self.lookups),
            ("different quotas", self.quotas),
        ] {
            if number == 0 {
                return Err(ConfigError::TooFew { what, least: 1 });
            }
        }
        Ok(Tiers::assemble(Parts {
            accounts: Accounts::default(),
            own: Owns::new(PolicyName::new(&self.quota_name)?, self.quotas),
            limits: self.limits,
            strangers: self.strangers,
            look_up: self.look_up,
            answers: Answers::new(self.max_keys),
            ttl: self.ttl,
            stale_for: self.stale_for,
            unknown_for: self.unknown_for,
            on_failure: self.on_failure,
            patience: self.patience,
            pause: self.pause,
            lookups: self.lookups,
            secret: self.secret,
            clock: self.clock,
        }))
    }
}

const LONGEST: Duration = Duration::from_secs(30 * 86_400);
