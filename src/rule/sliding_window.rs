//! The sliding window in two cells, as a rule over a key's state; see [`two_cells`](super::two_cells).

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Policy, PolicyName, Verdict};
use crate::rule::TwoCells;
use crate::rule::two_cells::View;
use crate::time::LocalTime;

/// The rule of one policy.
///
/// # Guarantees
/// * At most `limit` units in each window of the grid, which begins at the start of the clock.
/// * In any other stretch of a window's length, of which `late` falls into the later window and which finds
///   `previous` spent in the earlier one, at most `limit + previous - floor(previous * (window - late) / window)`: one
///   more than the limit if the earlier window was spent evenly, and never more than twice the limit. Where that
///   matters take a sliding log, or [`Gcra`](super::Gcra).
/// * A denial changes nothing.
/// * `retry_after` is exact to the nanosecond, also where that moment lies in the next window.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::rule::{SlidingWindow, TwoCells};
/// use tidegate::time::LocalTime;
///
/// let rule = SlidingWindow::new(Quota::per_second(4).sliding().into());
/// let (_, state) = rule.decide(TwoCells::IDLE, 4, LocalTime::from_nanos(999_999_999));
/// // A quarter into the next window all but one of the four still count.
/// let (decision, _) = rule.decide(state, 3, LocalTime::from_nanos(1_250_000_000));
/// assert_eq!(decision.remaining(), 1);
/// assert_eq!(decision.retry_after().unwrap().as_nanos(), 250_000_001);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlidingWindow {
    /// 0 in a rule that denies everything.
    limit: u32,
    window_nanos: u64,
    policy: PolicyName,
}

impl SlidingWindow {
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
    pub const fn decide(&self, state: TwoCells, cost: u32, now: LocalTime) -> (Decision, TwoCells) {
        let view = self.view(state, now);
        if self.limit == 0 {
            return (self.say(Verdict::Deny, &view, NO_WAIT), state);
        }
        if cost > self.limit {
            return (self.say(Verdict::TooLarge, &view, NO_WAIT), state);
        }
        if cost == 0 {
            return (self.say(Verdict::Allow, &view, NO_WAIT), state);
        }
        // The least that must have come back.
        let leaves = (self.limit - cost) as u64;
        if view.used() > leaves {
            return (self.say(Verdict::Deny, &view, view.wait(leaves)), state);
        }
        let view = view.spending(cost as u64);
        (self.say(Verdict::Allow, &view, NO_WAIT), view.cells)
    }

    #[inline]
    pub(super) const fn view(&self, state: TwoCells, now: LocalTime) -> View {
        View::at(state, self.window_nanos, now.as_nanos())
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    #[cfg(feature = "redis")]
    pub(super) const fn window_nanos(&self) -> u64 {
        self.window_nanos
    }

    const fn say(&self, outcome: Verdict, view: &View, retry_after_nanos: u64) -> Decision {
        Decision {
            outcome,
            limit: self.limit,
            // At most `limit`, so it fits.
            remaining: (self.limit as u64).saturating_sub(view.used()) as u32,
            chance: NOT_DRAWN,
            retry_after_nanos,
            reset_after_nanos: view.wait(0),
            policy: self.policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(millis: u64) -> LocalTime {
        LocalTime::from_nanos(millis * 1_000_000)
    }

    fn rule(limit: u32) -> SlidingWindow {
        SlidingWindow::new(Quota::per_second(limit).sliding().into())
    }

    #[test]
    fn the_window_before_counts_less_and_less() {
        let rule = rule(10);
        let (_, state) = rule.decide(TwoCells::IDLE, 10, at(3_900));
        for (moment, remaining) in [
            (3_999, 0),
            (4_000, 0),
            (4_001, 1),
            (4_100, 1),
            (4_101, 2),
            (4_500, 5),
            (4_900, 9),
            (4_901, 10),
            (5_000, 10),
        ] {
            let (decision, _) = rule.decide(state, 0, at(moment));
            assert_eq!(decision.remaining(), remaining, "at {moment} ms");
        }
    }

    #[test]
    fn a_wait_may_reach_into_the_next_window() {
        let rule = rule(10);
        let (_, state) = rule.decide(TwoCells::IDLE, 10, at(3_900));
        let (denied, same) = rule.decide(state, 4, at(3_900));
        // 100 ms to the line; then 3 of 10 have gone after 300 ms, and the fourth begins to.
        let wait = Duration::from_millis(400) + Duration::from_nanos(1);
        assert_eq!((denied.retry_after(), same), (Some(wait), state));
        assert_eq!(
            denied.reset_after(),
            Duration::from_millis(1_000) + Duration::from_nanos(1)
        );
    }

    #[test]
    fn small_limits_get_all_they_were_promised_under_steady_load() {
        for limit in [1, 2, 3, 5, 10] {
            let rule = rule(limit);
            let (mut state, mut passed) = (TwoCells::IDLE, 0);
            for moment in 0..100_000 {
                let (decision, after) = rule.decide(state, 1, at(moment));
                passed += u32::from(decision.is_allowed());
                state = after;
            }
            let promised = limit * 100;
            assert!(passed <= promised, "{passed} of {promised}");
            assert!(passed * 100 >= promised * 99, "{passed} of {promised}");
        }
    }

    #[test]
    fn a_clock_that_was_read_earlier_opens_no_window_that_is_over() {
        let rule = rule(1);
        let (_, state) = rule.decide(TwoCells::IDLE, 1, at(1_001));
        let (late, same) = rule.decide(state, 1, at(999));
        assert_eq!((late.outcome(), same), (Verdict::Deny, state));
        let wait = late.retry_after().unwrap();
        let (passes, _) = rule.decide(state, 1, at(999).saturating_add(wait));
        assert!(passes.is_allowed());
    }

    proptest! {
        #[test]
        fn no_stretch_sees_more_than_the_stated_bound(
            limit in 1u32..30,
            steps in prop::collection::vec((0u64..400, 1u32..8), 1..200),
        ) {
            let rule = rule(limit);
            let (mut state, mut now) = (TwoCells::IDLE, 0);
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (pause, cost) in steps {
                now += pause;
                let (decision, after) = rule.decide(state, cost, at(now));
                state = after;
                if decision.is_allowed() {
                    passed.push((now, u64::from(cost)));
                }
            }
            let spent = |from: u64, to: u64| -> u64 {
                passed.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, cost)| cost).sum()
            };
            for from in 0..=now {
                let sum = spent(from, from + 1_000);
                let (begin, late) = (from / 1_000 * 1_000, from % 1_000);
                if late == 0 {
                    prop_assert!(sum <= u64::from(limit), "a window of the grid");
                    continue;
                }
                let previous = spent(begin, begin + 1_000);
                // The last moment of the stretch is `late` ms less a millisecond into its later window.
                let still = previous * (1_000 - (late - 1)) / 1_000;
                prop_assert!(sum <= u64::from(limit) + previous - still);
                prop_assert!(sum <= 2 * u64::from(limit));
            }
        }
    }
}
