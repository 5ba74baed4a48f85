//! The strict limiter as users hold it.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
use crate::limiter::lines::Lines;
use crate::limits::NamedLimit;
use crate::observe;
use crate::quota::Quota;
use crate::store::RedisStore;
use crate::strict::breaker::Breaker;
use crate::strict::clock_of_store::ClockOfStore;
use crate::strict::parts::Parts;
use crate::strict::stats::Counts;
use crate::strict::telling::Begin;
use crate::strict::unheard::Unheard;
use crate::strict::{StrictLimiterBuilder, StrictStats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Holds every key to a quota, or to several at once, counting in a store for all processes.
///
/// Cloning is cheap; clones share everything. All limiters over the same store, namespace and windows count together;
/// their limits may differ, and may change without losing counts: as many units stay spent, as
/// [`Limits::change`](crate::limits::Limits::change) says. Of those that differ, the largest burst and the fastest pace hold
/// for all together.
///
/// # Guarantees
/// * Of all processes together no key ever gets more than the quota's rule says (see [`rule`](crate::rule)), as long as
///   the store keeps its data and failures are answered by [`OnFailure::Deny`](super::OnFailure::Deny).
/// * Of several policies all allow a request, in one atomic step, or it consumes nothing of any.
/// * No decision is repeated. One whose answer did not come in time may have been counted: if the answer comes within a
///   minute after all, what it booked goes back (but with [`OnFailure::Allow`](super::OnFailure::Allow), which let the
///   request pass: it is counted then). Where the answer was lost with its connection, the request stays counted, and
///   nobody gets more for it.
/// * What was admitted without the store, and what goes back, by a [reservation](super::StrictReservation) or a
///   [refund](Self::refund), is told in numbered messages, which are repeated until the store has confirmed them and count
///   once, also where an answer was lost. What has come back by itself is not told. Redis keeps the numbers of the last 64
///   processes that told it of a key, for as long as the key's counts; of more than that, one that repeats its message may
///   count twice what it admitted, and does not give back what it was to.
/// * Nobody waits longer than [`patience`](StrictLimiterBuilder::patience), thrice that for a key that was decided on
///   without the store and is being told of, and nobody at all while the circuit breaker is open.
/// * `retry_after` is exact on the store's clock, which is in microseconds. Put forward, everything comes back so much
///   earlier: by an hour, up to the limit once more. Put back, nobody gets more for it, and what was counted goes on to
///   count as if the clock had always been so: a key is kept out for two of its windows and ten seconds at most. What was
///   booked before that and is to go back after it stays booked, until it comes back by itself.
/// * A store that forgot (restarted without persistence, failed over before it was copied, evicted) begins anew: up to
///   the limit once more.
///
/// # Examples
/// ```no_run
/// use tidegate::store::RedisStore;
/// use tidegate::strict::{OnFailure, StrictLimiter};
/// use tidegate::{Key, Quota};
///
/// # async fn example() -> Result<(), tidegate::ConfigError> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let limiter = StrictLimiter::builder(store, "api", Quota::per_second(100))
///     .also("monthly", "1000000/month calendar".parse()?)
///     .on_failure(OnFailure::local_share(4))
///     .build()?;
/// if limiter.decide(&Key::of("alice"), 1).await.is_allowed() {
///     // ...
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StrictLimiter(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) breaker: Mutex<Breaker>,
    pub(super) clock_of_store: ClockOfStore,
    pub(super) unheard: Arc<Unheard>,
    pub(super) telling: AtomicBool,
    pub(super) telling_lines: Lines,
    /// The store has answered again.
    pub(super) back: Notify,
    pub(super) lines: Lines,
    pub(super) counts: Counts,
    pub(super) seen: observe::Decisions,
}

impl StrictLimiter {
    /// Starts a limiter that counts in `store`, together with all of the same `namespace`.
    pub fn builder(store: RedisStore, namespace: &str, quota: Quota) -> StrictLimiterBuilder {
        StrictLimiterBuilder::new(store, namespace, quota)
    }

    /// Starts a limiter for a limit of a plan: see [`Limits::made_by`]. It counts in the namespace `namespace|name`, so
    /// that counts outlive every change of the plan.
    ///
    /// [`Limits::made_by`]: crate::limits::Limits::made_by
    pub fn for_limit(
        store: RedisStore,
        namespace: &str,
        limit: &NamedLimit<'_>,
    ) -> StrictLimiterBuilder {
        let namespace = limit.namespace(namespace);
        StrictLimiterBuilder::of_policies(store, &namespace, limit.policies())
    }

    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers. A cost of 0 books nothing.
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready may have booked the cost.
    ///
    /// # Panics
    /// Outside of a tokio runtime with timers and I/O.
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        *self.decide_each(key, cost).await.binding()
    }

    /// As [`Self::decide`], with the answers of all policies.
    pub async fn decide_each(&self, key: &Key, cost: u32) -> Decisions {
        let (decisions, _) = self.weigh_in_store(*key, cost).await;
        let policies = self.policies();
        self.0.seen.count(policies, decisions.binding());
        decisions
    }

    /// How `key` stands, without booking anything.
    pub async fn peek(&self, key: &Key) -> Decision {
        *self.peek_each(key).await.binding()
    }

    /// As [`Self::peek`], with the answers of all policies.
    pub async fn peek_each(&self, key: &Key) -> Decisions {
        self.weigh_in_store(*key, 0).await.0
    }

    /// The quota, and the name under which clients see it; of several the first.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policies()[0]
    }

    /// All policies, in the order in which they were given.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        self.0.parts.rates.spelling().policies()
    }

    /// How it goes with the store.
    #[must_use]
    pub fn stats(&self) -> StrictStats {
        let inner = &*self.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StrictStats {
            up: inner.breaker().is_closed(),
            asked: read(&inner.counts.asked),
            failures: read(&inner.counts.failures),
            without: read(&inner.counts.without),
            remembered: read(&inner.counts.remembered),
            untold: inner.unheard.keys(),
            lost: inner.parts.untold.lost(),
            kept: inner.unheard.kept(),
        }
    }

    /// Goes on with what the limiter before this one has counted without the store, and not told it.
    pub(crate) fn take_over(&self, before: &Self) {
        let (next, before) = (&*self.0, &*before.0);
        let moment = before.moment();
        if let Some(carry) = next.parts.take_over(&before.parts, moment) {
            before.unheard.hand_over(&next.unheard, carry, moment);
            self.tell_the_rest(Begin::AtOnce);
        }
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether another limiter has taken over, so that this one cannot begin again.
    pub(crate) fn has_left(&self) -> bool {
        self.0.parts.has_left()
    }

    pub(super) fn assemble(parts: Parts) -> Self {
        let unheard = Unheard::new(draw_sender(), Arc::clone(&parts.untold), MAX_UNHEARD);
        Self(Arc::new(Inner {
            breaker: Mutex::new(parts.breaker.clone()),
            clock_of_store: ClockOfStore::guess(&parts.clock),
            parts,
            unheard: unheard.into(),
            telling: AtomicBool::new(false),
            telling_lines: Lines::default(),
            back: Notify::new(),
            lines: Lines::default(),
            counts: Counts::default(),
            seen: observe::Decisions::default(),
        }))
    }
}

/// Keys of which a message to the store is unheard.
const MAX_UNHEARD: usize = 100_000;

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: a ledger takes the number as an argument"
)]
fn draw_sender() -> u64 {
    fastrand::u64(..)
}
