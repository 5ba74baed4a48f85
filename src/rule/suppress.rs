//! Suppression: above a soft limit a falling part of the requests passes, instead of all and then none.
//!
//! ```text
//!  probability
//!    1 ├───────────────╮
//!      │                ╲
//!    0 ├─────────────────╲──▶ spent in the window
//!      0              soft limit
//! ```
//!
//! Random early detection (Floyd and Jacobson, 1993) on the count of a sliding window. A client that sends too much
//! finds its level between the two limits, where it gets a steady part, and not a window's worth followed by silence.
//! What counts is what was admitted and not what was asked for, so that a denial books nothing here either and nobody
//! can ask his neighbours out of a shared key.

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Policy, Verdict};
use crate::rule::{SlidingWindow, TwoCells};
use crate::time::LocalTime;

/// The rule of one policy.
///
/// # Guarantees
/// * Never more than `limit`, counted as by [`SlidingWindow`].
/// * What fits the soft limit passes for certain, and that is what is told as remaining. The probability of anything
///   above falls evenly, to one in `limit - soft + 1` for the last unit.
/// * A denial changes nothing. After `retry_after` the same cost passes for certain if nobody else comes; a moment
///   earlier it may pass by chance.
///
/// A cost above the soft limit is too large: it could never be sure to pass.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::rule::{Suppress, TwoCells};
/// use tidegate::time::LocalTime;
///
/// let rule = Suppress::new(Quota::per_second(100).soft(1).into());
/// let now = LocalTime::from_nanos(5);
/// let (first, state) = rule.decide(TwoCells::IDLE, 1, now, u64::MAX);
/// assert_eq!(first.probability(), 1.0);
/// let (second, _) = rule.decide(state, 1, now, u64::MAX / 100 * 98);
/// assert!(second.is_allowed() && second.probability() > 0.98);
/// let (third, _) = rule.decide(state, 1, now, u64::MAX);
/// assert!(!third.is_allowed());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suppress {
    window: SlidingWindow,
    soft: u32,
}

impl Suppress {
    /// The rule that enforces `policy`, with its burst as the soft limit.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            window: SlidingWindow::new(policy),
            soft: policy.quota().burst_size(),
        }
    }

    /// Decides on a request that costs `cost` units at `now`, and says what the key's state is afterwards. `random` is
    /// any random number; of two the greater never passes where the lesser does not.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how a cost of 1 would fare.
    pub const fn decide(
        &self,
        state: TwoCells,
        cost: u32,
        now: LocalTime,
        random: u64,
    ) -> (Decision, TwoCells) {
        let (decision, after) = self.window.decide(state, cost, now);
        let view = self.window.view(state, now);
        let used = view.used();
        let (outcome, chance, wait) = if self.soft == 0 {
            (Verdict::Deny, NOT_DRAWN, NO_WAIT)
        } else if cost > self.soft {
            (Verdict::TooLarge, NOT_DRAWN, NO_WAIT)
        } else {
            let one = if cost == 0 { 1 } else { cost };
            let chance = self.chance(used.saturating_add(one as u64));
            if cost == 0 || decision.is_allowed() && passes(chance, random) {
                (Verdict::Allow, chance, NO_WAIT)
            } else {
                (Verdict::Deny, chance, view.wait((self.soft - cost) as u64))
            }
        };
        let (used, reset, after) = match outcome {
            Verdict::Allow => {
                let spent = self.window.view(after, now);
                (spent.used(), spent.wait(0), after)
            }
            _ => (used, view.wait(0), state),
        };
        let decision = Decision {
            outcome,
            limit: self.soft,
            // At most `soft`, so it fits.
            remaining: (self.soft as u64).saturating_sub(used) as u32,
            chance,
            retry_after_nanos: wait,
            reset_after_nanos: reset,
            policy: decision.policy,
        };
        (decision, after)
    }

    pub(super) const fn window(&self) -> &SlidingWindow {
        &self.window
    }

    pub(super) const fn soft(&self) -> u32 {
        self.soft
    }

    /// The probability of a request after which `wanted` units count, in parts of 2^32.
    const fn chance(&self, wanted: u64) -> u32 {
        let (soft, limit) = (self.soft as u64, self.window.limit() as u64);
        if wanted <= soft {
            return NOT_DRAWN;
        }
        let left = (limit + 1).saturating_sub(wanted);
        // Below 1 because something is above the soft limit, so it fits, and is not taken for "not drawn" either:
        // the divisor is below 2^32.
        ((left << 32) / (limit - soft + 1)) as u32
    }
}

const fn passes(chance: u32, random: u64) -> bool {
    chance == NOT_DRAWN || ((random >> 32) as u32) < chance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    fn rule(limit: u32, soft: u32) -> Suppress {
        Suppress::new(Quota::per_second(limit).soft(soft).into())
    }

    const NOW: LocalTime = LocalTime::from_nanos(1_000_000_000);

    #[test]
    fn the_probability_falls_evenly_from_the_soft_limit_to_the_limit() {
        let rule = rule(14, 10);
        let (mut state, mut told) = (TwoCells::IDLE, Vec::new());
        for _ in 0..15 {
            let (decision, after) = rule.decide(state, 1, NOW, 0);
            told.push((
                decision.is_allowed(),
                (decision.probability() * 100.0).round() as u32,
            ));
            state = after;
        }
        assert_eq!(told[..10], [(true, 100); 10]);
        assert_eq!(
            told[10..],
            [(true, 80), (true, 60), (true, 40), (true, 20), (false, 0)]
        );
    }

    #[test]
    fn a_crowd_finds_its_level_between_the_limits() {
        let rule = rule(100, 50);
        let mut state = TwoCells::IDLE;
        let mut seconds = Vec::new();
        let mut random = 1_u64;
        for second in 0..20_u64 {
            let mut passed = 0;
            // Five times the limit.
            for step in 0..500 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let now = LocalTime::from_nanos(second * 1_000_000_000 + step * 2_000_000);
                let (decision, after) = rule.decide(state, 1, now, random ^ random >> 29);
                passed += u32::from(decision.is_allowed());
                state = after;
            }
            seconds.push(passed);
        }
        assert!(
            seconds[1..]
                .iter()
                .all(|passed| (80..=100).contains(passed)),
            "{seconds:?}"
        );
    }

    #[test]
    fn a_cost_that_could_never_be_sure_is_too_large() {
        let rule = rule(14, 10);
        let (decision, after) = rule.decide(TwoCells::IDLE, 11, NOW, 0);
        assert_eq!(
            (decision.outcome(), after),
            (Verdict::TooLarge, TwoCells::IDLE)
        );
        assert_eq!((decision.limit(), decision.remaining()), (10, 10));
    }
}
