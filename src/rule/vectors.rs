//! The golden cases of the rules: `tests/vectors/rate_limits.json`, which every spelling of them reproduces.

use crate::decision::{Decision, Decisions, Policy, PolicyName};
use crate::quota::Quota;
use crate::rule::{Moment, RuleSet};
use crate::time::{LocalTime, WallTime};
use serde_json::Value;

/// Quotas that hold at once, and what they say to costs at moments.
pub(crate) struct Case {
    pub(crate) policies: Vec<Policy>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Step {
    /// Microseconds since 2020.
    pub(crate) at: u64,
    pub(crate) cost: u32,
    /// Below 2^32.
    pub(crate) random: u32,
    /// By each quota, in the words of the file.
    pub(crate) told: Vec<String>,
}

pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("../../tests/vectors/rate_limits.json");
    let vectors: Value = serde_json::from_str(text).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list");
    cases.iter().map(case).collect()
}

fn case(case: &Value) -> Case {
    let quotas = case["quotas"].as_array().expect("a list").iter();
    let policy = |(place, quota): (usize, &Value)| {
        let quota: Quota = quota.as_str().expect("a text").parse().expect("a quota");
        let name = PolicyName::new(&format!("p{place}")).expect("a name");
        Policy::new(name, quota)
    };
    let begin = case["begin"].as_u64().expect("a number");
    let step = |step: &Value| {
        let number = |place: usize| step[place].as_u64().expect("a number");
        Step {
            at: begin + number(0),
            cost: u32::try_from(number(1)).expect("a cost"),
            random: u32::try_from(number(2)).expect("below 2^32"),
            told: texts(&step[3]),
        }
    };
    let steps = case["steps"].as_array().expect("a list");
    Case {
        policies: quotas.enumerate().map(policy).collect(),
        steps: steps.iter().map(step).collect(),
    }
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().expect("a list").iter();
    texts
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// Decisions in the words of the file.
pub(crate) fn told(decisions: &Decisions) -> Vec<String> {
    decisions.each().iter().map(told_by_one).collect()
}

fn told_by_one(decision: &Decision) -> String {
    let wait = decision.retry_after().map(|wait| wait.as_nanos());
    format!(
        "{}, {} left, retry {}, reset {}, chance {:.3}",
        decision.outcome().as_str(),
        decision.remaining(),
        wait.map_or_else(|| "never".to_owned(), |wait| wait.to_string()),
        decision.reset_after().as_nanos(),
        decision.probability(),
    )
}

const SINCE_1970: u64 = 1_577_836_800;

#[test]
fn every_golden_case_is_reproduced() {
    let cases = cases();
    assert!(cases.len() >= 8);
    for case in cases {
        let rules = RuleSet::new(&case.policies);
        let mut state = vec![0; rules.words()];
        for step in case.steps {
            let nanos = step.at * 1_000;
            let at = Moment::at(LocalTime::from_nanos(nanos))
                .on(WallTime::from_unix_nanos(
                    nanos + SINCE_1970 * 1_000_000_000,
                ))
                .drawing(u64::from(step.random) << 32);
            let decisions = rules.decide_each(&mut state, step.cost, at);
            let (first, at) = (case.policies[0].quota(), step.at);
            assert_eq!(told(&decisions), step.told, "{first} at {at} us");
        }
    }
}
