//! The limiter of one process, as users hold it.

use crate::decision::{Decision, Decisions, Policy};
use crate::key::Key;
use crate::limiter::RateLimiterBuilder;
use crate::limiter::carry::Successor;
use crate::limiter::draws::Draws;
#[cfg(feature = "fleet")]
use crate::limiter::lines::Lines;
use crate::limiter::local::Local;
use crate::limiter::refunds::Refunds;
use crate::limiter::table::TableStats;
use crate::observe;
use crate::quota::Quota;
use crate::rule::Moment;
use crate::time::{Clock, LocalTime};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// Holds every key to a quota, or to several at once, counting in this process.
///
/// Cloning is cheap; clones share the counts. Never waits for I/O, never fails.
///
/// # Guarantees
/// * No key ever gets more than the quota's rule says (see [`rule`](crate::rule)), also when the table is full and keys
///   are forgotten.
/// * Of several policies all allow a request, in one atomic step, or it consumes nothing of any.
/// * At most `max_keys` keys are held, at 32 to 64 bytes each under a token bucket (4/3 to 8/3 of 16 bytes and 8 for
///   each [word](crate::rule::Rule::words) of other rules), and one call looks at no more than 72 cells or moves no
///   more than 768.
/// * A key that is being denied is never forgotten. When every key in reach is being denied, new keys share one
///   overflow cell (one for each 768 keys of room), counted in [`TableStats::overflowed`].
///
/// # Examples
/// ```
/// use tidegate::{Key, Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_second(100).burst(1));
/// assert!(limiter.check(&Key::of("alice"), 1).is_allowed());
/// assert!(!limiter.check(&Key::of("alice"), 1).is_allowed());
/// assert!(limiter.check(&Key::of("bob"), 1).is_allowed());
///
/// let limiter = RateLimiter::builder(Quota::per_second(10))
///     .also("hourly", Quota::per_hour(1000).sliding())
///     .build()?;
/// assert_eq!(limiter.check(&Key::of("alice"), 1).policy().as_str(), "default");
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiter(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) policies: Box<[Policy]>,
    pub(super) clock: Clock,
    draws: Draws,
    pub(super) local: Local,
    pub(super) refunds: Arc<Refunds>,
    /// Whether another limiter takes over, or has.
    pub(super) leaving: AtomicBool,
    /// The one that has taken over. Set before any answer of `local` is none but those for everyone, for whom it is set
    /// in a moment.
    pub(super) successor: OnceLock<Successor>,
    pub(super) seen: observe::Decisions,
    #[cfg(feature = "fleet")]
    pub(super) lines: Lines,
}

