//! The layered limiter as users hold it.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
use crate::layered::builder::LayeredLimiterBuilder;
use crate::layered::driver::Close;
use crate::layered::link::Link;
use crate::layered::shared::{Seen, Shard, Shared};
use crate::layered::tiers::{Answer, Tiers};
use crate::layered::time::Moment;
use crate::limiter::count::Booking;
use crate::limiter::lines::Lines;
use crate::limiter::remote::{Attempt, Remote};
use crate::limits::NamedLimit;
use crate::observe;
use crate::quota::Quota;
use crate::store::RedisStore;
use crate::time::LocalTime;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Holds every key to a quota, or to several at once, over many processes and regions, deciding in this process.
///
/// A quota is a sliding window: `limit` units in the last `window`, in two cells. There are no others here: a plain
/// `Quota::per_minute(1_000)`, elsewhere a token bucket, is kept as `Quota::per_minute(1_000).sliding()`, and one with a
/// burst or of another kind is refused by [`build`](LayeredLimiterBuilder::build). Each process decides from its view
/// of a key and tells a Redis near it, the *origin*, what it has accepted; all processes with the same origin,
/// namespace and window count together. A second Redis, the *global store*, lets regions know of each other.
///
/// Cloning is cheap; clones share the views. The background task ends, after a last flush, with the last handle.
///
/// # Guarantees
/// * A warm key is decided in memory; nobody waits longer than twice [`patience`](LayeredLimiterBuilder::patience) for
///   one answer of origin, and nobody at all while it does not answer. Whoever has waited that long for several is
///   decided on from what is known. Where a window is shorter than a round trip, each process counts it by itself.
/// * What was accepted is told until origin has confirmed it, and counts once. What is never heard (its window is over,
///   the process ended) is counted in [`LayeredStats::expired`] and [`Unheard`].
/// * An origin that lost its data, or came back with older data (from a snapshot, on a replica that lagged), hears of it
///   again from the processes that know. What was on its way to it just then may count twice, which admits less, never
///   more.
/// * Of several policies all allow a request, in one atomic step in this process, or it consumes nothing of any. A key
///   that has to be heard of is read for all of them in one round trip.
/// * At most `max_keys` keys are held, at 250 to 500 bytes each for each policy.
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
///     .also("hourly", Quota::per_hour(20_000))
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
pub struct LayeredLimiter(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) policies: Box<[Policy]>,
    max_keys: usize,
    /// Whoever has waited this long is decided on from what is known.
    wait_at_most: Duration,
    /// Dropped with the last handle, which ends the task.
    close: mpsc::UnboundedSender<Close>,
    pub(super) seen: observe::Decisions,
    pub(super) lines: Lines,
}

/// A limiter was closed before origin had confirmed everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("closed while origin had not confirmed {units} accepted units: it may not know of them")]
pub struct Unheard {
    /// How many.
    pub units: u64,
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
    /// Starts a limiter that counts in `origin`, together with all processes of the same `namespace` and window.
    pub fn builder(origin: RedisStore, namespace: &str, quota: Quota) -> LayeredLimiterBuilder {
        LayeredLimiterBuilder::new(origin, namespace, quota)
    }

