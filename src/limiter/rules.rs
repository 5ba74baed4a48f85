//! What a table asks of the rules that it keeps states for: one token bucket in a word, or any set of rules.

use crate::decision::{Decision, Verdict};
use crate::limiter::cells::{OneWord, Width, Words};
use crate::rule::{Finding, Gcra, Moment, RuleSet, Tat};

/// One token bucket has an implementation of its own, so that the most usual limiter decides on one word without a
/// loop over rules.
pub(super) trait Rules {
    type Width: Width;

    fn width(&self) -> Self::Width;

    /// Decides without booking.
    fn ask(&self, state: &[u64], cost: u32, at: Moment) -> Decision;

    /// Whether forgetting the key changes no decision.
    fn is_idle(&self, state: &[u64], at: Moment) -> bool;

    /// Whether the key is being denied.
    fn is_exhausted(&self, state: &[u64], at: Moment) -> bool;

    /// A number that grows with what is spent.
    fn spent(&self, state: &[u64], at: Moment) -> u64;

    /// Makes `state` one that has spent at least what it and `other` have.
    fn absorb(&self, state: &mut [u64], other: &[u64]);
}

impl Rules for Gcra {
    type Width = OneWord;

    #[inline(always)]
    fn width(&self) -> OneWord {
        OneWord
    }

    fn ask(&self, state: &[u64], cost: u32, at: Moment) -> Decision {
        Self::decide(self, Tat::from_bits(state[0]), cost, at.now).0
    }

    fn is_idle(&self, state: &[u64], at: Moment) -> bool {
        Tat::from_bits(state[0]).is_idle(at.now)
    }

    fn is_exhausted(&self, state: &[u64], at: Moment) -> bool {
        Self::is_exhausted(self, Tat::from_bits(state[0]), at.now)
    }

    fn spent(&self, state: &[u64], _: Moment) -> u64 {
        state[0]
    }

    fn absorb(&self, state: &mut [u64], other: &[u64]) {
        state[0] = state[0].max(other[0]);
    }
}

impl Rules for RuleSet {
    type Width = Words;

    fn width(&self) -> Words {
        Words(self.words())
    }

    fn ask(&self, state: &[u64], cost: u32, at: Moment) -> Decision {
        Self::ask(self, state, cost, at)
    }

    fn is_idle(&self, state: &[u64], at: Moment) -> bool {
        Self::is_idle(self, state, at)
    }

    fn is_exhausted(&self, state: &[u64], at: Moment) -> bool {
        Self::is_exhausted(self, state, at)
    }

    fn spent(&self, state: &[u64], at: Moment) -> u64 {
        self.part_spent(state, at)
    }

    fn absorb(&self, state: &mut [u64], other: &[u64]) {
        Self::absorb(self, state, other);
    }
}

/// What a step on a state answers: a decision, or the numbers of one.
pub(super) trait Answer {
    fn outcome(&self) -> Verdict;
}

impl Answer for Decision {
    fn outcome(&self) -> Verdict {
        self.outcome
    }
}

impl Answer for Finding {
    #[inline]
    fn outcome(&self) -> Verdict {
        self.outcome
    }
}
