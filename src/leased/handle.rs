//! The leased limiter as users hold it, and the way of a decision: from what is in hand, remembered, waited for, or made
//! without the store.

use crate::decision::{Decision, Decisions, NO_WAIT, Policy, Verdict};
use crate::key::Key;
use crate::leased::LeasedLimiterBuilder;
use crate::leased::booked::Booked;
use crate::leased::driver::Close;
use crate::leased::lease::Lease;
use crate::leased::shared::{self, Shard, Shared};
use crate::leased::tier::Now;
use crate::limiter::count::Booking;
use crate::limiter::lines::Lines;
use crate::limiter::remote::Remote;
use crate::limits::NamedLimit;
use crate::observe;
use crate::quota::{Kind, Quota};
use crate::rule::Moment;
use crate::store::RedisStore;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use tokio::sync::{mpsc, oneshot};

/// Holds every key to a quota, or to several at once, over many processes: units are taken from a Redis in batches and
/// spent in this process.
///
/// Cloning is cheap; clones share everything. All leased limiters over the same store, namespace and windows count
/// together, and with no others. The background task ends, having given back what is left, with the last handle.
///
/// # Guarantees
/// * Of all processes together no key ever gets more than the quota's rule says (see [`rule`](crate::rule)) plus
///   [`overshoot_bound`](Self::overshoot_bound), which is 0 unless [`late`](LeasedLimiterBuilder::late) says otherwise,
///   as long as the store keeps its data, its clock is not set, and failures are answered by
///   [`OnFailure::Deny`](crate::strict::OnFailure::Deny). [`leased`](crate::leased) has the proof.
/// * Of several policies all allow a request, or it consumes nothing of any.
/// * A key that is asked for often is decided on in memory; nobody waits longer than twice
///   [`patience`](LeasedLimiterBuilder::patience), and nobody at all while the circuit breaker is open.
/// * What is in hand goes back when nobody comes for it, before its window ends, when the key makes room for another, and
///   at [`close`](Self::close). Before that, what goes back is said again until the store has heard it, also of keys that
///   were forgotten: of `max_keys` of them at most. A message that is lost or repeated counts nothing twice. A process that dies takes with
///   it what it had in hand and what its callers were waiting for: nobody can spend that before it comes back by itself.
/// * In hand is what was taken in advance, at most [`max_batch`](LeasedLimiterBuilder::max_batch) units of a key; what came
///   for callers that have gone, for the last [`check`](Self::check) or back from a reservation is put to it.
/// * At most `max_keys` keys are held, and those that somebody waits for.
/// * A store that forgot begins anew: up to the limit once more. One whose clock is put back keeps nobody out for longer
///   than two windows and ten seconds; what was in hand then may be spent in another window than the one it counts in, and
///   is not given back.
///
/// # Examples
/// ```no_run
/// use tidegate::leased::LeasedLimiter;
/// use tidegate::store::RedisStore;
/// use tidegate::{Key, Quota};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let limiter = LeasedLimiter::builder(store, "api", Quota::per_second(1_000))
///     .also("monthly", "100000000/month calendar".parse()?)
///     .build()?;
/// if limiter.decide(&Key::of("alice"), 1).await.is_allowed() {
///     // ...
/// }
/// limiter.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LeasedLimiter(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    max_keys: usize,
    pub(super) lines: Lines,
    /// Dropped with the last handle, which ends the task.
    close: mpsc::UnboundedSender<Close>,
    pub(super) seen: observe::Decisions,
}

/// A limiter was closed, or its background task had ended, before the store had confirmed that it has everything back.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "closed while the store had not confirmed {units} units that were given back: it may count them until they come \
     back by themselves"
)]
pub struct Unreturned {
    /// How many are known of; 0 if only questions were under way when the task ended with its runtime.
    pub units: u64,
}

/// What a [`LeasedLimiter`] holds, and what has happened to it since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct LeasedStats {
    /// Keys that something is known of.
    pub keys: usize,
    /// The most keys that are kept.
    pub max_keys: usize,
    /// Units in hand, or on their way back.
    pub held: u64,
    /// Whether the store is asked: false while the circuit breaker is open or probing, and after the end.
    pub up: bool,
    /// Questions to the store, each about one key; many share a round trip.
    pub asked: u64,
    /// Messages that it did not answer in time, or not as it should.
    pub failures: u64,
    /// Decisions from what was in hand.
    pub in_hand: u64,
    /// Decisions that waited for the store.
    pub waits: u64,
    /// Denials that were remembered, and asked nobody.
    pub remembered: u64,
    /// Decisions that were made without the store.
    pub without: u64,
    /// Keys that made room for others.
    pub evicted: u64,
    /// Keys that something was admitted on which the store does not know of yet.
    pub untold: usize,
    /// Units that were admitted and that the store will never know of, since 100 000 keys were to be told of, and something
    /// was left of each.
    pub lost: u64,
}

