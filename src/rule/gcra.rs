//! The generic cell rate algorithm: a token bucket whose whole state is one timestamp.
//!
//! ITU-T I.371 (virtual scheduling). The state is the theoretical arrival time (TAT): the moment at which
//! everything spent so far has come back.
//!
//! ```text
//!            used = TAT - now            may grow to the tolerance = burst * interval
//!  ────┬───────────────────────────┬──────────────────┬─────────▶ time
//!     now                         TAT          now + tolerance
//! ```

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Policy, PolicyName, Verdict};
use crate::quota::TICKS_PER_NANO;
use crate::rule::Refund;
use crate::time::LocalTime;

/// The state of one key: its theoretical arrival time, in sixteenths of a nanosecond of [`LocalTime`].
///
/// A key that was never seen has [`Tat::IDLE`], and so has in effect every key whose TAT is past.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tat(u64);

impl Tat {
    /// Nothing spent.
    pub const IDLE: Self = Self(0);

    /// The state that [`Self::to_bits`] gave.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The state as a number that grows with what was spent.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether everything has come back by `now`: forgetting the key changes no decision.
    #[inline]
    #[must_use]
    pub const fn is_idle(self, now: LocalTime) -> bool {
        self.0 <= ticks(now)
    }
}

/// The rule of one policy.
///
/// # Guarantees
/// * In any stretch of time `t` at most `burst + limit * t / window` units are allowed.
/// * Equality allows: a request that uses the last bit of the tolerance passes.
/// * A denial changes nothing: hammering does not prolong the wait.
/// * `retry_after` is exact to the nanosecond.
///
/// # Examples
/// ```
/// use tidegate::rule::{Gcra, Tat};
/// use tidegate::time::LocalTime;
/// use tidegate::Quota;
///
/// let rule = Gcra::new(Quota::per_second(1).into());
/// let now = LocalTime::from_nanos(5);
/// let (first, state) = rule.decide(Tat::IDLE, 1, now);
/// let (second, same) = rule.decide(state, 1, now);
/// assert!(first.is_allowed() && !second.is_allowed());
/// assert_eq!(state, same);
/// let (third, _) = rule.decide(state, 1, now.saturating_add(second.retry_after().unwrap()));
/// assert!(third.is_allowed());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gcra {
    /// Ticks in which one unit comes back; 0 in a rule that denies everything.
    interval: u64,
    /// Ticks in which a full burst comes back.
    tolerance: u64,
    /// Units in a full burst; 0 in a rule that denies everything.
    burst: u32,
    policy: PolicyName,
}

