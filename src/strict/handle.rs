//! The strict limiter as users hold it, and the way of a decision: remembered, asked, or made without the store.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
use crate::limiter::lines::Lines;
use crate::limits::NamedLimit;
use crate::observe;
use crate::quota::Quota;
use crate::rule::{Carry, Moment};
use crate::store::redis::rates::{Operation, Rates, Standing};
use crate::store::{RedisStore, StoreError};
use crate::strict::StrictLimiterBuilder;
use crate::strict::breaker::{Breaker, Change, Pass};
use crate::strict::clock_of_store::ClockOfStore;
use crate::strict::denied::{DeniedKeys, Heard};
use crate::strict::failure::{self, Fallback};
use crate::strict::telling::{TellingAll, tell_all};
use crate::strict::unheard::Unheard;
use crate::strict::untold::Untold;
use crate::time::Clock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Holds every key to a quota, or to several at once, counting in a store for all processes.
///
/// Cloning is cheap; clones share everything. All limiters over the same store, namespace and windows count together;
/// their limits may differ, and may change without losing counts.
///
/// # Guarantees
/// * Of all processes together no key ever gets more than the quota's rule says (see [`rule`](crate::rule)), as long as
///   the store keeps its data and failures are answered by [`OnFailure::Deny`](super::OnFailure::Deny).
/// * Of several policies all allow a request, in one atomic step, or it consumes nothing of any.
/// * No decision is repeated. One whose answer did not come in time may have been counted: that request is lost for its
///   key, and nobody gets more for it.
/// * What was admitted without the store is told in numbered messages, which are repeated until the store has confirmed
///   them and count once, also where an answer was lost. Redis keeps the numbers of the last 64 processes that told it
///   of a key, for as long as the key's counts; of more than that, one that repeats its message may count twice.
/// * Nobody waits longer than [`patience`](StrictLimiterBuilder::patience), thrice that for a key that was decided on
///   without the store and is being told of, and nobody at all while the circuit breaker is open.
/// * `retry_after` is exact on the store's clock, which is in microseconds. Put forward, everything comes back so much
///   earlier: by an hour, up to the limit once more. Put back, nobody gets more for it, and what was counted goes on to
///   count as if the clock had always been so: a key is kept out for two of its windows and ten seconds at most.
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
    parts: Parts,
    breaker: Mutex<Breaker>,
    clock_of_store: ClockOfStore,
    pub(super) unheard: Arc<Unheard>,
    pub(super) telling: AtomicBool,
    pub(super) telling_lines: Lines,
    pub(super) lines: Lines,
    counts: Counts,
    seen: observe::Decisions,
}

/// What a limiter is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) rates: Rates,
    pub(crate) fallback: Fallback,
    pub(crate) breaker: Breaker,
    pub(crate) denied: DeniedKeys,
    pub(crate) untold: Arc<Untold>,
    pub(crate) patience: Duration,
    pub(crate) clock: Clock,
}

impl Parts {
    /// Decides while the store does not answer; what a share admits at `moment` is to be told.
    pub(crate) fn decide_without(&self, key: Key, cost: u32, moment: Moment) -> Decisions {
        let policies = self.rates.spelling().policies();
        match &self.fallback {
            Fallback::Deny => failure::unavailable(policies),
            Fallback::Allow => failure::let_pass(policies),
            Fallback::Share(share) => {
                let decisions = share.check_each(&key, cost);
                if cost > 0 && decisions.is_allowed() {
                    self.untold.add(key, cost, moment);
                }
                decisions
            }
        }
    }

    /// Goes on with what was counted without the store before, at `moment` on its clock, if both count in one place.
    /// Says how counts go on then.
    pub(crate) fn take_over(&self, before: &Self, moment: Moment) -> Option<Carry> {
        if !self.rates.counts_with(&before.rates) {
            return None;
        }
        if let (Fallback::Share(next), Fallback::Share(before)) = (&self.fallback, &before.fallback)
        {
            next.take_over(before);
        }
        let [from, to] = [before, self].map(|parts| parts.rates.spelling().policies());
        let carry = Carry::new(from, to);
        let own = carry.clone();
        before.untold.hand_over(&self.untold, own, moment);
        Some(carry)
    }