    /// Starts a limiter for a limit of a plan: see [`Limits::made_by`]. It counts in the namespace `namespace|name`.
    ///
    /// When the plan changes a limit, its successor goes on with the views of this one, under each policy that has the same
    /// window: nobody waits anew, and what origin has not heard it is told by the successor, also while it is away, and also
    /// what is reserved now and committed later. Whoever still asks this one is decided on as by another process. A policy over
    /// another window begins with what origin knows of that.
    ///
    /// [`Limits::made_by`]: crate::limits::Limits::made_by
    pub fn for_limit(
        origin: RedisStore,
        namespace: &str,
        limit: &NamedLimit<'_>,
    ) -> LayeredLimiterBuilder {
        LayeredLimiterBuilder::of_policies(origin, &limit.namespace(namespace), limit.policies())
            .max_keys(limit.max_keys())
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        policies: Box<[Policy]>,
        max_keys: usize,
        patience: Duration,
        close: mpsc::UnboundedSender<Close>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            policies,
            max_keys,
            wait_at_most: patience * 2,
            close,
            seen: observe::Decisions::default(),
            lines: Lines::default(),
        }))
    }

    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers. Ready at once unless the key is cold, stale,
    /// in strict mode, or too far ahead of origin.
    ///
    /// # Cancel safety
    /// Nothing is booked by a future that was dropped before it was ready.
    #[inline]
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        let spend = |now: &Moment| self.spend_at(*key, cost, now);
        let decision = self.when_heard(*key, spend).await;
        self.count(&decision);
        decision
    }

    /// As [`Self::decide`], with the answers of all policies.
    #[inline]
    pub async fn decide_each(&self, key: &Key, cost: u32) -> Decisions {
        let (decisions, _) = self.weigh(*key, cost, Booking::Spent).await;
        self.count(decisions.binding());
        decisions
    }

    /// As [`Self::decide`], but from what is known now: origin is asked, and nobody waits for it.
    #[inline]
    pub fn check(&self, key: &Key, cost: u32) -> Decision {
        let mut now = self.0.shared.moment();
        now.link = impatient(now.link);
        let Ok(decision) = self.spend_at(*key, cost, &now) else {
            unreachable!("nobody waits unless the link is up")
        };
        self.count(&decision);
        decision
    }

    /// As [`Self::check`], with the answers of all policies.
    #[inline]
    pub fn check_each(&self, key: &Key, cost: u32) -> Decisions {
        let mut now = self.0.shared.moment();
        now.link = impatient(now.link);
        match self.attempt_at(*key, cost, Booking::Spent, &now) {
            Attempt::Decided((decisions, _)) | Attempt::Final((decisions, _)) => {
                self.count(decisions.binding());
                decisions
            }
            Attempt::Asked(_) => unreachable!("nobody waits unless the link is up"),
        }
    }

    /// How `key` stands as far as it is known here. Books nothing, and asks nobody.
    pub fn peek(&self, key: &Key) -> Decision {
        *self.peek_each(key).binding()
    }

    /// As [`Self::peek`], with the answers of all policies.
    pub fn peek_each(&self, key: &Key) -> Decisions {
        self.ask(*key, 0)
    }

    /// Goes on with what the limiter before this one has counted, and with what origin has not heard of it.
    pub(crate) fn take_over(&self, before: &Self) {
        self.0.shared.take_over(&before.0.shared);
    }

    /// Whether another limiter has taken over, so that this one cannot begin again.
    pub(crate) fn has_left(&self) -> bool {
        self.0.shared.has_left()
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The quota, and the name under which clients see it; of several the first.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policies[0]
    }

    /// All policies, in the order in which they were given.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.0.policies
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
            let tiers = shard.lock();
            let tally = tiers.tally();
            let keys = tiers.iter().map(|tier| tier.slots().len());
            stats.keys += keys.max().unwrap_or_default();
            for tier in tiers.iter() {
                stats.bytes += tier.bytes();
                stats.evicted += tier.slots().evicted();
            }
            stats.waits += tiers.waits();
            stats.overflowed += tally.overflowed;
            stats.expired += tally.expired;
            stats.unheard += tally.unheard;
        }
        stats
    }

    /// Tells origin everything it does not know yet, and the other regions what matters to them, and ends the background
    /// task. Decisions after that are local.
    ///
    /// # Errors
    /// If origin did not confirm everything within twice the patience, or nobody could tell it, since the background task
    /// had ended before: with its runtime, or when the limiter was closed.
    pub async fn close(&self) -> Result<(), Unheard> {
        let (closed, told) = oneshot::channel();
        // Where nobody listens any more, the sender is gone.
        let _ = self.0.close.send(closed);
        match told.await.unwrap_or_else(|_| self.0.shared.unheard()) {
            0 => Ok(()),
            units => Err(Unheard { units }),
        }
    }

    /// The present moment, to somebody who waits since `began`: after so long nobody waits any more.
    #[inline]
    pub(super) fn patient_moment(&self, began: &mut Option<LocalTime>) -> Moment {
        let mut now = self.0.shared.moment();
        let waited = now.local.since(*began.get_or_insert(now.local));
        if waited >= self.0.wait_at_most {
            now.link = impatient(now.link);
        }
        now
    }

    /// The decision as of `now`, or what to wait for: then nothing is booked.
    #[inline]
    pub(super) fn attempt_at(
        &self,
        key: Key,
        cost: u32,
        booking: Booking,
        now: &Moment,
    ) -> Attempt<Self> {
        let shared = &*self.0.shared;
        let shard = shared.shard(key);
        let mut tiers = shard.lock();
        let answer = tiers.decide(key, cost, booking, now);
        self.see_to(shard, &mut tiers);
        match answer {
            Answer::Decided { decisions, holds } => Attempt::Decided((decisions, holds)),
            Answer::Wait => Attempt::Asked(shard.seen()),
        }
    }

    /// As [`Self::attempt_at`] of what is spent, with the binding decision alone.
    #[inline]
    fn spend_at(&self, key: Key, cost: u32, now: &Moment) -> Result<Decision, Seen> {
        let shard = self.0.shared.shard(key);
        let mut tiers = shard.lock();
        let told = tiers.spend(key, cost, now);
        self.see_to(shard, &mut tiers);
        told.ok_or_else(|| shard.seen())
    }

    /// What `attempt` says as soon as it is not told to wait: after an answer of origin, or without one when this has
    /// taken too long.
    #[inline]
    pub(super) async fn when_heard<T>(
        &self,
        key: Key,
        attempt: impl Fn(&Moment) -> Result<T, Seen>,
    ) -> T {
        let mut began = None;
        loop {
            match attempt(&self.patient_moment(&mut began)) {
                Ok(told) => return told,
                Err(seen) => self.0.shared.shard(key).answer_after(seen).await,
            }
        }
    }

    /// Sees to what a decision has left to do.
    #[inline]
    fn see_to(&self, shard: &Shard, tiers: &mut Tiers) {
        if tiers.has_overflowed() {
            self.0.shared.tell_full(self.0.max_keys);
        }
        // What was there before, others have told of.
        if tiers.take_growth() {
            self.0.shared.notice(shard, tiers);
        }
    }

    /// What would be said from what is known here.
    pub(super) fn ask(&self, key: Key, cost: u32) -> Decisions {
        let shared = &*self.0.shared;
        let now = shared.moment();
        shared.shard(key).lock().ask(key, cost, &now)
    }
}

