//! The layered limiter as users hold it.

use crate::decision::{Decision, Policy, Verdict};
use crate::key::Key;
use crate::layered::builder::LayeredLimiterBuilder;
use crate::layered::driver::Close;
use crate::layered::link::Link;
use crate::layered::shared::{Shard, Shared};
use crate::layered::tier::{Answer, Booking};
use crate::layered::time::Moment;
use crate::observe;
use crate::quota::Quota;
use crate::store::RedisStore;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};

/// Holds every key to one quota over many processes and regions, deciding in this process.
///
/// The quota is a sliding window: `limit` units in the last `window`, in two cells. Each process decides from its view
/// of a key and tells a Redis near it, the *origin*, what it has accepted; all processes with the same origin,
/// namespace and window count together. A second Redis, the *global store*, lets regions know of each other.
///
/// Cloning is cheap; clones share the views. The background task ends, after a last flush, with the last handle.
///
/// # Guarantees
/// * A warm key is decided in memory; nobody waits longer than twice [`patience`](LayeredLimiterBuilder::patience) for
///   one answer of origin, and nobody at all while it does not answer.
/// * What was accepted is told until origin has confirmed it, and counts once. What is never heard (its window is over,
///   the process ended) is counted in [`LayeredStats::expired`] and [`Unheard`].
/// * At most `max_keys` keys are held, at 250 to 500 bytes each.
/// * Not exact: of several processes each may be ahead of origin by a 16th of the room it sees, or a 32nd of the limit.
///   At up to twice the limit and 20 ms to origin, 1 to 9 processes admit .95 to 1.05 of what one counter would.
///
/// # Examples
/// ```no_run
/// use tidegate::layered::LayeredLimiter;
/// use tidegate::store::RedisStore;
/// use tidegate::{Key, Quota};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let origin = RedisStore::new("redis://redis.eu.internal")?;
/// let limiter = LayeredLimiter::builder(origin, "api", Quota::per_minute(1_000))
///     .global(RedisStore::new("redis://redis.global.internal")?, "eu")
///     .build()?;
/// if limiter.decide(&Key::of("alice"), 1).await.is_allowed() {
///     // ...
/// }
/// limiter.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LayeredLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    policy: Policy,
    max_keys: usize,
    /// Dropped with the last handle, which ends the task.
    close: mpsc::UnboundedSender<Close>,
    seen: observe::Decisions,
}

/// How the costs of a batch hang together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Batch {
    /// All of them are booked, or none.
    AllOrNothing,
    /// Each is booked if it fits.
    Independent,
}

/// A limiter was closed before origin had confirmed everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("closed while origin had not confirmed {units} accepted units: it may not know of them")]
pub struct Unheard {
    /// How many.
    pub units: u64,
}

/// More in a batch than one batch may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a batch of {costs} is too long; split it into ones of at most {most}", most = LayeredLimiter::MAX_BATCH)]
pub struct BatchTooLong {
    /// How many there were.
    pub costs: usize,
}

/// What a limiter holds, and what has happened to it since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct LayeredStats {
    /// Keys that it has a view of.
    pub keys: usize,
    /// The most keys that it ever has one of.
    pub max_keys: usize,
    /// Bytes of memory that the views take.
    pub bytes: usize,
    /// Whether origin answers.
    pub up: bool,
    /// Cells read from origin.
    pub reads: u64,
    /// Cells told to origin.
    pub writes: u64,
    /// Messages to origin that failed or were not answered in time.
    pub failures: u64,
    /// The same of the global store.
    pub global_failures: u64,
    /// Times that a caller was told to wait for origin.
    pub waits: u64,
    /// Keys that were forgotten though their windows were not over, because there was no room. They cost a read when
    /// they come back.
    pub evicted: u64,
    /// Decisions for keys that there was no room for. They shared one cell of this process.
    pub overflowed: u64,
    /// Units that origin did not confirm before their windows were over.
    pub expired: u64,
    /// Counts of other regions that there was no room for.
    pub unheard: u64,
}

