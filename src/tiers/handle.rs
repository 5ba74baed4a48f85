//! Tiers as users and layers hold them, and the way of a question: remembered, stale, or looked up.

use crate::key::{Key, KeySecret};
use crate::limits::Limits;
use crate::tiers::account::Accounts;
use crate::tiers::answer::{Age, Answer, Answers, LimitOf, Said};
use crate::tiers::lookup::{Flights, LookUp};
use crate::tiers::own::Owns;
use crate::tiers::{OnFailure, Tier, TiersBuilder};
use crate::time::{Clock, LocalTime};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Which limit each client has, by a look-up that may take its time and is remembered.
///
/// Cheap to clone; clones share what is remembered.
///
/// A client is told by its identity: a text such as an API key, which the layer finds in the request. Whoever is known
/// counts by that identity, or by the key in the [`Tier`]. Strangers, who have no identity or one that nobody knows, have
/// one limit and count by the key of the layer: all together unless it has another one. So inventing identities gains
/// nothing.
///
/// # Guarantees
/// * A remembered answer is given at once, and allocates nothing. One that is older than its time is used on while one
///   look-up renews it, at most [`stale_for`](TiersBuilder::stale_for) longer.
/// * All who ask for one identity share one look-up. It runs in a task of its own: a request that is given up does not
///   stop it, and one that panics, or whose runtime ends, fails for all who wait.
/// * Nobody waits longer than [`patience`](TiersBuilder::patience). There are at most
///   [`lookups`](TiersBuilder::lookups) at a time, and [`max_keys`](TiersBuilder::cache) answers are remembered, also
///   that somebody is not known and that a look-up failed. A flood of made-up identities drives out few of those who are
///   asked for again and again.
/// * Counts belong to the limit, not to the answer: they are kept when an answer is renewed or forgotten. Who is given
///   another quota of its own keeps what it has spent by the same rule in the same window, but for what is decided at
///   that very moment; who is given another limit of the plan begins anew there.
/// * A quota of one's own belongs to the key that it is [counted as](Tier::counted_as): what the newest look-up says of
///   it holds at once for all identities that are remembered with that key.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tidegate::limits::{Limits, Plan};
/// use tidegate::tiers::{Tier, Tiers};
/// use tidegate::tower::RateLimitLayer;
/// use tidegate::Quota;
///
/// # type Found = Result<Option<String>, std::io::Error>;
/// # #[derive(Clone)] struct Database;
/// # impl Database { async fn plan_of(&self, _: &str) -> Found { Ok(Some("pro".into())) } }
/// # let database = Database;
/// let plan = Plan::new()
///     .limit("anonymous", Quota::per_minute(30))?
///     .limit("free", Quota::per_second(5))?
///     .limit("pro", Quota::per_second(100))?;
/// let tiers = Tiers::builder(Limits::new(&plan), "anonymous", move |api_key| {
///     let database = database.clone();
///     async move {
///         let plan = database.plan_of(&api_key).await?;
///         Ok::<_, std::io::Error>(plan.map(Tier::named))
///     }
/// })
/// .cache(50_000, Duration::from_secs(60))
/// .build()?;
/// let layer = RateLimitLayer::tiered(tiers, |request| {
///     Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
/// });
/// # let _ = layer;
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tiers(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) flights: Flights,
    pub(super) counts: Counts,
}

/// What tiers are made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) limits: Limits,
    pub(super) strangers: Box<str>,
    pub(super) look_up: LookUp,
    pub(super) answers: Answers,
    pub(super) own: Owns,
    pub(super) accounts: Accounts,
    pub(super) ttl: Duration,
    pub(super) stale_for: Duration,
    pub(super) unknown_for: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) patience: Duration,
    pub(super) pause: Duration,
    pub(super) lookups: usize,
    pub(super) secret: Option<KeySecret>,
    pub(super) clock: Clock,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) lookups: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) refused: AtomicU64,
    stale: AtomicU64,
    missing: AtomicU64,
    /// Whether the last look-up failed.
    pub(super) failing: AtomicBool,
}

/// What has happened to [`Tiers`] since they were built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TierStats {
    /// Answers that are remembered.
    pub keys: usize,
    /// Different quotas that clients have of their own.
    pub quotas: usize,
    /// Look-ups that were begun.
    pub lookups: u64,
    /// Those that failed: with an error, too late, or never ended.
    pub failures: u64,
    /// Those that were not begun, for there were too many.
    pub refused: u64,
    /// Requests that were decided by an answer older than its time.
    pub stale: u64,
    /// Requests whose limit the plan does not have.
    pub missing: u64,
}

impl Tiers {
    /// The longest identity, in bytes, that is looked up: four times what keys and tokens usually need. Whoever has a
    /// longer one, or an empty one, is a stranger.
    pub const LONGEST_IDENTITY: usize = 4_096;

    /// Starts tiers that `look_up` tells, and whose limits are in `limits`. `strangers` is the name of the limit of all
    /// who have no tier.
    ///
    /// `look_up` gets an identity of 1 to [`Self::LONGEST_IDENTITY`] bytes, and answers `None` if nobody has it. It is called
    /// for one that was never asked for, and again from time to time.
    pub fn builder<F, A, E>(
        limits: Limits,
        strangers: &str,
        look_up: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> TiersBuilder
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Option<Tier>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        TiersBuilder::new(limits, strangers, LookUp::new(look_up))
    }