impl Gcra {
    /// The rule that enforces `policy`.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        let quota = policy.quota();
        let (interval, burst) = match quota.interval_ticks() {
            Some(interval) if !quota.denies_all() => (interval, quota.burst_size()),
            _ => (0, 0),
        };
        Self {
            interval,
            // At most 15 years of ticks: Quota has seen to it.
            tolerance: interval * burst as u64,
            burst,
            policy: policy.name(),
        }
    }

    /// Decides on a request that costs `cost` units at `now`, and says what the key's state is afterwards.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how things stand.
    #[inline]
    pub const fn decide(&self, state: Tat, cost: u32, now: LocalTime) -> (Decision, Tat) {
        let now = ticks(now);
        let used = state.0.saturating_sub(now);
        if self.burst == 0 {
            return (self.answer(Verdict::Deny, used, NO_WAIT), state);
        }
        if cost > self.burst {
            return (self.answer(Verdict::TooLarge, used, NO_WAIT), state);
        }
        // The cost is at most the tolerance, which is below 2^63, and so is what was used under this rule.
        let wanted = used.saturating_add(self.interval * cost as u64);
        if wanted > self.tolerance {
            let wait = (wanted - self.tolerance).div_ceil(TICKS_PER_NANO);
            return (self.answer(Verdict::Deny, used, wait), state);
        }
        let after = if cost == 0 {
            state
        } else {
            Tat(now.saturating_add(wanted))
        };
        (self.answer(Verdict::Allow, wanted, NO_WAIT), after)
    }

    /// Whether a key in `state` could not even be allowed a cost of 1 at `now`.
    #[inline]
    #[must_use]
    pub const fn is_exhausted(&self, state: Tat, now: LocalTime) -> bool {
        let used = state.0.saturating_sub(ticks(now));
        self.burst == 0 || used.saturating_add(self.interval) > self.tolerance
    }

    /// Books `units` whether they fit or not.
    pub(crate) const fn book(&self, state: Tat, units: u32, now: LocalTime) -> Tat {
        let now = ticks(now);
        let from = if state.0 > now { state.0 } else { now };
        Tat(from.saturating_add(self.interval.saturating_mul(units as u64)))
    }

    /// Gives back what is still to come of a booking that left the TAT at `mark`.
    ///
    /// Units come back in the order in which they were booked. So the booking's are the last ones before its mark, which
    /// refunds since have moved forward by at most what they gave back; and they cannot have begun to come back before
    /// they were booked. Either bound is safe, and so is the better one.
    pub(crate) fn give_back(&self, state: Tat, refund: Refund, mark: Tat, now: LocalTime) -> Tat {
        if mark == Tat::IDLE {
            // No booking leaves it: nothing can be given back.
            return state;
        }
        let now = ticks(now);
        let booked = self.interval.saturating_mul(refund.units.into());
        let moved = self.interval.saturating_mul(refund.others);
        let before_mark = mark.0.saturating_sub(moved).saturating_sub(now);
        let since = now.saturating_sub(ticks(refund.booked));
        let left = before_mark.max(booked.saturating_sub(since)).min(booked);
        Tat(state.0.saturating_sub(left))
    }

    /// The state under this rule of a key that was in `state` under rule `from`: as many units are spent, but never more
    /// than a full burst, so that a key need not wait for what it could not have spent under this rule.
    pub(super) fn carry(&self, from: &Self, state: Tat, now: LocalTime) -> Tat {
        let now = ticks(now);
        let used = state.0.saturating_sub(now);
        if used == 0 || from.interval == 0 {
            return Tat::IDLE;
        }
        let scaled = u128::from(used) * u128::from(self.interval);
        let used = scaled.div_ceil(u128::from(from.interval));
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        Tat(now.saturating_add(used.min(self.tolerance)))
    }

    /// What has not come back at `now`, and what a full burst is, in the same unit.
    pub(super) const fn used(&self, state: Tat, now: LocalTime) -> (u64, u64) {
        (state.0.saturating_sub(ticks(now)), self.tolerance)
    }

    /// Ticks in which one unit comes back.
    #[cfg(feature = "redis")]
    pub(super) const fn interval(&self) -> u64 {
        self.interval
    }

    /// Units that are not back at `now`, rounded up.
    #[cfg(feature = "redis")]
    pub(super) const fn outstanding(&self, state: Tat, now: LocalTime) -> u64 {
        match self.interval {
            0 => 0,
            interval => state.0.saturating_sub(ticks(now)).div_ceil(interval),
        }
    }

    #[inline]
    const fn answer(&self, outcome: Verdict, used: u64, retry_after_nanos: u64) -> Decision {
        let left = self.tolerance.saturating_sub(used);
        Decision {
            outcome,
            limit: self.burst,
            // Rounded down: less than a unit is none. At most `burst`, so it fits.
            remaining: match left.checked_div(self.interval) {
                Some(units) => units as u32,
                None => 0,
            },
            chance: NOT_DRAWN,
            retry_after_nanos,
            reset_after_nanos: used.div_ceil(TICKS_PER_NANO),
            policy: self.policy,
        }
    }
}

