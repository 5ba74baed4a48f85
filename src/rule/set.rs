//! Several rules for one key: all or nothing.

use crate::decision::{Decision, Decisions, Policy};
use crate::rule::{Moment, Rule};

/// The rules of several policies, whose states lie one behind the other.
///
/// # Guarantees
/// * A request passes if every rule allows it, and is then booked under all of them; else under none.
/// * The answer is that of the binding rule: of denials the one with the longest wait, else the one that leaves least.
/// * `retry_after` of a denial is exact: after the longest wait nothing else is in the way, because what is left never
///   shrinks by itself.
///
/// # Examples
/// ```
/// use tidegate::decision::{Policy, PolicyName};
/// use tidegate::rule::{Moment, RuleSet};
/// use tidegate::time::LocalTime;
/// use tidegate::Quota;
///
/// let rules = RuleSet::new(&[
///     Policy::new(PolicyName::new("second")?, Quota::per_second(10)),
///     Policy::new(PolicyName::new("hour")?, Quota::per_hour(15).fixed()),
/// ]);
/// let mut state = vec![0; rules.words()];
/// let now = Moment::at(LocalTime::from_nanos(5));
/// assert!(rules.decide(&mut state, 10, now).is_allowed());
/// // The hour still has 5, the second none: nothing is booked.
/// let denied = rules.decide(&mut state, 5, now);
/// assert_eq!(denied.policy().as_str(), "second");
/// assert_eq!(rules.ask_each(&state, 0, now).each()[1].remaining(), 5);
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: Box<[Rule]>,
    words: usize,
}

impl RuleSet {
    /// The rules that enforce `policies`.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(policies: &[Policy]) -> Self {
        assert!(!policies.is_empty(), "a limit has a policy");
        let rules: Box<[Rule]> = policies.iter().map(|policy| Rule::new(*policy)).collect();
        let words = rules.iter().map(Rule::words).sum();
        Self { rules, words }
    }

    /// Whether some rule asks for the wall clock.
    #[must_use]
    pub fn needs_wall(&self) -> bool {
        let calendar = |rule: &Rule| matches!(rule, Rule::Calendar(_));
        self.rules.iter().any(calendar)
    }

    /// Whether some rule asks for a random number.
    #[must_use]
    pub fn needs_random(&self) -> bool {
        let suppress = |rule: &Rule| matches!(rule, Rule::Suppress(_));
        self.rules.iter().any(suppress)
    }

    /// Words of a key's state.
    #[must_use]
    pub const fn words(&self) -> usize {
        self.words
    }

    /// Decides on a request that costs `cost` units under every rule, and books it under all if all allow it.
    ///
    /// # Panics
    /// If `state` is not as long as [`Self::words`] says. The same goes for all that take a state.
    pub fn decide(&self, state: &mut [u64], cost: u32, at: Moment) -> Decision {
        if let [rule] = &*self.rules {
            return rule.decide(state, cost, at);
        }
        let decision = self.ask(state, cost, at);
        if decision.is_allowed() && cost > 0 {
            self.book_all(state, cost, at);
        }
        decision
    }

    /// As [`Self::decide`], with the answer of every rule in the order of the policies. When one denies, the others
    /// tell how they stand, for nothing was booked on them.
    pub fn decide_each(&self, state: &mut [u64], cost: u32, at: Moment) -> Decisions {
        if let [rule] = &*self.rules {
            return rule.decide(state, cost, at).into();
        }
        let told = self.ask_each(state, cost, at);
        if cost > 0 && told.is_allowed() {
            self.book_all(state, cost, at);
        }
        told
    }

    /// What [`Self::decide`] would say, without booking anything.
    pub fn ask(&self, state: &[u64], cost: u32, at: Moment) -> Decision {
        let mut binding: Option<Decision> = None;
        for (rule, state) in self.each(state) {
            let decision = rule.ask(state, cost, at);
            if binding.is_none_or(|other| decision.binds_before(&other)) {
                binding = Some(decision);
            }
        }
        binding.expect("there is a rule")
    }

    /// What [`Self::decide_each`] would say, without booking anything.
    pub fn ask_each(&self, state: &[u64], cost: u32, at: Moment) -> Decisions {
        let ask = |cost| {
            let each = self.each(state);
            each.map(move |(rule, state)| rule.ask(state, cost, at))
        };
        let mut told: Vec<_> = ask(cost).collect();
        if !told.iter().all(Decision::is_allowed) {
            for (told, standing) in told.iter_mut().zip(ask(0)) {
                if told.is_allowed() {
                    *told = standing;
                }
            }
        }
        Decisions::of(told)
    }

    /// Whether everything has come back under every rule.
    #[must_use]
    pub fn is_idle(&self, state: &[u64], at: Moment) -> bool {
        self.each(state)
            .all(|(rule, state)| rule.is_idle(state, at))
    }

    /// Whether some rule could not even allow a cost of 1.
    #[must_use]
    pub fn is_exhausted(&self, state: &[u64], at: Moment) -> bool {
        self.each(state)
            .any(|(rule, state)| rule.is_exhausted(state, at))
    }

    /// As [`Rule::part_spent`], under the rule that has least left.
    #[must_use]
    pub fn part_spent(&self, state: &[u64], at: Moment) -> u64 {
        let parts = self.each(state);
        parts
            .map(|(rule, state)| rule.part_spent(state, at))
            .max()
            .unwrap_or(0)
    }

    /// As [`Rule::absorb`], under every rule.
    pub fn absorb(&self, state: &mut [u64], other: &[u64]) {
        let others = self.each(other).map(|(_, other)| other);
        for ((rule, state), other) in self.each_mut(state).zip(others) {
            rule.absorb(state, other);
        }
    }

    fn book_all(&self, state: &mut [u64], cost: u32, at: Moment) {
        for (rule, state) in self.each_mut(state) {
            let booked = rule.decide(state, cost, at);
            debug_assert!(booked.is_allowed(), "a rule answers the same twice");
        }
    }

    pub(super) const fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules, each with its part of a state.
    pub(super) fn each<'a>(
        &'a self,
        mut state: &'a [u64],
    ) -> impl Iterator<Item = (&'a Rule, &'a [u64])> {
        self.rules.iter().map(move |rule| {
            let (own, rest) = state.split_at(rule.words());
            state = rest;
            (rule, own)
        })
    }

    pub(super) fn each_mut<'a>(
        &'a self,
        mut state: &'a mut [u64],
    ) -> impl Iterator<Item = (&'a Rule, &'a mut [u64])> {
        self.rules.iter().map(move |rule| {
            let (own, rest) = std::mem::take(&mut state).split_at_mut(rule.words());
            state = rest;
            (rule, own)
        })
    }
}