    /// Books units whether they fit or not, while the store does not answer: it is told when it does.
    pub(crate) fn book_without(&self, key: Key, units: u32, moment: Moment) {
        self.book_in_share(key, units);
        self.untold.add(key, units, moment);
    }

    /// The same of units that the store will be told of anyway.
    pub(crate) fn book_in_share(&self, key: Key, units: u32) {
        if let Fallback::Share(share) = &self.fallback
            && let Ok(nothing) = share.reserve(&key, 0)
        {
            nothing.commit(units);
        }
    }

    /// Gives back what was admitted without the store, and is not told yet.
    pub(crate) fn give_back_without(&self, key: Key, units: u32, moment: Moment) {
        if self.give_back_to_share(key, units) {
            self.untold.give_back(key, units, moment);
        }
    }

    /// Whether there is a share.
    pub(crate) fn give_back_to_share(&self, key: Key, units: u32) -> bool {
        let Fallback::Share(share) = &self.fallback else {
            return false;
        };
        share.refund(&key, units);
        true
    }
}

#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    failures: AtomicU64,
    without: AtomicU64,
    remembered: AtomicU64,
}

/// What has happened to a [`StrictLimiter`] since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StrictStats {
    /// Whether the store is asked: false while the circuit breaker is open or probing.
    pub up: bool,
    /// Times that the store was asked.
    pub asked: u64,
    /// Times that it did not answer in time, or not as it should.
    pub failures: u64,
    /// Decisions that were made without it.
    pub without: u64,
    /// Denials that were remembered, and cost no round trip.
    pub remembered: u64,
    /// Keys that something was admitted on which the store does not know of yet, or has not said so.
    pub untold: usize,
    /// Units that were admitted and that the store will never know of, since there were too many keys.
    pub lost: u64,
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
        }
    }

    /// Goes on with what the limiter before this one has counted without the store, and not told it.
    pub(crate) fn take_over(&self, before: &Self) {
        if !Arc::ptr_eq(&self.0, &before.0) {
            let (next, before) = (&*self.0, &*before.0);
            let moment = before.moment();
            if let Some(carry) = next.parts.take_over(&before.parts, moment) {
                before.unheard.hand_over(&next.unheard, carry, moment);
            }
        }
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
            lines: Lines::default(),
            counts: Counts::default(),
            seen: observe::Decisions::default(),
        }))
    }

    /// The decisions on a request, and how the key stood if the store has decided.
    pub(super) async fn weigh_in_store(
        &self,
        key: Key,
        cost: u32,
    ) -> (Decisions, Option<Standing>) {
        let inner = &*self.0;
        let parts = &inner.parts;
        let now = parts.clock.now();
        if let Some(decisions) = self.remembered(key, cost) {
            return (decisions, None);
        }
        let spelling = parts.rates.spelling();
        // A coin that is thrown again may fall otherwise.
        let random = if spelling.needs_random() { draw() } else { 0 };
        let asked = self.ask_to_decide(key, cost, random).await;
        let told = asked.and_then(|standing| {
            let decisions = standing.decisions(spelling, cost, random)?;
            Ok((decisions, standing))
        });
        let Ok((decisions, standing)) = told else {
            return (self.without(key, cost), None);
        };
        if cost > 0
            && !decisions.is_allowed()
            && let Some(wait) = standing.denied_for(spelling, cost)
        {
            let denial = Heard {
                cost,
                decisions: &decisions,
                standing: Some(standing.clone()),
                wait: Some(wait),
            };
            parts.denied.note(key, denial, now, parts.clock.now());
        }
        (decisions, Some(standing))
    }

    /// The decisions without the store.
    pub(super) fn without(&self, key: Key, cost: u32) -> Decisions {
        let inner = &*self.0;
        inner.counts.without.fetch_add(1, Ordering::Relaxed);
        inner.parts.decide_without(key, cost, inner.moment())
    }

    /// A denial that needs no store: of what could never be allowed, or one that still holds.
    pub(super) fn remembered(&self, key: Key, cost: u32) -> Option<Decisions> {
        let inner = &*self.0;
        if cost == 0 {
            return None;
        }
        let spelling = inner.parts.rates.spelling();
        if let Some(never) = spelling.never(cost) {
            return Some(never);
        }
        let now = inner.parts.clock.now();
        let more = |standing: &Standing| standing.denial_of_more(spelling, cost);
        let decisions = inner.parts.denied.find(key, cost, now, more)?;
        inner.counts.remembered.fetch_add(1, Ordering::Relaxed);
        Some(decisions)
    }

    /// Asks the store once, if it is to be asked, having told it first what it does not know of this key.
    pub(super) async fn ask(
        &self,
        key: Key,
        operation: Operation<'_>,
    ) -> Result<Standing, StoreError> {
        let parts = &self.0.parts;
        let ask = || parts.rates.ask(key, operation, parts.patience);
        self.ask_after_telling(key, ask).await
    }

    /// As [`Self::ask`]. What a share has admitted, since the answer came too late, need not be told if it was counted.
    async fn ask_to_decide(
        &self,
        key: Key,
        cost: u32,
        random: u32,
    ) -> Result<Standing, StoreError> {
        let parts = &self.0.parts;
        let operation = parts.rates.spelling().decide(cost, random);
        if !matches!(parts.fallback, Fallback::Share(_)) {
            return self.ask(key, operation).await;
        }
        let inner = Arc::clone(&self.0);
        let late = move || {
            let moment = inner.moment();
            inner.unheard.give_back(key, cost, moment);
        };
        let (rates, patience) = (&parts.rates, parts.patience);
        let ask = || rates.ask_or_hear_late(key, operation, patience, late);
        self.ask_after_telling(key, ask).await
    }

    async fn ask_after_telling<F>(
        &self,
        key: Key,
        ask: impl FnOnce() -> F,
    ) -> Result<Standing, StoreError>
    where
        F: Future<Output = Result<Standing, StoreError>>,
    {
        let inner = &*self.0;
        if inner.unheard.is_left() {
            self.tell(key).await?;
        }
        let standing = inner.ask_once(ask).await?;
        if inner.unheard.is_left()
            && let Some(turn) = TellingAll::begin(self)
        {
            tokio::spawn(tell_all(turn));
        }
        Ok(standing)
    }
}

