//! All limiters on the core scenarios, a line for each.

use crate::limiter;
use crate::metrics::Metric;
use crate::report::number;
use crate::scenario::Scenario;
use crate::suite::Case;
use std::fmt::Write as _;

/// A scenario, its text, and what is shown of it: metric and head of the column.
type Shown = (
    &'static str,
    &'static str,
    &'static [(Metric, &'static str)],
);

/// The core scenarios.
const CORE: [Shown; 11] = [
    (
        "steady-2x",
        include_str!("../scenarios/steady-2x.toml"),
        &[
            (Metric::Goodput, "2x 8"),
            (Metric::P99, "p99/u"),
            (Metric::InFlightMean, "if/C"),
            (Metric::InFlightMax, "max"),
        ],
    ),
    (
        "fleet-32",
        include_str!("../scenarios/fleet-32.toml"),
        &[
            (Metric::Goodput, "2x 32"),
            (Metric::P99, "p99/u"),
            (Metric::InFlightMean, "if/C"),
            (Metric::InFlightMax, "max"),
        ],
    ),
    (
        "fleet-128",
        include_str!("../scenarios/fleet-128.toml"),
        &[(Metric::Goodput, "2x 128"), (Metric::InFlightMean, "if/C")],
    ),
    (
        "steady-10x",
        include_str!("../scenarios/steady-10x.toml"),
        &[(Metric::Goodput, "10x 8")],
    ),
    (
        "steady-half",
        include_str!("../scenarios/steady-half.toml"),
        &[(Metric::Goodput, ".5x 8"), (Metric::FalseRejects, "false")],
    ),
    (
        "skew-90-10",
        include_str!("../scenarios/skew-90-10.toml"),
        &[(Metric::Goodput, "skew"), (Metric::InFlightMean, "if/C")],
    ),
    (
        "capacity-halves",
        include_str!("../scenarios/capacity-halves.toml"),
        &[(Metric::Goodput, "C / 2"), (Metric::Settle, "settle")],
    ),
    (
        "capacity-doubles",
        include_str!("../scenarios/capacity-doubles.toml"),
        &[(Metric::Goodput, "2 C"), (Metric::Settle, "settle")],
    ),
    (
        "baseline-doubles",
        include_str!("../scenarios/baseline-doubles.toml"),
        &[(Metric::Goodput, "2 R0"), (Metric::LimitLowest, "L low")],
    ),
    (
        "degrading-usl",
        include_str!("../scenarios/degrading-usl.toml"),
        &[(Metric::Goodput, "degr.")],
    ),
    (
        "bursts",
        include_str!("../scenarios/bursts.toml"),
        &[(Metric::Goodput, "bursts")],
    ),
];

/// Every core scenario under every limiter of `names`, in that order; for so many seeds.
pub(crate) fn scenarios(names: &[String], seeds: u64) -> Vec<Scenario> {
    let core = CORE.map(|(name, text, _)| {
        Scenario::parse(name, text).expect("the scenarios of this crate are checked by its tests")
    });
    let under = |name: &String| {
        core.clone().map(|mut scenario| {
            scenario.seeds = (1..=seeds).collect();
            scenario.use_limiter(name);
            scenario
        })
    };
    names.iter().flat_map(under).collect()
}

/// The names of all limiters.
pub(crate) fn everybody() -> Vec<String> {
    limiter::NAMES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

/// The table of what [`scenarios`] came to; for a document, or for the eye.
pub(crate) fn table(cases: &[Case], markdown: bool) -> String {
    let heads = CORE.iter().flat_map(|(_, _, columns)| columns.iter());
    let heads = heads.map(|(_, head)| (*head).to_owned());
    let mut rows = vec![
        std::iter::once("limiter".to_owned())
            .chain(heads)
            .collect::<Vec<_>>(),
    ];
    for cases in cases.chunks(CORE.len()) {
        let mut row = vec![cases[0].scenario.limiter.name.clone()];
        for (case, (_, _, columns)) in cases.iter().zip(CORE) {
            let mean = case.mean();
            row.extend(
                columns
                    .iter()
                    .map(|(metric, _)| number(*metric, mean.get(*metric))),
            );
        }
        rows.push(row);
    }
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        if markdown {
            let _ = writeln!(table, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(table, "|{}", "---|".repeat(row.len()));
            }
            continue;
        }
        let _ = write!(table, "{:15}", row[0]);
        for cell in &row[1..] {
            let _ = write!(table, " {cell:>7}");
        }
        table.push('\n');
    }
    table
}
