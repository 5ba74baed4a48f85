//! The fixed window: a count that begins anew at every line of a grid.
//!
//! ```text
//!    window 6      window 7      window 8
//!  ──┬─────────────┬─────────────┬──────────▶ time
//!    0 ... limit   0 ... limit   0 ...
//! ```

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Policy, PolicyName, Verdict};
use crate::time::LocalTime;

/// The state of one key: which window it counts in, and what was spent there.
///
/// A key that was never seen has [`WindowCount::IDLE`], and so has in effect every key whose window is past.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct WindowCount {
    /// Windows since the start of the clock.
    pub(super) sequence: u64,
    pub(super) count: u64,
}

impl WindowCount {
    /// Nothing spent.
    pub const IDLE: Self = Self {
        sequence: 0,
        count: 0,
    };
    /// Words of a state.
    pub const WORDS: usize = 2;

    /// The state that [`Self::to_words`] gave.
    #[inline]
    #[must_use]
    pub const fn from_words([sequence, count]: [u64; Self::WORDS]) -> Self {
        Self { sequence, count }
    }

    /// The state as numbers.
    #[inline]
    #[must_use]
    pub const fn to_words(self) -> [u64; Self::WORDS] {
        [self.sequence, self.count]
    }

    /// The state as it counts in window `sequence`, or in its own where that is later: a thread that read its clock
    /// before another one must not open a window that is over again.
    pub(super) const fn in_window(self, sequence: u64) -> Self {
        if self.sequence >= sequence {
            self
        } else {
            Self { sequence, count: 0 }
        }
    }

    /// A state that has spent at least what either has.
    pub(super) fn absorb(self, other: Self) -> Self {
        let (a, b) = (
            self.in_window(other.sequence),
            other.in_window(self.sequence),
        );
        Self {
            sequence: a.sequence,
            count: a.count.max(b.count),
        }
    }
}

/// The rule of one policy.
///
/// # Guarantees
/// * At most `limit` units in each window of the grid, which begins at the start of the clock.
/// * In a stretch of a window's length that crosses a line at most `2 * limit`: a client may spend one window at its
///   end and the next at its beginning. Where that matters take a sliding window, or [`Gcra`](super::Gcra).
/// * A denial changes nothing, and `retry_after` is the exact time to the next window.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::rule::{FixedWindow, WindowCount};
/// use tidegate::time::LocalTime;
///
/// let rule = FixedWindow::new(Quota::per_second(1).fixed().into());
/// let late = LocalTime::from_nanos(999_999_999);
/// let (first, state) = rule.decide(WindowCount::IDLE, 1, late);
/// let (second, same) = rule.decide(state, 1, late);
/// assert!(first.is_allowed() && !second.is_allowed());
/// assert_eq!(state, same);
/// assert_eq!(second.retry_after().unwrap().as_nanos(), 1);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FixedWindow {
    /// 0 in a rule that denies everything.
    limit: u32,
    window_nanos: u64,
    policy: PolicyName,
}

impl FixedWindow {
    /// The rule that enforces `policy`, whatever else its quota says.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        let quota = policy.quota();
        Self {
            limit: quota.limit(),
            window_nanos: quota.window_nanos(),
            policy: policy.name(),
        }
    }

    /// Decides on a request that costs `cost` units at `now`, and says what the key's state is afterwards.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how things stand.
    #[inline]
    pub const fn decide(
        &self,
        state: WindowCount,
        cost: u32,
        now: LocalTime,
    ) -> (Decision, WindowCount) {
        let here = self.here(state, now);
        let end = here
            .sequence
            .saturating_add(1)
            .saturating_mul(self.window_nanos);
        let answer = Answer {
            limit: self.limit,
            until_end: end.saturating_sub(now.as_nanos()),
            policy: self.policy,
        };
        answer.decide(state, here, cost)
    }

    /// The state as it counts at `now`.
    pub(super) const fn here(&self, state: WindowCount, now: LocalTime) -> WindowCount {
        state.in_window(now.as_nanos() / self.window_nanos)
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    #[cfg(feature = "redis")]
    pub(super) const fn window_nanos(&self) -> u64 {
        self.window_nanos
    }
}

