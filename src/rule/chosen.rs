//! The rule that a policy's quota chose, over a state of plain words that any store can keep.

use crate::decision::{Decision, Policy};
use crate::quota::Kind;
use crate::rule::{
    CalendarWindow, FixedWindow, Gcra, Moment, SlidingLog, SlidingWindow, Suppress, Tat, TwoCells,
    WindowCount,
};

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
    /// The moment at which each unit comes back.
    SlidingLog(SlidingLog),
    /// As a sliding window, with a soft limit.
    Suppress(Suppress),
    /// A count per period of a calendar.
    Calendar(CalendarWindow),
}

impl Rule {
    /// The rule that enforces `policy`.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        match policy.quota().kind() {
            Kind::TokenBucket => Self::Gcra(Gcra::new(policy)),
            Kind::FixedWindow => Self::FixedWindow(FixedWindow::new(policy)),
            Kind::SlidingWindow => Self::SlidingWindow(SlidingWindow::new(policy)),
            Kind::SlidingLog => Self::SlidingLog(SlidingLog::new(policy)),
            Kind::Suppress => Self::Suppress(Suppress::new(policy)),
            Kind::Calendar(_) => Self::Calendar(CalendarWindow::new(policy)),
        }
    }

    /// Words of a key's state.
    #[must_use]
    pub const fn words(&self) -> usize {
        match self {
            Self::Gcra(_) => 1,
            Self::FixedWindow(_) | Self::Calendar(_) => WindowCount::WORDS,
            Self::SlidingWindow(_) | Self::Suppress(_) => TwoCells::WORDS,
            Self::SlidingLog(rule) => rule.words(),
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
            Self::SlidingLog(rule) => rule.decide(state, cost, at.now),
            Self::Suppress(rule) => {
                let (decision, after) = rule.decide(cells(state), cost, at.now, at.random);
                state.copy_from_slice(&after.to_words());
                decision
            }
            Self::Calendar(rule) => {
                let (decision, after) = rule.decide(count(state), cost, at.wall);
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
            Self::SlidingLog(rule) => rule.ask(state, cost, at.now),
            Self::Suppress(rule) => rule.decide(cells(state), cost, at.now, at.random).0,
            Self::Calendar(rule) => rule.decide(count(state), cost, at.wall).0,
        }
    }

    /// As [`Self::ask`], where chance changes nothing: of a soft limit, what the limit itself says.
    #[cfg(feature = "redis")]
    pub(crate) fn ask_for_certain(&self, state: &[u64], cost: u32, at: Moment) -> Decision {
        match self {
            Self::Suppress(rule) => rule.window().decide(cells(state), cost, at.now).0,
            _ => self.ask(state, cost, at),
        }
    }

    /// Whether everything has come back: forgetting the key changes no decision.
    #[must_use]
    pub fn is_idle(&self, state: &[u64], at: Moment) -> bool {
        self.used(state, at).0 == 0
    }

    /// Whether not even a cost of 1 could be sure to be allowed.
    #[must_use]
    pub fn is_exhausted(&self, state: &[u64], at: Moment) -> bool {
        match self {
            // The time of a unit may be almost back.
            Self::Gcra(rule) => rule.is_exhausted(tat(state), at.now),
            _ => {
                let (used, all) = self.used(state, at);
                used >= all
            }
        }
    }

    /// How much is spent, in parts of 65 536 of all there is: what is lost by forgetting the key.
    #[must_use]
    pub fn part_spent(&self, state: &[u64], at: Moment) -> u64 {
        let (used, all) = self.used(state, at);
        let part = u128::from(used) * 65_536 / u128::from(all.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Makes `state` one that has spent at least what it and `other` have: it allows nothing that either would deny.
    pub fn absorb(&self, state: &mut [u64], other: &[u64]) {
        match self {
            Self::Gcra(_) => state[0] = state[0].max(other[0]),
            Self::FixedWindow(_) | Self::Calendar(_) => {
                let both = count(state).absorb(count(other));
                state.copy_from_slice(&both.to_words());
            }
            Self::SlidingWindow(_) | Self::Suppress(_) => {
                let both = cells(state).absorb(cells(other));
                state.copy_from_slice(&both.to_words());
            }
            Self::SlidingLog(rule) => rule.absorb(state, other),
        }
    }

    /// Units that are not back, rounded up.
    #[cfg(feature = "redis")]
    pub(crate) fn outstanding(&self, state: &[u64], at: Moment) -> u64 {
        match self {
            Self::Gcra(rule) => rule.outstanding(tat(state), at.now),
            _ => self.used(state, at).0,
        }
    }

    /// What is spent, and what can be, in the same unit.
    fn used(&self, state: &[u64], at: Moment) -> (u64, u64) {
        match self {
            Self::Gcra(rule) => rule.used(tat(state), at.now),
            Self::FixedWindow(rule) => (rule.here(count(state), at.now).count, rule.limit().into()),
            Self::SlidingWindow(rule) => {
                let view = rule.view(cells(state), at.now);
                (view.used(), rule.limit().into())
            }
            Self::SlidingLog(rule) => (rule.used(state, at.now), rule.limit().into()),
            Self::Suppress(rule) => {
                let view = rule.window().view(cells(state), at.now);
                (view.used(), rule.soft().into())
            }
            Self::Calendar(rule) => (rule.here(count(state), at.wall).count, rule.limit().into()),
        }
    }
}

const LENGTH: &str = "a state has as many words as its rule says";

pub(super) fn tat(state: &[u64]) -> Tat {
    let [bits] = state.try_into().expect(LENGTH);
    Tat::from_bits(bits)
}

pub(super) fn count(state: &[u64]) -> WindowCount {
    WindowCount::from_words(state.try_into().expect(LENGTH))
}

pub(super) fn cells(state: &[u64]) -> TwoCells {
    TwoCells::from_words(state.try_into().expect(LENGTH))
}