impl LayeredLimiter {
    /// The most costs of one batch.
    pub const MAX_BATCH: usize = 100;

    /// Starts a limiter that counts in `origin`, together with all processes of the same `namespace` and window.
    pub fn builder(origin: RedisStore, namespace: &str, quota: Quota) -> LayeredLimiterBuilder {
        LayeredLimiterBuilder::new(origin, namespace, quota)
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        policy: Policy,
        max_keys: usize,
        close: mpsc::UnboundedSender<Close>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            policy,
            max_keys,
            close,
            seen: observe::Decisions::default(),
        }))
    }

    /// Books `cost` units on `key` if they fit, and says whether they did. Ready at once unless the key is cold, stale,
    /// in strict mode, or too far ahead of origin.
    ///
    /// # Cancel safety
    /// Nothing is booked by a future that was dropped before it was ready.
    #[inline]
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        let shared = &*self.0.shared;
        let shard = shared.shard(*key);
        loop {
            let now = shared.moment();
            match attempt(shared, shard, *key, cost, Booking::Accept, &now) {
                Attempt::Decided(decision, _) => {
                    self.count(&decision);
                    return decision;
                }
                Attempt::Wait(answered) => answered.await,
            }
        }
    }

    /// As [`Self::decide`], but from what is known now: origin is asked, and nobody waits for it.
    pub fn check(&self, key: &Key, cost: u32) -> Decision {
        let shared = &*self.0.shared;
        let shard = shared.shard(*key);
        let mut now = shared.moment();
        now.link = impatient(now.link);
        match attempt(shared, shard, *key, cost, Booking::Accept, &now) {
            Attempt::Decided(decision, _) => {
                self.count(&decision);
                decision
            }
            Attempt::Wait(_) => unreachable!("nobody waits unless the link is up"),
        }
    }

    /// How `key` stands as far as it is known here. Books nothing, and asks nobody.
    pub fn peek(&self, key: &Key) -> Decision {
        self.check(key, 0)
    }

    /// Books several costs, as they stand at one moment; the answers are in their order. Keys that must be read are read in one
    /// round trip. Costs of one key are added up.
    ///
    /// Of [`Batch::AllOrNothing`], when one is denied, none is booked, and the others tell whether they would have fit.
    ///
    /// # Errors
    /// If there are more than [`Self::MAX_BATCH`].
    ///
    /// # Cancel safety
    /// As [`Self::decide`].
    pub async fn decide_batch(
        &self,
        costs: &[(Key, u32)],
        batch: Batch,
    ) -> Result<Vec<Decision>, BatchTooLong> {
        if costs.len() > Self::MAX_BATCH {
            return Err(BatchTooLong { costs: costs.len() });
        }
        let shared = &*self.0.shared;
        let mut merged: Vec<(Key, u32)> = Vec::with_capacity(costs.len());
        let places: Vec<usize> = costs
            .iter()
            .map(|(key, cost)| {
                let at = merged.iter().position(|(known, _)| known == key);
                let at = at.unwrap_or_else(|| {
                    merged.push((*key, 0));
                    merged.len() - 1
                });
                merged[at].1 = merged[at].1.saturating_add(*cost);
                at
            })
            .collect();
        let decisions = loop {
            // Reservations are held while nothing is awaited, so a dropped future leaves none.
            let now = shared.moment();
            let (mut decisions, mut waiting) = (Vec::with_capacity(merged.len()), None);
            for (key, cost) in &merged {
                let shard = shared.shard(*key);
                match attempt(shared, shard, *key, *cost, Booking::Reserve, &now) {
                    Attempt::Decided(decision, sequence) => decisions.push((decision, sequence)),
                    Attempt::Wait(answered) => {
                        // The others are asked for all the same, so that all are read together.
                        decisions.push((shared.nothing(&self.0.policy), u64::MAX));
                        waiting.get_or_insert(answered);
                    }
                }
            }
            let all = decisions.iter().all(|(decision, _)| decision.is_allowed());
            let book = waiting.is_none() && (all || batch == Batch::Independent);
            for ((key, cost), (decision, sequence)) in merged.iter().zip(&decisions) {
                if *cost == 0 || !decision.is_allowed() {
                    continue;
                }
                let shard = shared.shard(*key);
                let mut tier = shard.lock();
                if book {
                    tier.commit(*key, *cost, *sequence, &now);
                } else {
                    tier.cancel(*key, *cost, *sequence);
                }
                shared.notice(shard, &tier);
            }
            match waiting {
                Some(answered) => answered.await,
                None => break decisions,
            }
        };
        let answers = places.into_iter().map(|at| decisions[at].0);
        Ok(answers.inspect(|decision| self.count(decision)).collect())
    }

    fn count(&self, decision: &Decision) {
        let policies = std::slice::from_ref(&self.0.policy);
        self.0.seen.count(policies, decision);
    }

    /// The quota, and the name under which clients see it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Looks at everything: for dashboards, not for the request path.
    #[must_use]
    pub fn stats(&self) -> LayeredStats {
        let shared = &self.0.shared;
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let mut stats = LayeredStats {
            max_keys: self.0.max_keys,
            bytes: size_of_val(&*shared.shards),
            up: shared.moment().link == Link::Up,
            reads: count(&shared.counts.reads),
            writes: count(&shared.counts.writes),
            failures: count(&shared.counts.failures),
            global_failures: count(&shared.counts.global_failures),
            ..LayeredStats::default()
        };
        for shard in &shared.shards {
            let tier = shard.lock();
            let tally = tier.tally();
            stats.keys += tier.slots().len();
            stats.bytes += tier.bytes();
            stats.evicted += tier.slots().evicted();
            stats.waits += tally.waits;
            stats.overflowed += tally.overflowed;
            stats.expired += tally.expired;
            stats.unheard += tally.unheard;
        }
        stats
    }

    /// Tells origin everything it does not know yet, and ends the background task. Decisions after that are local.
    ///
    /// # Errors
    /// If origin did not confirm everything within twice the patience.
    pub async fn close(&self) -> Result<(), Unheard> {
        let (closed, told) = oneshot::channel();
        if self.0.close.send(closed).is_ok()
            && let Ok(units @ 1..) = told.await
        {
            return Err(Unheard { units });
        }
        Ok(())
    }
}

