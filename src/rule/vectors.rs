//! The golden cases of the rules: `tests/vectors/rate_limits.json`, which every spelling of them reproduces.

use crate::decision::{Decision, Policy};
use crate::quota::Quota;
use crate::rule::{Moment, RuleSet};
use crate::time::{LocalTime, WallTime};
use serde_json::Value;

/// A quota, and what it says to costs at moments.
pub(crate) struct Case {
    pub(crate) policy: Policy,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Step {
    /// Microseconds since 2020.
    pub(crate) at: u64,
    pub(crate) cost: u32,
    /// Below 2^32.
    pub(crate) random: u32,
    /// In the words of the file.
    pub(crate) told: String,
}

pub(crate) fn cases() -> Vec<Case> {
    let text = include_str!("../../tests/vectors/rate_limits.json");
    let vectors: Value = serde_json::from_str(text).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list");
    cases.iter().map(case).collect()
}

fn case(case: &Value) -> Case {
    let quota: Quota = case["quota"].as_str().expect("a text").parse().unwrap();
    let begin = case["begin"].as_u64().expect("a number");
    let step = |step: &Value| {
        let number = |place: usize| step[place].as_u64().expect("a number");
        Step {
            at: begin + number(0),
            cost: u32::try_from(number(1)).expect("a cost"),
            random: u32::try_from(number(2)).expect("below 2^32"),
            told: step[3].as_str().expect("a text").to_owned(),
        }
    };
    let steps = case["steps"].as_array().expect("a list");
    Case {
        policy: quota.into(),
        steps: steps.iter().map(step).collect(),
    }
}

/// A decision in the words of the file.
pub(crate) fn told(decision: &Decision) -> String {
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
        let rules = RuleSet::new(&[case.policy]);
        let mut state = vec![0; rules.words()];
        for step in case.steps {
            let nanos = step.at * 1_000;
            let at = Moment::at(LocalTime::from_nanos(nanos))
                .on(WallTime::from_unix_nanos(
                    nanos + SINCE_1970 * 1_000_000_000,
                ))
                .drawing(u64::from(step.random) << 32);
            let decision = rules.decide(&mut state, step.cost, at);
            let (quota, at) = (case.policy.quota(), step.at);
            assert_eq!(told(&decision), step.told, "{quota} at {at} us");
        }
    }
}