const fn impatient(link: Link) -> Link {
    match link {
        Link::Up => Link::Down,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limiter of an origin that does not answer.
    fn limiter(max_keys: usize) -> LayeredLimiter {
        let nowhere = RedisStore::new("redis://127.0.0.1:1").expect("an address");
        let builder = LayeredLimiter::builder(nowhere, "nowhere", Quota::per_hour(1));
        let limiter = builder.max_keys(max_keys).build();
        limiter.expect("settings that work")
    }

    #[test]
    fn whoever_has_waited_for_twice_the_patience_does_not_wait_any_more() {
        let limiter = limiter(4);
        let mut began = None;
        assert_eq!(limiter.patient_moment(&mut began).link, Link::Up);
        let now = began.expect("it begins with the first attempt");
        assert_eq!(limiter.patient_moment(&mut began).link, Link::Up);
        assert_eq!(began, Some(now));
        let mut began = Some(now.saturating_sub(2 * Duration::from_secs(1)));
        assert_eq!(limiter.patient_moment(&mut began).link, Link::Down);
    }

    #[test]
    fn on_a_clock_of_the_callers_windows_pass_when_it_is_moved() {
        let (clock, lever) = crate::time::Clock::manual();
        let nowhere = RedisStore::new("redis://127.0.0.1:1").expect("an address");
        let builder = LayeredLimiter::builder(nowhere, "nowhere", Quota::per_hour(1));
        let builder = builder.clock(clock).wall_clock(Duration::ZERO);
        let (limiter, key) = (
            builder.build().expect("settings that work"),
            Key::of("alice"),
        );
        assert!(limiter.check(&key, 1).is_allowed());
        // The unit counts in full when the next window begins, and no more a moment later.
        for passed in [0, 3_600_000_000_000] {
            lever.advance(Duration::from_nanos(passed));
            assert!(!limiter.check(&key, 1).is_allowed());
        }
        lever.advance(Duration::from_nanos(1));
        assert!(limiter.check(&key, 1).is_allowed());
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn more_keys_than_room_are_logged_once() {
        use crate::warnings::Warnings;

        let (log, warnings) = Warnings::new();
        tracing::subscriber::with_default(log, || {
            // Nothing that was accepted is confirmed, so no key may go for another.
            let limiter = limiter(4);
            for number in 0..4u32 {
                let _ = limiter.check(&Key::of(&number), 1);
            }
            assert_eq!(warnings.load(Ordering::Relaxed), 0);
            for number in 4..100u32 {
                let _ = limiter.check(&Key::of(&number), 1);
            }
            assert_eq!(limiter.stats().overflowed, 96);
        });
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }
}
