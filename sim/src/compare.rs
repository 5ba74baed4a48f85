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
const SCENARIOS: [(&str, &str); 22] = scenarios![
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
    "store-away-30s-safe-share",
    "store-away-30s-frozen",
    "store-flushed",
    "partition-half",
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
/// deeper than a quarter; milliseconds until who joined has its share, and that beside the drain.
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
    ("joins-32", Metric::RampPart, "/drain"),
];

/// What becomes of the load when the store is away, loses everything, or is not reached by a half of the nodes. Who has
/// no store does not notice.
const OUTAGES: &[Column] = &[
    ("store-away-30s-safe-share", Metric::Goodput, "safe"),
    ("store-away-30s-safe-share", Metric::InFlightMax, "max"),
    ("store-away-30s-frozen", Metric::Goodput, "frozen"),
    ("store-away-30s-frozen", Metric::InFlightMax, "max"),
    ("store-flushed", Metric::Goodput, "flush"),
    ("store-flushed", Metric::InFlightMax, "max"),
    ("partition-half", Metric::Goodput, "half"),
    ("partition-half", Metric::InFlightMax, "max"),
];

/// The head of the last column of the outages: promises broken, of all scenarios and seeds.
const BROKEN: &str = "broken";

/// Every core scenario under every limiter of `names`, in that order; for so many seeds. What a scenario sets for fleets,
/// such as what they do without their store, holds for all of them.
pub(crate) fn scenarios(names: &[String], seeds: u64) -> Vec<Scenario> {
    let core = SCENARIOS.map(|(name, text)| {
        Scenario::parse(name, text).expect("the scenarios of this crate are checked by its tests")
    });
    let under = |name: &String| {
        core.clone().map(|mut scenario| {
            let settings = std::mem::take(&mut scenario.limiter.settings);
            scenario.seeds = (1..=seeds).collect();
            scenario.use_limiter(name);
            if limiter::is_fleet(name) {
                scenario.limiter.settings = settings;
            }
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

/// Promises that were broken, in all seeds of these cases.
fn broken(cases: &[Case]) -> f64 {
    let runs = cases.iter().flat_map(|case| &case.runs);
    runs.map(|run| run.values.get(Metric::Violations)).sum()
}

/// Whether no promise was broken in any run.
pub(crate) fn is_kept(cases: &[Case]) -> bool {
    broken(cases) == 0.0
}

/// The tables of what [`scenarios`] came to; for a document, or for the eye.
pub(crate) fn tables(cases: &[Case], markdown: bool) -> String {
    let mut outages = rows(OUTAGES, cases);
    outages[0].push(BROKEN.to_owned());
    for (row, cases) in outages[1..].iter_mut().zip(cases.chunks(SCENARIOS.len())) {
        // The others promise nothing that could be broken.
        row.push(if limiter::is_fleet(&row[0]) {
            number(Metric::Violations, broken(cases))
        } else {
            "-".to_owned()
        });
    }
    let tables = [rows(CORE, cases), rows(BY_SIZE, cases), outages];
    tables.map(|rows| table(&rows, markdown)).join("\n")
}

/// The heads, and a row for each limiter.
fn rows(columns: &[Column], cases: &[Case]) -> Vec<Vec<String>> {
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
    rows
}

fn table(rows: &[Vec<String>], markdown: bool) -> String {
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        if markdown {
            let _ = writeln!(table, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(table, "|{}", "---|".repeat(row.len()));
            }
            continue;
        }
        let _ = write!(table, "{:22}", row[0]);
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
    use crate::metrics::{Run, Values};

    #[test]
    fn every_column_is_of_a_scenario_and_every_scenario_has_a_column() {
        let columns = || CORE.iter().chain(BY_SIZE).chain(OUTAGES);
        for (name, _, _) in columns() {
            assert!(SCENARIOS.iter().any(|(known, _)| known == name), "{name}");
        }
        for (name, _) in SCENARIOS {
            assert!(columns().any(|(shown, _, _)| *shown == name), "{name}");
        }
    }

    #[test]
    fn what_fleets_do_without_their_store_is_as_the_scenario_says() {
        let names = ["tidegate", "leased", "fixed"].map(str::to_owned);
        let scenarios = scenarios(&names, 1);
        let outages: Vec<(&str, &str)> = scenarios
            .iter()
            .filter(|scenario| scenario.name == "store-away-30s-frozen")
            .map(|scenario| (&*scenario.limiter.name, &*scenario.limiter.settings))
            .collect();
        let frozen = "outage=frozen:60000000us";
        assert_eq!(
            outages,
            [("tidegate", frozen), ("leased", frozen), ("fixed", "")]
        );
        for scenario in &scenarios {
            limiter::check(scenario).unwrap();
        }
    }

    #[test]
    fn a_promise_that_is_broken_in_one_seed_is_told_and_fails_the_comparison() {
        let made_up = |broken: f64| -> Vec<Case> {
            let case = |scenario: Scenario| {
                let mut values = Values::NONE;
                let is_it = scenario.name == "bursts" && scenario.limiter.name == "tidegate";
                values.set(Metric::Violations, if is_it { broken } else { 0.0 });
                let run = Run {
                    values,
                    bins: Vec::new(),
                    events: 0,
                };
                Case {
                    scenario,
                    runs: vec![run],
                    events: 0,
                }
            };
            let names = ["tidegate", "leased", "fixed"].map(str::to_owned);
            scenarios(&names, 1).into_iter().map(case).collect()
        };
        let told = |cases: &[Case]| -> Vec<String> {
            let tables = tables(cases, false);
            let outages = tables.lines().skip_while(|line| !line.ends_with(BROKEN));
            let last = |line: &str| line.split_whitespace().last().map(str::to_owned);
            outages.skip(1).filter_map(last).collect()
        };
        let (kept, broken) = (made_up(0.0), made_up(2.0));
        assert!(is_kept(&kept) && !is_kept(&broken));
        assert_eq!(told(&kept), ["0", "0", "-"]);
        assert_eq!(told(&broken), ["2", "0", "-"]);
    }
}