impl Inner {
    pub(super) const fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn count(&self, decision: &Decision) {
        let policies = self.parts.rates.spelling().policies();
        self.seen.count(policies, decision);
    }

    /// The present moment on the store's clock, as far as it is known here.
    pub(super) fn moment(&self) -> Moment {
        self.clock_of_store.at(self.parts.clock.now()).moment(0)
    }

    pub(super) async fn ask_once<F>(&self, ask: impl FnOnce() -> F) -> Result<Standing, StoreError>
    where
        F: Future<Output = Result<Standing, StoreError>>,
    {
        let now = self.parts.clock.now();
        let Some(pass) = self.breaker().pass(now) else {
            return Err(away());
        };
        let mut question = Question {
            inner: self,
            pass: Some(pass),
        };
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        let answer = ask().await;
        question.answered(answer.as_ref().err());
        if let Ok(standing) = &answer {
            self.clock_of_store
                .note(standing.now(), self.parts.clock.now());
        }
        answer
    }

    /// Whether a question would not be refused by the breaker.
    pub(super) fn may_ask(&self) -> bool {
        self.breaker().would_pass(self.parts.clock.now())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way. Dropped before its answer, it leaves the breaker as it is.
struct Question<'a> {
    inner: &'a Inner,
    pass: Option<Pass>,
}

impl Question<'_> {
    fn answered(&mut self, failure: Option<&StoreError>) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let now = self.inner.parts.clock.now();
        let change = match failure {
            None => self.inner.breaker().handle_answer(pass),
            Some(_) => {
                self.inner.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.inner.breaker().handle_failure(pass, now)
            }
        };
        match (change, failure) {
            (Change::Opened, Some(error)) => observe::rates_store_away(error),
            (Change::Closed, _) => observe::rates_store_back(),
            _ => {}
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let now = self.inner.parts.clock.now();
            self.inner.breaker().handle_abandoned(pass, now);
        }
    }
}

pub(super) fn away() -> StoreError {
    StoreError::new(
        crate::store::StoreErrorKind::Unreachable,
        "the store has failed too often and is left alone for a while",
    )
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

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: rules take the number as an argument"
)]
fn draw() -> u32 {
    (fastrand::u64(..) >> 32) as u32
}