    /// The limits that they name.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.parts.limits
    }

    /// How it goes.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        let Inner { parts, counts, .. } = &*self.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TierStats {
            keys: parts.answers.len(),
            quotas: parts.own.len(),
            lookups: read(&counts.lookups),
            failures: read(&counts.failures),
            refused: read(&counts.refused),
            stale: read(&counts.stale),
            missing: read(&counts.missing),
        }
    }

    /// Lets the next request of `identity` wait for a new answer, such as when it has just bought another tier. A look-up
    /// that is under way may still bring the old one.
    pub fn forget(&self, identity: &str) {
        let parts = &self.0.parts;
        let key = self.key(identity);
        // Not taken out: counts go from the old answer to the new one.
        if let Some(known) = parts.answers.peek(key) {
            let now = parts.clock.now();
            let gone = Answer::new(known.said.clone(), now, now);
            parts.answers.put(key, Arc::new(gone));
        }
    }

    pub(super) fn assemble(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            flights: Flights::default(),
            counts: Counts::default(),
        }))
    }

    fn key(&self, identity: &str) -> Key {
        match &self.0.parts.secret {
            None => Key::of(identity),
            Some(secret) => secret.key(identity),
        }
    }
}

/// Whose limit a request has, as far as it is known.
// For adapters alone, as all that follows: it may change in any release.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Found(pub(super) Whose);

#[derive(Clone, Debug)]
pub(super) enum Whose {
    Answer(Arc<Answer>),
    /// Nobody said who it is.
    Stranger,
    /// Nobody could be asked.
    NoAnswer,
}

impl Found {
    /// Whose who has not said who they are.
    pub const STRANGER: Self = Self(Whose::Stranger);

    /// The key under which the request counts, if it is known who it is.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match &self.0 {
            Whose::Answer(answer) => match &answer.said {
                Said::Known { key, .. } => Some(*key),
                Said::Unknown | Said::Failed => None,
            },
            Whose::Stranger | Whose::NoAnswer => None,
        }
    }

    /// Whether it is a quota that the look-up gave, rather than a limit of the plan.
    #[cfg(feature = "tower")]
    pub(crate) fn is_own(&self) -> bool {
        let Whose::Answer(answer) = &self.0 else {
            return false;
        };
        let own = |limit: &LimitOf| matches!(limit, LimitOf::Own(_));
        matches!(&answer.said, Said::Known { limit, .. } if own(limit))
    }
}

/// [`Found`], or the way to it.
#[doc(hidden)]
pub enum Finding {
    /// Nothing is waited for, and nothing was allocated.
    Now(Found),
    /// A look-up is under way.
    Later(Pin<Box<dyn Future<Output = Found> + Send>>),
}

impl Tiers {
    /// Whose limit a request of `identity` has.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers, when something has to be looked up.
    #[doc(hidden)]
    #[inline]
    pub fn find(&self, identity: &str) -> Finding {
        if identity.is_empty() || identity.len() > Self::LONGEST_IDENTITY {
            // Nobody's: neither hashed nor looked up.
            return Finding::Now(Found::STRANGER);
        }
        let parts = &self.0.parts;
        let (key, now) = (self.key(identity), parts.clock.now());
        if let Some(answer) = parts.answers.get(key) {
            match answer.age(now) {
                Age::Fresh => return Finding::Now(Found::by(answer, now)),
                Age::Stale => {
                    self.refresh(&answer, key, identity);
                    return Finding::Now(Found::by(answer, now));
                }
                Age::Gone => {}
            }
        }
        self.look_up(key, identity, now)
    }

    #[cold]
    fn refresh(&self, answer: &Answer, key: Key, identity: &str) {
        self.0.counts.stale.fetch_add(1, Ordering::Relaxed);
        if answer.begin_refresh() && self.join(key, identity).is_none() {
            answer.put_off_refresh();
        }
    }

    #[cold]
    fn look_up(&self, key: Key, identity: &str, now: LocalTime) -> Finding {
        let Some(mut answer) = self.join(key, identity) else {
            return Finding::Now(Found(Whose::NoAnswer));
        };
        if let Some(answer) = answer.borrow().clone() {
            return Finding::Now(Found::by(answer, now));
        }
        let tiers = self.clone();
        Finding::Later(Box::pin(async move {
            let parts = &tiers.0.parts;
            // The look-up has the same patience, but perhaps a runtime that is stuck.
            let told = tokio::time::timeout(parts.patience, answer.wait_for(Option::is_some)).await;
            let answer = told.ok().and_then(Result::ok).and_then(|it| it.clone());
            match answer {
                Some(answer) => Found::by(answer, parts.clock.now()),
                None => Found(Whose::NoAnswer),
            }
        }))
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.0.parts.on_failure
    }

    pub(super) fn strangers(&self) -> &str {
        &self.0.parts.strangers
    }

    pub(super) fn own_ids(&self) -> Vec<u64> {
        self.0.parts.own.ids()
    }

    pub(super) fn note_missing(&self) {
        self.0.counts.missing.fetch_add(1, Ordering::Relaxed);
    }
}

impl Found {
    #[inline]
    fn by(answer: Arc<Answer>, now: LocalTime) -> Self {
        if let Said::Known {
            limit: LimitOf::Own(account),
            ..
        } = &answer.said
        {
            account.own().note_use(now);
        }
        Self(Whose::Answer(answer))
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(found) => f.debug_tuple("Now").field(found).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