/// What became of one attempt to decide.
enum Attempt<'a> {
    Decided(Decision, u64),
    /// Ready when origin has answered something that may be what was asked.
    Wait(Pin<Box<dyn Future<Output = ()> + Send + 'a>>),
}

#[inline]
fn attempt<'a>(
    shared: &'a Shared,
    shard: &'a Shard,
    key: Key,
    cost: u32,
    booking: Booking,
    now: &Moment,
) -> Attempt<'a> {
    let mut tier = shard.lock();
    let answer = tier.decide(key, cost, booking, now);
    shared.notice(shard, &tier);
    match answer {
        Answer::Decided { decision, sequence } => Attempt::Decided(decision, sequence),
        Answer::Wait => {
            // From before the lock is released, so that no answer is missed.
            let mut answered = Box::pin(shard.answered.notified());
            answered.as_mut().enable();
            Attempt::Wait(answered)
        }
    }
}

const fn impatient(link: Link) -> Link {
    match link {
        Link::Up => Link::Down,
        other => other,
    }
}

impl Shared {
    /// In place of the decision of who waits.
    fn nothing(&self, policy: &Policy) -> Decision {
        Decision {
            outcome: Verdict::Deny,
            limit: policy.quota().limit(),
            remaining: 0,
            retry_after_nanos: crate::decision::NO_WAIT,
            reset_after_nanos: 0,
            policy: policy.name(),
            chance: crate::decision::NOT_DRAWN,
        }
    }
}
