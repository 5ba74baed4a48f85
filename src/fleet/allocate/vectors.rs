//! The golden cases of the pure functions: `tests/vectors/allocation.json`.

use crate::fleet::allocate::{Claimant, Round, split};
use crate::fleet::estimate;
use crate::fleet::message::{NodeView, Report, Snapshot};
use crate::fleet::settings::{Allocation, Estimate, Settings};
use crate::time::StoreTime;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().expect("a number")).expect("a small one")
}

fn nodes(case: &Value) -> Vec<NodeView> {
    let list = case["nodes"].as_array().expect("a list").iter().enumerate();
    let node = |(place, node): (usize, &Value)| NodeView {
        deadline: StoreTime::ZERO,
        incarnation: place as u64 + 1,
        name: Arc::from(node["id"].as_str().expect("a name")),
        open: true,
        starved: false,
        share: number(&node["share"]),
        safe: 0,
        since: StoreTime::ZERO,
        target: 0,
        hold: 0,
        in_flight: number(&node["in_flight"]),
        report: Report {
            local_limit: number(&node["local_limit"]),
            weight: 1,
            ..Report::default()
        },
    };
    list.map(node).collect()
}

#[test]
fn every_golden_case_is_reproduced() {
    let text = include_str!("../../../tests/vectors/allocation.json");
    let vectors: Value = serde_json::from_str(text).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list");
    assert!(cases.len() > 50);
    for case in cases {
        let nodes = nodes(case);
        let views: Vec<&NodeView> = nodes.iter().collect();
        let limit = |policy| {
            let settings = Settings {
                estimate: policy,
                ..Settings::default()
            };
            let snapshot = Snapshot {
                epoch: 1,
                version: 0,
                store_time: StoreTime::ZERO,
                limit: 0,
                plan: 0,
                settings: Arc::from(""),
                memory: Arc::default(),
                nodes: Vec::new(),
            };
            estimate::estimate(&settings, &snapshot, &views).0
        };
        assert_eq!(limit(Estimate::Min), number(&case["min"]), "{case}");
        let median = limit(Estimate::Median);
        assert_eq!(median, number(&case["median"]), "{case}");
        assert!(
            median as usize >= nodes.len(),
            "the cases are about enough slots for everybody"
        );
        let claimants: Vec<Claimant<'_>> = nodes
            .iter()
            .map(|node| Claimant::of(node, StoreTime::ZERO))
            .collect();
        let round = Round {
            number: 0,
            length: Duration::from_millis(100),
        };
        for (policy, name) in [
            (Allocation::EqualSplit, "equal_split"),
            (Allocation::DemandProportional, "demand_proportional"),
        ] {
            let targets = split(policy, median, &claimants, round);
            for (node, target) in nodes.iter().zip(targets) {
                assert_eq!(
                    target,
                    number(&case[name][&*node.name]),
                    "{name} of {} in {case}",
                    node.name
                );
            }
        }
    }
}
