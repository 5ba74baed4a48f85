//! The limiter of one process, as users hold it.

use crate::decision::{Decision, Policy, PolicyName};
use crate::error::ConfigError;
use crate::key::Key;
use crate::limiter::table::{Table, TableStats};
use crate::observe;
use crate::quota::Quota;
use crate::rule::{Gcra, Tat};
use crate::time::{Clock, LocalTime};
use crossbeam_utils::CachePadded;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Holds every key to one quota, counting in this process.
///
/// Cloning is cheap; clones share the counts. Never waits for I/O, never fails.
///
/// # Guarantees
/// * No key ever gets more than `burst + limit * t / window` in a stretch `t`, also when the table is full and keys
///   are forgotten.
/// * At most `max_keys` keys are held, at 32 to 64 bytes each, and one call looks at no more than 72 cells or moves
///   no more than 768.
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
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rule: Gcra,
    policy: Policy,
    clock: Clock,
    /// The cell of [`Key::EVERYONE`].
    everyone: CachePadded<AtomicU64>,
    table: Table,
    seen: observe::Decisions,
}

impl RateLimiter {
    /// A limiter with the defaults of [`RateLimiterBuilder`].
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::assemble(quota.into(), RateLimiterBuilder::MAX_KEYS, Clock::system())
    }

    /// Starts a limiter with options.
    pub fn builder(quota: Quota) -> RateLimiterBuilder {
        RateLimiterBuilder {
            quota,
            name: PolicyName::DEFAULT.as_str().into(),
            max_keys: RateLimiterBuilder::MAX_KEYS.get(),
            clock: Clock::system(),
        }
    }

    /// Books `cost` units on `key` if they fit, and says whether they did.
    #[inline]
    pub fn check(&self, key: &Key, cost: u32) -> Decision {
        self.check_at(key, cost, self.0.clock.now())
    }

    /// As [`Self::check`], at a moment that the caller has already read from the same clock.
    #[inline]
    pub fn check_at(&self, key: &Key, cost: u32, now: LocalTime) -> Decision {
        let inner = &*self.0;
        let decision = if *key == Key::EVERYONE {
            decide_on(&inner.everyone, &inner.rule, cost, now)
        } else {
            inner.table.decide(*key, &inner.rule, cost, now)
        };
        inner.seen.count(inner.policy.name(), &decision);
        decision
    }

    /// How `key` stands, without booking anything: as [`Self::check`] with a cost of 0.
    pub fn peek(&self, key: &Key) -> Decision {
        let inner = &*self.0;
        let now = inner.clock.now();
        if *key == Key::EVERYONE {
            return decide_on(&inner.everyone, &inner.rule, 0, now);
        }
        inner.table.peek(*key, &inner.rule, now)
    }

    /// The quota, and the name under which clients see it.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// How full the table is. Looks at every shard: for dashboards, not for the request path.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        self.0.table.stats()
    }

    fn assemble(policy: Policy, max_keys: NonZeroUsize, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            rule: Gcra::new(policy),
            policy,
            clock,
            everyone: CachePadded::new(AtomicU64::new(0)),
            table: Table::new(max_keys),
            seen: observe::Decisions::default(),
        }))
    }
}

/// One decision on a state that other threads change as well.
#[inline]
fn decide_on(cell: &AtomicU64, rule: &Gcra, cost: u32, now: LocalTime) -> Decision {
    let mut bits = cell.load(Ordering::Relaxed);
    loop {
        let (decision, after) = rule.decide(Tat::from_bits(bits), cost, now);
        let after = after.to_bits();
        if after == bits {
            return decision;
        }
        // Relaxed: the word is the whole state and guards nothing else.
        match cell.compare_exchange_weak(bits, after, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return decision,
            Err(other) => bits = other,
        }
    }
}

/// Options of a [`RateLimiter`].
///
/// # Defaults
/// * `name`: `default`
/// * `max_keys`: 100 000, which takes 3 to 6 MB when full
/// * `clock`: the boot-time clock
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder {
    quota: Quota,
    name: Box<str>,
    max_keys: usize,
    clock: Clock,
}

impl RateLimiterBuilder {
    const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    /// The name under which clients see the policy, in headers and problem documents: 1 to 64 letters, digits or any
    /// of `-_.:/`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The most keys to tell apart at a time. Set it to twice the clients that are active within a window: keys are
    /// spread by hash, so above 768 the first of them may share a cell when the table is nine tenths full.
    ///
    /// 1 000 000 takes 32 to 64 MB when full, and nothing before it is used.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Another clock, for tests and simulations.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The limiter.
    ///
    /// # Errors
    /// [`ConfigError`] if the name cannot be sent in a header or there is no room for a key.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        let policy = Policy::new(PolicyName::new(&self.name)?, self.quota);
        let max_keys = NonZeroUsize::new(self.max_keys).ok_or(ConfigError::MaxKeys)?;
        Ok(RateLimiter::assemble(policy, max_keys, self.clock))
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
    fn the_builder_refuses_what_cannot_work() {
        let builder = RateLimiter::builder(Quota::per_second(1));
        assert_eq!(
            builder.clone().max_keys(0).build().unwrap_err(),
            ConfigError::MaxKeys
        );
        assert!(matches!(
            builder.clone().name("two words").build().unwrap_err(),
            ConfigError::PolicyName { .. }
        ));
        let named = builder.name("writes").max_keys(1).build().unwrap();
        assert_eq!(named.policy().name().as_str(), "writes");
        assert_eq!(named.check(&Key::of("a"), 1).policy().as_str(), "writes");
    }

    #[test]
    fn handles_cross_threads() {
        const fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<RateLimiter>();
    }
}
