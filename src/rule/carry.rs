//! What becomes of a key's state when its limits change: counts are kept, for they belong to a rule and its window and
//! not to the limit.

use crate::decision::Policy;
use crate::quota::Kind;
use crate::rule::chosen::tat;
use crate::rule::{Moment, Rule};
use std::ops::Range;

/// The way of states from under some policies to under others.
///
/// Each policy goes on with the count of one that counted by the same rule in the same window, of the same name if
/// there is one. A policy without such a predecessor begins anew.
#[derive(Clone, Debug)]
pub(crate) struct Carry {
    parts: Box<[Part]>,
}

/// One policy, and where it was before.
#[derive(Clone, Debug)]
struct Part {
    rule: Rule,
    words: Range<usize>,
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct Before {
    rule: Rule,
    words: Range<usize>,
    /// Its place among the policies.
    at: usize,
    /// Whether nothing has changed.
    same: bool,
}

impl Carry {
    pub(crate) fn new(from: &[Policy], to: &[Policy]) -> Self {
        let places = places(from);
        let predecessor = |policy: &Policy| {
            let counts_alike = |other: &usize| counts(policy) == counts(&from[*other]);
            let named_alike = |other: &usize| policy.name() == from[*other].name();
            let mut alike = (0..from.len()).filter(counts_alike);
            let found = alike.clone().find(named_alike).or_else(|| alike.next())?;
            Some(Before {
                rule: Rule::new(from[found]),
                words: places[found].clone(),
                at: found,
                same: policy.quota() == from[found].quota(),
            })
        };
        let parts = to.iter().zip(places_of(to)).map(|(policy, words)| Part {
            rule: Rule::new(*policy),
            words,
            before: predecessor(policy),
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// Makes `state` what `before` is under the new policies.
    pub(crate) fn carry(&self, before: &[u64], state: &mut [u64], at: Moment) {
        for part in &self.parts {
            let own = &mut state[part.words.clone()];
            own.fill(0);
            match &part.before {
                Some(known) if known.same => own.copy_from_slice(&before[known.words.clone()]),
                Some(known) => {
                    let before = &before[known.words.clone()];
                    carry(&known.rule, before, &part.rule, own, at);
                }
                None => {}
            }
        }
    }

    /// The marks under the new policies of a booking that left `marks` under the old ones: those with which nobody gets
    /// more for giving it back than if it had never been made.
    pub(crate) fn marks(&self, marks: &[u64]) -> Box<[u64]> {
        let mark = |part: &Part| match &part.before {
            Some(known) if known.same || keeps_marks(&known.rule, &part.rule) => marks[known.at],
            _ => part.rule.no_mark(),
        };
        self.parts.iter().map(mark).collect()
    }
}

fn carry(from: &Rule, before: &[u64], to: &Rule, state: &mut [u64], at: Moment) {
    match (from, to) {
        (Rule::Gcra(from), Rule::Gcra(to)) => {
            state[0] = to.carry(from, tat(before), at.now).to_bits();
        }
        (Rule::SlidingLog(_), Rule::SlidingLog(to)) => to.carry(before, state),
        // They count alike, or they would not have found each other: on a grid that does not depend on the limit.
        _ => state.copy_from_slice(before),
    }
}

/// Whether the units of a booking are where they were. Not in a bucket, where they are time and may have been cut off with
/// what is above a lower burst, and not in a log that was cut off at its oldest units.
fn keeps_marks(from: &Rule, to: &Rule) -> bool {
    match (from, to) {
        (Rule::Gcra(_), _) => false,
        (Rule::SlidingLog(_), _) => from.words() <= to.words(),
        _ => true,
    }
}

/// What has to be the same for a count to go on.
fn counts(policy: &Policy) -> (Kind, u64) {
    let quota = policy.quota();
    let kind = match quota.kind() {
        // Both have two cells of all that passed.
        Kind::Suppress => Kind::SlidingWindow,
        kind => kind,
    };
    (kind, quota.window_nanos())
}

/// Where each policy's words are in a state.
fn places_of(policies: &[Policy]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    policies.iter().map(move |policy| {
        let start = end;
        end += Rule::new(*policy).words();
        start..end
    })
}

fn places(policies: &[Policy]) -> Box<[Range<usize>]> {
    places_of(policies).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Decision, PolicyName};
    use crate::quota::Quota;
    use crate::rule::RuleSet;
    use crate::time::LocalTime;
    use std::time::Duration;

    fn policies(texts: &[&str]) -> Vec<Policy> {
        let policy = |(at, text): (usize, &&str)| {
            let quota: Quota = text.parse().unwrap();
            Policy::new(PolicyName::new(&format!("carry{at}")).unwrap(), quota)
        };
        texts.iter().enumerate().map(policy).collect()
    }

    const START: Moment = Moment::at(LocalTime::from_nanos(100_000_000_000_000));

    /// Spends `cost` under `from`, and tells what is left under each of `to`.
    fn left(from: &[&str], cost: u32, to: &[&str]) -> Vec<u32> {
        let (from, to) = (policies(from), policies(to));
        let before = RuleSet::new(&from);
        let mut state = vec![0; before.words()];
        assert!(before.decide(&mut state, cost, START).is_allowed());
        let after = RuleSet::new(&to);
        let mut carried = vec![7; after.words()];
        Carry::new(&from, &to).carry(&state, &mut carried, START);
        let told = after.ask_each(&carried, 0, START);
        told.each().iter().map(Decision::remaining).collect()
    }

    #[test]
    fn what_was_spent_stays_spent_when_a_limit_rises_or_falls() {
        for kind in ["", " fixed", " sliding", " log"] {
            let quota = |limit: u32| format!("{limit}/min{kind}");
            for (limit, remaining) in [(100, 70), (200, 170), (40, 10), (30, 0), (20, 0)] {
                let after = left(&[&quota(100)], 30, &[&quota(limit)]);
                assert_eq!(after, [remaining], "{kind} to {limit}");
            }
        }
        assert_eq!(left(&["9/month"], 4, &["12/month"]), [8]);
        assert_eq!(left(&["90/h sliding"], 40, &["90/h soft 80"]), [40]);
        assert_eq!(left(&["90/min burst 10"], 4, &["90/min burst 20"]), [16]);
    }

    #[test]
    fn another_rule_or_window_begins_anew() {
        for (from, to) in [
            ("100/min", "100/h"),
            ("100/min", "100/min fixed"),
            ("100/min sliding", "100/min log"),
            ("100/month", "100/d calendar"),
        ] {
            assert_eq!(left(&[from], 30, &[to]), [100], "{from} to {to}");
        }
    }

    #[test]
    fn of_several_each_finds_its_own_wherever_it_stands() {
        let from = ["10/s", "100/h sliding", "1000/month"];
        assert_eq!(left(&from, 5, &["2000/month", "20/s"]), [1995, 15]);
        // Two of a kind: the one of the same name.
        let from = policies(&["10/s", "20/s"]);
        let to = [from[1], from[0]];
        let (mut state, mut after) = ([0; 2], [0; 2]);
        assert!(
            RuleSet::new(&from)
                .decide(&mut state, 5, START)
                .is_allowed()
        );
        let later = START.now.saturating_add(Duration::from_millis(250));
        let later = Moment::at(later);
        Carry::new(&from, &to).carry(&state, &mut after, later);
        let told = RuleSet::new(&to).ask_each(&after, 0, later);
        let left: Vec<_> = told.each().iter().map(Decision::remaining).collect();
        assert_eq!(left, [20, 7]);
    }

    #[test]
    fn a_lowered_bucket_refills_at_once_and_a_closed_one_forgets() {
        let (from, to) = (policies(&["1000/s"]), policies(&["1/s"]));
        let before = RuleSet::new(&from);
        let (mut state, mut after) = ([0], [0]);
        assert!(before.decide(&mut state, 1000, START).is_allowed());
        Carry::new(&from, &to).carry(&state, &mut after, START);
        let denied = RuleSet::new(&to).decide(&mut after, 1, START);
        assert_eq!(denied.retry_after().unwrap().as_secs(), 1);
        assert_eq!(left(&["10/s"], 5, &["0/s"]), [0]);
    }

    #[test]
    fn a_log_keeps_the_moments_of_the_newest_units() {
        let (from, to) = (policies(&["3/s log"]), policies(&["2/s log"]));
        let before = RuleSet::new(&from);
        let mut state = vec![0; before.words()];
        let at = |millis: u64| Moment::at(LocalTime::from_nanos(millis * 1_000_000));
        for millis in [5_000, 5_100, 5_200] {
            assert!(before.decide(&mut state, 1, at(millis)).is_allowed());
        }
        let after = RuleSet::new(&to);
        let mut carried = vec![0; after.words()];
        Carry::new(&from, &to).carry(&state, &mut carried, at(5_300));
        assert_eq!(after.ask(&carried, 1, at(6_099)).remaining(), 0);
        assert!(after.ask(&carried, 1, at(6_100)).is_allowed());
        assert!(!after.ask(&carried, 2, at(6_199)).is_allowed());
        assert!(after.ask(&carried, 2, at(6_200)).is_allowed());
        // And back up: there is room for one more at once.
        let mut again = vec![0; before.words()];
        Carry::new(&to, &from).carry(&carried, &mut again, at(5_300));
        assert_eq!(before.ask(&again, 0, at(5_300)).remaining(), 1);
    }
}