impl LeasedLimiter {
    /// Starts a limiter that takes its units from `store`, together with all of the same `namespace`.
    pub fn builder(store: RedisStore, namespace: &str, quota: Quota) -> LeasedLimiterBuilder {
        LeasedLimiterBuilder::new(store, namespace, quota)
    }

    /// Starts a limiter for a limit of a plan: see [`Limits::made_by`]. It counts in the namespace `namespace|name`, so
    /// that counts outlive every change of the plan.
    ///
    /// [`Limits::made_by`]: crate::limits::Limits::made_by
    pub fn for_limit(
        store: RedisStore,
        namespace: &str,
        limit: &NamedLimit<'_>,
    ) -> LeasedLimiterBuilder {
        let namespace = limit.namespace(namespace);
        LeasedLimiterBuilder::of_policies(store, &namespace, limit.policies())
            .max_keys(limit.max_keys())
    }

    /// Goes on with what the limiter before this one has counted without the store, and not told it.
    pub(crate) fn take_over(&self, before: &Self) {
        let (next, before) = (&self.0.shared, &before.0.shared);
        let carry = next.parts.take_over(&before.parts, before.moment());
        if carry.is_some() {
            // Who takes over first is the only one.
            let _ = before.successor.set(Arc::clone(next));
        }
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether another limiter has taken over, so that this one cannot begin again.
    pub(crate) fn has_left(&self) -> bool {
        self.0.shared.parts.has_left()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        max_keys: usize,
        close: mpsc::UnboundedSender<Close>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            max_keys,
            lines: Lines::default(),
            close,
            seen: observe::Decisions::default(),
        }))
    }

    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers. A cost of 0 books nothing.
    ///
    /// # Cancel safety
    /// What came for a future that was dropped before it was ready is put in hand.
    pub async fn decide(&self, key: &Key, cost: u32) -> Decision {
        *self.decide_each(key, cost).await.binding()
    }

    /// As [`Self::decide`], with the answers of all policies.
    pub async fn decide_each(&self, key: &Key, cost: u32) -> Decisions {
        let (decisions, _) = self.weigh(*key, cost, Booking::Spent).await;
        self.count(decisions.binding());
        decisions
    }

    /// As [`Self::decide`], but from what is in hand now. Where that is too little the answer is a denial without a wait,
    /// and the store is asked for as much, so that there is something for the next one: once for all who find too little
    /// until it answers, and for the largest `cost` of them.
    pub fn check(&self, key: &Key, cost: u32) -> Decision {
        let decisions = match self.here(*key, cost, Booking::Spent) {
            Here::Decided(decisions, _) => decisions,
            Here::Without => self.without(*key, cost).0,
            Here::Missing(Missing {
                shard,
                mut inner,
                now,
            }) => {
                inner.tier.hint(*key, cost, now);
                self.0.shared.notice(shard, &inner.tier);
                let mut standing = *inner.tier.peek(*key, now).binding();
                (standing.outcome, standing.retry_after_nanos) = (Verdict::Deny, NO_WAIT);
                standing.into()
            }
        };
        self.count(decisions.binding());
        *decisions.binding()
    }

    /// How `key` stands as far as it is known here: what the store had left when it was asked last, and what is in hand.
    /// Books nothing, and asks nobody.
    pub fn peek(&self, key: &Key) -> Decision {
        *self.peek_each(key).binding()
    }

    /// As [`Self::peek`], with the answers of all policies.
    pub fn peek_each(&self, key: &Key) -> Decisions {
        let shared = &self.0.shared;
        shared.shard(*key).lock().tier.peek(*key, shared.now())
    }

    /// How many units the limiters of `processes` together may let pass beyond the rule, in any stretch of time.
    #[must_use]
    pub fn overshoot_bound(&self, processes: u32) -> u64 {
        let bucket = |policy: &Policy| matches!(policy.quota().kind(), Kind::TokenBucket);
        let late = match self.policies().iter().any(bucket) {
            true => self.0.shared.setup.late,
            false => 0,
        };
        u64::from(late) * u64::from(processes)
    }

    /// The quota, and the name under which clients see it; of several the first.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policies()[0]
    }

    /// All policies, in the order in which they were given.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        self.0.shared.parts.rates.spelling().policies()
    }

    /// Looks at everything: for dashboards, not for the request path.
    #[must_use]
    pub fn stats(&self) -> LeasedStats {
        let shared = &*self.0.shared;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut stats = LeasedStats {
            max_keys: self.0.max_keys,
            up: shared.is_up(),
            asked: read(&shared.counts.asked),
            failures: read(&shared.counts.failures),
            in_hand: read(&shared.counts.in_hand),
            waits: read(&shared.counts.waits),
            remembered: read(&shared.counts.remembered),
            without: read(&shared.counts.without),
            untold: shared.parts.untold.keys(),
            lost: shared.parts.untold.lost(),
            ..LeasedStats::default()
        };
        let now = shared.now().local;
        for shard in &shared.shards {
            let inner = shard.lock();
            stats.keys += inner.tier.keys();
            stats.held += inner.tier.unreturned(now);
            stats.evicted += inner.tier.evicted();
        }
        stats
    }

    /// Gives everything back, tells the store what was admitted without it, unless the store is left alone as it does not
    /// answer, and ends the background task. Decisions after that are made as while the store does not answer.
    ///
    /// # Errors
    /// If the store did not confirm within twice the patience that it has everything back, or nobody could give it back,
    /// since the background task had ended with its runtime. What was admitted without the store and could not be told is no
    /// error: of how many keys that is so say the [`stats`](Self::stats).
    pub async fn close(&self) -> Result<(), Unreturned> {
        let (closed, told) = oneshot::channel();
        // Where nobody listens any more, the sender is gone.
        let _ = self.0.close.send(closed);
        match told.await {
            Ok(0) => Ok(()),
            Ok(units) => Err(Unreturned { units }),
            // It has ended before.
            Err(_) => self
                .0
                .shared
                .ended()
                .unwrap_or(Err(Unreturned { units: 0 })),
        }
    }

    /// What can be said without the store.
    #[inline]
    pub(super) fn here(&self, key: Key, cost: u32, booking: Booking) -> Here<'_> {
        let shared = &*self.0.shared;
        if cost == 0 {
            return Here::Decided(self.peek_each(&key), Vec::new());
        }
        let (now, shard) = (shared.now(), shared.shard(key));
        let mut leases = Vec::new();
        let draw = match booking {
            Booking::Spent => None,
            Booking::Kept => Some(&mut leases),
        };
        let mut inner = shard.lock();
        if let Some(decisions) = inner.tier.spend(key, cost, now, draw) {
            shared.notice(shard, &inner.tier);
            shared.counts.in_hand.fetch_add(1, Ordering::Relaxed);
            return Here::Decided(decisions, leases);
        }
        if let Some(never) = self.never(cost, now) {
            return Here::Decided(never, Vec::new());
        }
        // The store said so of less: what was left then says how long this has to wait.
        let more = |_: Option<&_>, _| inner.tier.denial(key, cost, now);
        if let Some(decisions) = shared.parts.denied.find(key, cost, now.local, more) {
            shared.counts.remembered.fetch_add(1, Ordering::Relaxed);
            return Here::Decided(decisions, Vec::new());
        }
        if !shared.may_ask(now.local) {
            return Here::Without;
        }
        let untold = &shared.parts.untold;
        if untold.keys() > 0
            && let Some(units) = untold.take(key, shared.moment())
        {
            inner.tier.owe(key, &units, now);
        }
        Here::Missing(Missing { shard, inner, now })
    }

    /// The denial of a cost that could never be allowed.
    pub(super) fn never(&self, cost: u32, now: Now) -> Option<Decisions> {
        let rules = &self.0.shared.setup.rules;
        let nothing = || vec![0; rules.words()];
        let at = Moment::at(now.local);
        let never = || rules.ask_each(&nothing(), cost, at).unknown();
        (!fits(self.policies(), cost)).then(never)
    }

    /// The decisions without the store, and where the request is counted.
    pub(super) fn without(&self, key: Key, cost: u32) -> (Decisions, Booked) {
        let shared = &*self.0.shared;
        shared.counts.without.fetch_add(1, Ordering::Relaxed);
        let moment = shared.moment();
        let decisions = shared.parts.decide_without(key, cost, moment);
        let booked = match cost > 0 && decisions.is_allowed() {
            true => Booked::Without(moment),
            false => Booked::Nothing,
        };
        (decisions, booked)
    }
}

/// What could be decided here.
pub(super) enum Here<'a> {
    Decided(Decisions, Vec<Lease>),
    Without,
    /// There is not enough in hand, and the store may be asked.
    Missing(Missing<'a>),
}

/// The shard of the key, still locked: whoever waits from here on is found by whatever ends the wait.
pub(super) struct Missing<'a> {
    pub(super) shard: &'a Shard,
    pub(super) inner: MutexGuard<'a, shared::Inner>,
    pub(super) now: Now,
}

/// Whether such a cost could ever be allowed.
fn fits(policies: &[Policy], cost: u32) -> bool {
    let fits = |policy: &Policy| {
        let quota = policy.quota();
        !quota.denies_all() && cost <= quota.burst_size()
    };
    policies.iter().all(fits)
}