impl RateLimiter {
    /// A limiter with the defaults of [`RateLimiterBuilder`].
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let policies = Box::new([quota.into()]);
        Self::assemble(
            policies,
            RateLimiterBuilder::MAX_KEYS,
            Clock::counter(),
            None,
        )
    }

    /// Starts a limiter with options.
    pub fn builder(quota: Quota) -> RateLimiterBuilder {
        RateLimiterBuilder::new(quota)
    }

    /// Books `cost` units on `key` if they fit, and says whether they did. Of several policies the
    /// [`binding`](crate::headers::binding) one answers.
    // Always in line, as is what it is made of: who asks no more than whether the request may pass then pays for no more,
    // and nobody copies a decision, which half written into small words costs more than making it.
    #[inline(always)]
    pub fn check(&self, key: &Key, cost: u32) -> Decision {
        self.check_at(key, cost, self.0.clock.now())
    }

    /// As [`Self::check`], at a moment that the caller has already read from the same clock. Calendars read the wall
    /// clock all the same.
    #[inline(always)]
    pub fn check_at(&self, key: &Key, cost: u32, now: LocalTime) -> Decision {
        if *key != Key::EVERYONE {
            return self.check_key(key, cost, now);
        }
        // A step on one word, made where this is called.
        if let Local::Bucket(bucket) = &self.0.local
            && let Some(decision) = bucket.decide_for_all(cost, now)
        {
            self.0.count(&decision);
            return decision;
        }
        self.check_anywhere(*key, cost, now)
    }

    /// As [`Self::check_at`], for one of many keys.
    #[inline(never)]
    fn check_key(&self, key: &Key, cost: u32, now: LocalTime) -> Decision {
        if let Local::Bucket(bucket) = &self.0.local
            && let Some(decision) = bucket.decide_for_key(key, cost, now)
        {
            self.0.count(&decision);
            return decision;
        }
        self.check_anywhere(*key, cost, now)
    }

    /// As [`Self::check_at`], whatever the rules are and wherever the counts.
    #[inline(never)]
    fn check_anywhere(&self, key: Key, cost: u32, now: LocalTime) -> Decision {
        self.where_it_counts(|inner| {
            let decision = inner.local.check(key, cost, inner.moment(now))?;
            inner.count(&decision);
            Some(decision)
        })
    }

    /// As [`Self::check`], with the answers of all policies.
    pub fn check_each(&self, key: &Key, cost: u32) -> Decisions {
        let now = self.0.clock.now();
        if let Local::Bucket(bucket) = &self.0.local
            && let Some(decision) = bucket.decide(key, cost, now)
        {
            self.0.count(&decision);
            return decision.into();
        }
        self.where_it_counts(|inner| {
            let decisions = inner.local.check_each(*key, cost, inner.moment(now))?;
            inner.count(decisions.binding());
            Some(decisions)
        })
    }

    /// As [`Self::check`], to who asks no more of an allowance than that it is one: that takes a third less.
    // For adapters alone: it may change in any release.
    #[doc(hidden)]
    pub fn refusal(&self, key: &Key, cost: u32) -> Option<Decision> {
        let now = self.0.clock.now();
        let decision = match &self.0.local {
            Local::Bucket(bucket) => bucket.decide(key, cost, now),
            Local::Several(_) => None,
        };
        let decision = match decision {
            Some(decision) => {
                self.0.count(&decision);
                decision
            }
            None => self.check_anywhere(*key, cost, now),
        };
        (!decision.is_allowed()).then_some(decision)
    }

    /// How `key` stands, without booking anything: as [`Self::check`] with a cost of 0, which passes unless a quota
    /// denies everything, however much is spent.
    pub fn peek(&self, key: &Key) -> Decision {
        self.where_it_counts(|inner| inner.local.ask(*key, 0, inner.now()))
    }

    /// As [`Self::peek`], with the answers of all policies.
    pub fn peek_each(&self, key: &Key) -> Decisions {
        self.where_it_counts(|inner| inner.local.ask_each(*key, inner.now()))
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

    /// How full the table is. Looks at every shard: for dashboards, not for the request path.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        self.0.local.stats()
    }

    /// Whether `other` is a clone of this one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A limiter with policies whose names differ.
    pub(crate) fn of_policies(
        policies: Box<[Policy]>,
        max_keys: NonZeroUsize,
        clock: Clock,
    ) -> Self {
        Self::assemble(policies, max_keys, clock, None)
    }

    /// What `act` does with the limiter in which what it asks for is counted: this one, or one that has taken over.
    #[inline]
    pub(super) fn where_it_counts<T>(&self, act: impl Fn(&Inner) -> Option<T>) -> T {
        match act(&self.0) {
            Some(done) => done,
            None => self.where_it_moved(act),
        }
    }

    #[cold]
    fn where_it_moved<T>(&self, act: impl Fn(&Inner) -> Option<T>) -> T {
        let mut inner = &*self.0;
        loop {
            inner = &inner.successor().limiter.0;
            if let Some(done) = act(inner) {
                return done;
            }
        }
    }

    pub(super) fn assemble(
        policies: Box<[Policy]>,
        max_keys: NonZeroUsize,
        clock: Clock,
        seed: Option<u64>,
    ) -> Self {
        Self(Arc::new(Inner {
            draws: Draws::new(seed),
            local: Local::new(&policies, max_keys),
            policies,
            clock,
            refunds: Arc::default(),
            leaving: AtomicBool::new(false),
            successor: OnceLock::new(),
            seen: observe::Decisions::default(),
            #[cfg(feature = "fleet")]
            lines: Lines::default(),
        }))
    }
}