#[inline]
const fn ticks(at: LocalTime) -> u64 {
    at.as_nanos().saturating_mul(TICKS_PER_NANO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use proptest::prelude::*;
    use std::time::Duration;

    const START: LocalTime = LocalTime::from_nanos(1_000_000_000_000);

    fn rule(quota: Quota) -> Gcra {
        Gcra::new(quota.into())
    }

    #[test]
    fn a_burst_passes_at_once_and_the_next_waits_one_interval() {
        let rule = rule(Quota::per_second(100).burst(20));
        let mut state = Tat::IDLE;
        for left in (0..20).rev() {
            let (decision, after) = rule.decide(state, 1, START);
            assert_eq!(
                (decision.outcome(), decision.remaining()),
                (Verdict::Allow, left)
            );
            state = after;
        }
        let (denied, after) = rule.decide(state, 1, START);
        assert_eq!(denied.outcome(), Verdict::Deny);
        assert_eq!((denied.limit(), denied.remaining()), (20, 0));
        assert_eq!(denied.retry_after(), Some(Duration::from_millis(10)));
        assert_eq!(denied.reset_after(), Duration::from_millis(200));
        assert_eq!(after, state, "the TAT never moves on a denial");
    }

    #[test]
    fn a_cost_above_the_burst_is_too_large_however_long_one_waits() {
        let rule = rule(Quota::per_second(100).burst(20));
        let (decision, after) = rule.decide(Tat::IDLE, 21, START);
        assert_eq!(decision.outcome(), Verdict::TooLarge);
        assert_eq!(decision.retry_after(), None);
        assert_eq!((decision.remaining(), after), (20, Tat::IDLE));
        let (fits, _) = rule.decide(Tat::IDLE, 20, START);
        assert!(fits.is_allowed());
    }

    #[test]
    fn zero_denies_everything_and_promises_nothing() {
        for quota in [
            Quota::DENY_ALL,
            Quota::per_second(9).burst(0),
            Quota::per_day(0).burst(5),
        ] {
            for cost in [0, 1, u32::MAX] {
                let (decision, after) = rule(quota).decide(Tat::IDLE, cost, START);
                assert_eq!(decision.outcome(), Verdict::Deny);
                assert_eq!((decision.retry_after(), decision.remaining()), (None, 0));
                assert_eq!(after, Tat::IDLE);
            }
        }
    }

    #[test]
    fn a_cost_of_zero_tells_and_changes_nothing() {
        let rule = rule(Quota::per_minute(2));
        let (_, state) = rule.decide(Tat::IDLE, 2, START);
        let (peek, after) = rule.decide(state, 0, START);
        assert_eq!((peek.outcome(), peek.remaining()), (Verdict::Allow, 0));
        assert_eq!(peek.reset_after(), Duration::from_secs(60));
        assert_eq!(after, state);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let rule = rule(Quota::new(u32::MAX, Quota::MAX_WINDOW).unwrap());
        for now in [LocalTime::ZERO, LocalTime::NEVER] {
            for state in [Tat::IDLE, Tat::from_bits(u64::MAX)] {
                for cost in [0, 1, u32::MAX] {
                    let (_, after) = rule.decide(state, cost, now);
                    assert!(after >= state);
                }
            }
        }
    }

    fn quotas() -> impl Strategy<Value = Quota> {
        let limit = prop_oneof![1u32..50, 1u32..=u32::MAX];
        let window = prop_oneof![
            1_000_000u64..10_000_000_000,
            1_000_000u64..=Quota::MAX_WINDOW.as_nanos() as u64
        ];
        (limit, window, prop::option::of(1u32..100)).prop_map(|(limit, window, burst)| {
            let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap();
            burst
                .and_then(|burst| quota.try_burst(burst).ok())
                .unwrap_or(quota)
        })
    }

    proptest! {
        #[test]
        fn a_denied_caller_is_allowed_exactly_at_retry_after_and_not_one_nanosecond_before(
            quota in quotas(),
            spent in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
            cost: prop::sample::Index,
        ) {
            let rule = rule(quota);
            let units = |index: prop::sample::Index| index.index(quota.burst_size() as usize) as u32 + 1;
            let mut state = Tat::IDLE;
            for index in spent {
                state = rule.decide(state, units(index), START).1;
            }
            let cost = units(cost);
            let (decision, after) = rule.decide(state, cost, START);
            if let Some(wait) = decision.retry_after() {
                prop_assert_eq!(after, state);
                prop_assert!(wait > Duration::ZERO);
                let then = START.saturating_add(wait);
                prop_assert!(rule.decide(state, cost, then).0.is_allowed());
                let tick_less = then.saturating_sub(Duration::from_nanos(1));
                prop_assert!(!rule.decide(state, cost, tick_less).0.is_allowed());
            } else {
                prop_assert!(decision.is_allowed());
            }
        }

        #[test]
        fn no_stretch_of_time_sees_more_than_the_burst_and_the_rate(
            limit in 1u32..40,
            burst in 1u32..40,
            window in 1_000_000u64..3_000_000_000,
            steps in prop::collection::vec((0u64..400_000_000, 0u32..12), 1..120),
        ) {
            let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap().burst(burst);
            let rule = rule(quota);
            let (mut state, mut now) = (Tat::IDLE, START);
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (pause, cost) in steps {
                now = now.saturating_add(Duration::from_nanos(pause));
                let (decision, after) = rule.decide(state, cost, now);
                prop_assert!(after >= state);
                state = after;
                if decision.is_allowed() {
                    passed.push((now.as_nanos(), u64::from(cost)));
                }
            }
            for from in 0..passed.len() {
                let mut sum = 0;
                for &(at, cost) in &passed[from..] {
                    sum += cost;
                    let stretch = at - passed[from].0;
                    let refill = u128::from(limit) * u128::from(stretch) / u128::from(window);
                    prop_assert!(u128::from(sum) <= u128::from(burst) + refill);
                }
            }
        }

        #[test]
        fn remaining_is_what_can_be_spent_now(quota in quotas(), cost: prop::sample::Index) {
            let rule = rule(quota);
            let cost = cost.index(quota.burst_size() as usize) as u32 + 1;
            let (first, state) = rule.decide(Tat::IDLE, cost, START);
            prop_assert_eq!(first.remaining(), quota.burst_size() - cost);
            prop_assert!(rule.decide(state, first.remaining(), START).0.is_allowed());
            prop_assert!(!rule.decide(state, first.remaining().saturating_add(1), START).0.is_allowed());
            let full = START.saturating_add(first.reset_after());
            prop_assert!(state.is_idle(full));
            prop_assert_eq!(rule.decide(state, 0, full).0.remaining(), quota.burst_size());
        }
    }
}
