//! The rule that a policy's quota chose, over a state of plain words that any store can keep.

use crate::decision::{Decision, Policy};
use crate::quota::Kind;
use crate::rule::{FixedWindow, Gcra, Moment, SlidingWindow, Tat, TwoCells, WindowCount};

/// One of the rules. Its state is [`Self::words`] numbers, all zero for a key that was never seen.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::rule::{Moment, Rule};
/// use tidegate::time::LocalTime;
///
/// let rule = Rule::new("100/min sliding".parse::<Quota>()?.into());
/// let mut state = vec![0; rule.words()];
/// let now = Moment::at(LocalTime::from_nanos(5));
/// assert_eq!(rule.decide(&mut state, 30, now).remaining(), 70);
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// A token bucket.
    Gcra(Gcra),
    /// A count per window.
    FixedWindow(FixedWindow),
    /// A count per window and a part of the one before.
    SlidingWindow(SlidingWindow),
}

impl Rule {
    /// The rule that enforces `policy`.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        match policy.quota().kind() {
            Kind::TokenBucket => Self::Gcra(Gcra::new(policy)),
            Kind::FixedWindow => Self::FixedWindow(FixedWindow::new(policy)),
            Kind::SlidingWindow => Self::SlidingWindow(SlidingWindow::new(policy)),
        }
    }

    /// Words of a key's state.
    #[must_use]
    pub const fn words(&self) -> usize {
        match self {
            Self::Gcra(_) => 1,
            Self::FixedWindow(_) => WindowCount::WORDS,
            Self::SlidingWindow(_) => TwoCells::WORDS,
        }
    }

    /// Decides on a request that costs `cost` units, and books it if it is allowed.
    ///
    /// # Panics
    /// If `state` is not as long as [`Self::words`] says. The same goes for all that take a state.
    pub fn decide(&self, state: &mut [u64], cost: u32, at: Moment) -> Decision {
        match self {
            Self::Gcra(rule) => {
                let (decision, after) = rule.decide(tat(state), cost, at.now);
                state[0] = after.to_bits();
                decision
            }
            Self::FixedWindow(rule) => {
                let (decision, after) = rule.decide(count(state), cost, at.now);
                state.copy_from_slice(&after.to_words());
                decision
            }
            Self::SlidingWindow(rule) => {
                let (decision, after) = rule.decide(cells(state), cost, at.now);
                state.copy_from_slice(&after.to_words());
                decision
            }
        }
    }

    /// What [`Self::decide`] would say, without booking anything.
    pub fn ask(&self, state: &[u64], cost: u32, at: Moment) -> Decision {
        match self {
            Self::Gcra(rule) => rule.decide(tat(state), cost, at.now).0,
            Self::FixedWindow(rule) => rule.decide(count(state), cost, at.now).0,
            Self::SlidingWindow(rule) => rule.decide(cells(state), cost, at.now).0,
        }
    }

    /// Whether everything has come back: forgetting the key changes no decision.
    #[must_use]
    pub fn is_idle(&self, state: &[u64], at: Moment) -> bool {
        match self {
            Self::Gcra(_) => tat(state).is_idle(at.now),
            Self::FixedWindow(rule) => rule.is_idle(count(state), at.now),
            Self::SlidingWindow(rule) => rule.view(cells(state), at.now).used() == 0,
        }
    }

    /// Whether not even a cost of 1 could be allowed.
    #[must_use]
    pub fn is_exhausted(&self, state: &[u64], at: Moment) -> bool {
        match self {
            Self::Gcra(rule) => rule.is_exhausted(tat(state), at.now),
            Self::FixedWindow(rule) => rule.used(count(state), at.now) >= u64::from(rule.limit()),
            Self::SlidingWindow(rule) => {
                rule.view(cells(state), at.now).used() >= u64::from(rule.limit())
            }
        }
    }

    /// How much is spent, in parts of 65 536 of all there is: what is lost by forgetting the key.
    #[must_use]
    pub fn part_spent(&self, state: &[u64], at: Moment) -> u64 {
        let (used, all) = match self {
            Self::Gcra(rule) => rule.used(tat(state), at.now),
            Self::FixedWindow(rule) => (rule.used(count(state), at.now), rule.limit().into()),
            Self::SlidingWindow(rule) => {
                let view = rule.view(cells(state), at.now);
                (view.used(), rule.limit().into())
            }
        };
        let part = u128::from(used) * 65_536 / u128::from(all.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Makes `state` one that has spent at least what it and `other` have: it allows nothing that either would deny.
    pub fn absorb(&self, state: &mut [u64], other: &[u64]) {
        match self {
            Self::Gcra(_) => state[0] = state[0].max(other[0]),
            Self::FixedWindow(_) => {
                let both = count(state).absorb(count(other));
                state.copy_from_slice(&both.to_words());
            }
            Self::SlidingWindow(_) => {
                let both = cells(state).absorb(cells(other));
                state.copy_from_slice(&both.to_words());
            }
        }
    }
}

const LENGTH: &str = "a state has as many words as its rule says";

fn tat(state: &[u64]) -> Tat {
    let [bits] = state.try_into().expect(LENGTH);
    Tat::from_bits(bits)
}

fn count(state: &[u64]) -> WindowCount {
    WindowCount::from_words(state.try_into().expect(LENGTH))
}

fn cells(state: &[u64]) -> TwoCells {
    TwoCells::from_words(state.try_into().expect(LENGTH))
}
