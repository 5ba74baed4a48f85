//! All limiters on the core scenarios, a line for each.

use crate::limiter;
use crate::metrics::Metric;
use crate::report::number;
use crate::scenario::Scenario;
use crate::suite::Case;
use std::fmt::Write as _;

/// A scenario by its name, what is shown of it, and the head of the column.
type Column = (&'static str, Metric, &'static str);

/// A scenario of this crate, by its name, and its text.
macro_rules! scenarios {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),+]
    };
}

/// What is run.
const SCENARIOS: [(&str, &str); 18] = scenarios![
    "steady-2x",
    "fleet-32",
    "fleet-128",
    "steady-10x",
    "steady-half",
    "skew-90-10",
    "capacity-halves",
    "capacity-doubles",
    "baseline-doubles",
    "degrading-usl",
    "bursts",
    "capacity-halves-2",
    "capacity-halves-32",
    "capacity-doubles-2",
    "capacity-doubles-32",
    "baseline-doubles-2",
    "baseline-doubles-32",
    "joins-32",
];

/// The core scenarios.
const CORE: &[Column] = &[
    ("steady-2x", Metric::Goodput, "2x 8"),
    ("steady-2x", Metric::P99, "p99/u"),
    ("steady-2x", Metric::InFlightMean, "if/C"),
    ("steady-2x", Metric::InFlightMax, "max"),
    ("fleet-32", Metric::Goodput, "2x 32"),
    ("fleet-32", Metric::P99, "p99/u"),
    ("fleet-32", Metric::InFlightMean, "if/C"),
    ("fleet-32", Metric::InFlightMax, "max"),
    ("fleet-128", Metric::Goodput, "2x 128"),
    ("fleet-128", Metric::InFlightMean, "if/C"),
    ("steady-10x", Metric::Goodput, "10x 8"),
    ("steady-half", Metric::Goodput, ".5x 8"),
    ("steady-half", Metric::FalseRejects, "false"),
    ("skew-90-10", Metric::Goodput, "skew"),
    ("skew-90-10", Metric::InFlightMean, "if/C"),
    ("capacity-halves", Metric::Goodput, "C / 2"),
    ("capacity-halves", Metric::Settle, "settle"),
    ("capacity-doubles", Metric::Goodput, "2 C"),
    ("capacity-doubles", Metric::Settle, "settle"),
    ("baseline-doubles", Metric::Goodput, "2 R0"),
    ("baseline-doubles", Metric::LimitLowest, "L low"),
    ("degrading-usl", Metric::Goodput, "degr."),
    ("bursts", Metric::Goodput, "bursts"),
];

/// How soon changes are followed by fleets of 2, 8 and 32: seconds to settle; the deepest cut and how many seconds it was
/// deeper than a quarter; milliseconds until who joined has its share.
const BY_SIZE: &[Column] = &[
    ("capacity-halves-2", Metric::Settle, "C/2 2"),
    ("capacity-halves", Metric::Settle, "C/2 8"),
    ("capacity-halves-32", Metric::Settle, "C/2 32"),
    ("capacity-doubles-2", Metric::Settle, "2C 2"),
    ("capacity-doubles", Metric::Settle, "2C 8"),
    ("capacity-doubles-32", Metric::Settle, "2C 32"),
    ("baseline-doubles-2", Metric::Cut, "cut 2"),
    ("baseline-doubles-2", Metric::CutTime, "s"),
    ("baseline-doubles", Metric::Cut, "cut 8"),
    ("baseline-doubles", Metric::CutTime, "s"),
    ("baseline-doubles-32", Metric::Cut, "cut 32"),
    ("baseline-doubles-32", Metric::CutTime, "s"),
    ("joins-32", Metric::Ramp, "join 32"),
];

/// Every core scenario under every limiter of `names`, in that order; for so many seeds.
pub(crate) fn scenarios(names: &[String], seeds: u64) -> Vec<Scenario> {
    let core = SCENARIOS.map(|(name, text)| {
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

/// The tables of what [`scenarios`] came to; for a document, or for the eye.
pub(crate) fn tables(cases: &[Case], markdown: bool) -> String {
    let tables = [CORE, BY_SIZE].map(|columns| table(columns, cases, markdown));
    tables.join("\n")
}

fn table(columns: &[Column], cases: &[Case], markdown: bool) -> String {
    let heads = columns.iter().map(|(_, _, head)| (*head).to_owned());
    let mut rows = vec![
        std::iter::once("limiter".to_owned())
            .chain(heads)
            .collect::<Vec<_>>(),
    ];
    for cases in cases.chunks(SCENARIOS.len()) {
        let mut row = vec![cases[0].scenario.limiter.name.clone()];
        row.extend(columns.iter().map(|(name, metric, _)| {
            let case = cases.iter().find(|case| case.scenario.name == *name);
            let case = case.expect("a test looks for the scenario of every column");
            number(*metric, case.mean().get(*metric))
        }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_of_a_scenario_and_every_scenario_has_a_column() {
        let columns = || CORE.iter().chain(BY_SIZE);
        for (name, _, _) in columns() {
            assert!(SCENARIOS.iter().any(|(known, _)| known == name), "{name}");
        }
        for (name, _) in SCENARIOS {
            assert!(columns().any(|(shown, _, _)| *shown == name), "{name}");
        }
    }
}