/// A decision on a count that begins anew after a known time.
pub(super) struct Answer {
    pub(super) limit: u32,
    /// Nanoseconds.
    pub(super) until_end: u64,
    pub(super) policy: PolicyName,
}

impl Answer {
    /// `here` is `state` as it counts at this moment.
    pub(super) const fn decide(
        self,
        state: WindowCount,
        here: WindowCount,
        cost: u32,
    ) -> (Decision, WindowCount) {
        let wanted = here.count.saturating_add(cost as u64);
        if self.limit == 0 {
            return (self.say(Verdict::Deny, here.count, NO_WAIT), state);
        }
        if cost > self.limit {
            return (self.say(Verdict::TooLarge, here.count, NO_WAIT), state);
        }
        if cost == 0 {
            return (self.say(Verdict::Allow, here.count, NO_WAIT), state);
        }
        if wanted > self.limit as u64 {
            let wait = self.until_end;
            return (self.say(Verdict::Deny, here.count, wait), state);
        }
        let after = WindowCount {
            sequence: here.sequence,
            count: wanted,
        };
        (self.say(Verdict::Allow, wanted, NO_WAIT), after)
    }

    const fn say(&self, outcome: Verdict, used: u64, retry_after_nanos: u64) -> Decision {
        Decision {
            outcome,
            limit: self.limit,
            // At most `limit`, so it fits.
            remaining: (self.limit as u64).saturating_sub(used) as u32,
            chance: NOT_DRAWN,
            retry_after_nanos,
            reset_after_nanos: if used == 0 { 0 } else { self.until_end },
            policy: self.policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use std::time::Duration;

    fn at(millis: u64) -> LocalTime {
        LocalTime::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_window_passes_its_limit_and_the_next_begins_anew() {
        let rule = FixedWindow::new(Quota::per_second(3).fixed().into());
        let (first, state) = rule.decide(WindowCount::IDLE, 2, at(5_400));
        assert_eq!((first.limit(), first.remaining()), (3, 1));
        assert_eq!(first.reset_after(), Duration::from_millis(600));
        let (denied, same) = rule.decide(state, 2, at(5_900));
        assert_eq!(denied.retry_after(), Some(Duration::from_millis(100)));
        assert_eq!((denied.remaining(), same), (1, state));
        let (fits, _) = rule.decide(state, 3, at(6_000));
        assert_eq!((fits.outcome(), fits.remaining()), (Verdict::Allow, 0));
    }

    #[test]
    fn twice_the_limit_passes_around_a_line_and_no_more() {
        let rule = FixedWindow::new(Quota::per_second(3).fixed().into());
        let (mut state, mut passed) = (WindowCount::IDLE, 0);
        for moment in [999, 999, 999, 999, 1_000, 1_000, 1_000, 1_000, 1_998] {
            let (decision, after) = rule.decide(state, 1, at(moment));
            passed += u32::from(decision.is_allowed());
            state = after;
        }
        assert_eq!(passed, 6);
    }

    #[test]
    fn a_clock_that_was_read_earlier_opens_no_window_that_is_over() {
        let rule = FixedWindow::new(Quota::per_second(1).fixed().into());
        let (_, state) = rule.decide(WindowCount::IDLE, 1, at(1_001));
        let (late, same) = rule.decide(state, 1, at(999));
        assert_eq!(late.retry_after(), Some(Duration::from_millis(1_001)));
        assert_eq!(same, state);
    }

    #[test]
    fn what_is_absorbed_has_spent_at_least_as_much() {
        let count = |sequence, count| WindowCount { sequence, count };
        assert_eq!(count(3, 5).absorb(count(3, 7)), count(3, 7));
        assert_eq!(count(4, 1).absorb(count(3, 7)), count(4, 1));
        assert_eq!(count(3, 7).absorb(count(4, 1)), count(4, 1));
    }
}
