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
use crate::rule::divisor::Divisor;
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
    /// Turns ticks into units: divides by `interval`.
    units: Divisor,
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
            units: Divisor::new(interval),
            policy: policy.name(),
        }
    }

    /// Decides on a request that costs `cost` units at `now`, and says what the key's state is afterwards.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how things stand.
    #[inline]
    pub const fn decide(&self, state: Tat, cost: u32, now: LocalTime) -> (Decision, Tat) {
        let (finding, after) = self.find(state, cost, now);
        (self.tell(finding), after)
    }

    /// As [`Self::decide`], in the rule's own numbers. Who has to try again until nobody came between makes the decision
    /// of the last one alone: the rest of it is most of the work.
    #[inline]
    pub(crate) const fn find(&self, state: Tat, cost: u32, now: LocalTime) -> (Finding, Tat) {
        let now = ticks(now);
        let used = state.0.saturating_sub(now);
        // One comparison for what is usual: a burst of 0 has no cost from 1 to it.
        if cost.wrapping_sub(1) >= self.burst {
            return (self.unusual(used, cost), state);
        }
        // The cost is at most the burst, so its price is at most the tolerance.
        let price = self.interval * cost as u64;
        let most = self.tolerance - price;
        if used > most {
            return (self.early(used, most), state);
        }
        let wanted = used + price;
        let finding = Finding {
            outcome: Verdict::Allow,
            used: wanted,
            left: most - used,
            wait: NO_WAIT,
        };
        (finding, Tat(now.saturating_add(wanted)))
    }

    /// The decision of which `finding` has the numbers.
    #[inline]
    pub(crate) const fn tell(&self, finding: Finding) -> Decision {
        Decision {
            outcome: finding.outcome,
            limit: self.burst,
            // Rounded down: less than a unit is none. At most `burst`, so it fits.
            remaining: self.units.divide(finding.left) as u32,
            chance: NOT_DRAWN,
            retry_after_nanos: finding.wait,
            reset_after_nanos: finding.used.div_ceil(TICKS_PER_NANO),
            policy: self.policy,
        }
    }

    /// What is found where more than `most` is used.
    #[inline]
    const fn early(&self, used: u64, most: u64) -> Finding {
        Finding {
            outcome: Verdict::Deny,
            used,
            left: self.tolerance.saturating_sub(used),
            wait: (used - most).div_ceil(TICKS_PER_NANO),
        }
    }

    /// What is found of a cost of 0, or of more than the burst: nothing is booked.
    #[cold]
    const fn unusual(&self, used: u64, cost: u32) -> Finding {
        Finding {
            outcome: match (self.burst, cost) {
                (0, _) => Verdict::Deny,
                (_, 0) => Verdict::Allow,
                _ => Verdict::TooLarge,
            },
            used,
            left: self.tolerance.saturating_sub(used),
            wait: NO_WAIT,
        }
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
}

/// A decision in the numbers of its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) outcome: Verdict,
    /// Ticks until everything is back.
    used: u64,
    /// Ticks that are left of the tolerance.
    left: u64,
    /// Nanoseconds, or [`NO_WAIT`].
    wait: u64,
}

#[inline]
const fn ticks(at: LocalTime) -> u64 {
    at.as_nanos().saturating_mul(TICKS_PER_NANO)
}

#[cfg(test)]
mod tests;