impl Inner {
    /// The limiter that has taken over, where something has moved.
    pub(super) fn successor(&self) -> &Successor {
        self.successor.wait()
    }

    #[inline]
    fn count(&self, decision: &Decision) {
        self.seen.count(&self.policies, decision);
    }

    /// The present moment, for the rules.
    pub(super) fn now(&self) -> Moment {
        self.moment(self.clock.now())
    }

    /// The moment `now`, with what the rules need beside it.
    fn moment(&self, now: LocalTime) -> Moment {
        let mut at = Moment::at(now);
        if let Local::Several(several) = &self.local {
            if several.needs_wall {
                at.wall = self.clock.wall();
            }
            if several.needs_random {
                at.random = self.draws.next();
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Verdict;
    use crate::time::ManualClock;
    use std::time::Duration;

    fn limiter(quota: Quota) -> (RateLimiter, ManualClock) {
        let (clock, lever) = Clock::manual();
        (
            RateLimiter::builder(quota).clock(clock).build().unwrap(),
            lever,
        )
    }

    #[test]
    fn every_key_has_a_quota_of_its_own_and_clones_share_it() {
        let (limiter, lever) = limiter(Quota::per_second(2));
        let (alice, bob) = (Key::of("alice"), Key::of("bob"));
        assert!(limiter.check(&alice, 1).is_allowed());
        assert!(limiter.clone().check(&alice, 1).is_allowed());
        let denied = limiter.check(&alice, 1);
        assert_eq!(denied.outcome(), Verdict::Deny);
        assert!(limiter.check(&bob, 2).is_allowed());
        lever.advance(denied.retry_after().unwrap());
        assert!(limiter.check(&alice, 1).is_allowed());
        assert_eq!(limiter.stats().keys, 2);
    }

    #[test]
    fn everyone_is_one_cell_apart_from_all_keys() {
        let (limiter, lever) = limiter(Quota::per_second(1));
        assert!(limiter.check(&Key::EVERYONE, 1).is_allowed());
        assert!(!limiter.check(&Key::EVERYONE, 1).is_allowed());
        assert_eq!(limiter.peek(&Key::EVERYONE).remaining(), 0);
        assert!(limiter.check(&Key::of("alice"), 1).is_allowed());
        assert_eq!(limiter.stats().keys, 1);
        lever.advance(Duration::from_secs(1));
        assert!(limiter.check(&Key::EVERYONE, 1).is_allowed());
    }

    #[test]
    fn peeking_neither_books_nor_takes_room() {
        let (limiter, _lever) = limiter(Quota::per_second(2));
        let alice = Key::of("alice");
        assert_eq!(limiter.peek(&alice).remaining(), 2);
        assert_eq!(limiter.check(&alice, 0).remaining(), 2);
        assert_eq!(limiter.stats().keys, 0);
        assert_eq!(limiter.check(&alice, 1).remaining(), 1);
        assert_eq!(limiter.peek(&alice).remaining(), 1);
        assert_eq!(limiter.peek(&alice).remaining(), 1);
    }

    #[test]
    fn what_can_never_pass_takes_no_room() {
        let (closed, _lever) = limiter(Quota::DENY_ALL);
        assert_eq!(closed.check(&Key::of("a"), 1).outcome(), Verdict::Deny);
        let (small, _lever) = limiter(Quota::per_second(5));
        assert_eq!(small.check(&Key::of("a"), 6).outcome(), Verdict::TooLarge);
        assert_eq!(closed.stats().keys + small.stats().keys, 0);
    }

    #[test]
    fn handles_cross_threads() {
        const fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<RateLimiter>();
    }
}
