//! Results as a table, as JSON and as a trace over time.

use crate::metrics::{Metric, Run, Values, mean};
use crate::suite::Case;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What the table shows of each case.
const COLUMNS: [Metric; 25] = [
    Metric::Goodput,
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::InFlightMean,
    Metric::InFlightMax,
    Metric::InFlightP999,
    Metric::Overshoot,
    Metric::Settle,
    Metric::FalseRejects,
    Metric::Jain,
    Metric::LimitMean,
    Metric::LimitCv,
    Metric::LimitLowest,
    Metric::Cut,
    Metric::CutTime,
    Metric::Undealt,
    Metric::Wanted,
    Metric::Ramp,
    Metric::RampPart,
    Metric::Reclaim,
    Metric::Starved,
    Metric::Messages,
    Metric::Bytes,
    Metric::Violations,
];

/// A line for each case, means over seeds, and with `worst` another for the worst seed.
pub(crate) fn table(cases: &[Case], worst: bool) -> String {
    let mut table = String::new();
    let width = cases
        .iter()
        .map(|case| case.scenario.name.len())
        .max()
        .unwrap_or(0)
        .max(8);
    let _ = write!(table, "{:width$} {:18}", "scenario", "limiter");
    for column in COLUMNS {
        let _ = write!(table, " {:>7}", column.short());
    }
    table.push('\n');
    for case in cases {
        let scenario = &case.scenario;
        let _ = write!(
            table,
            "{:width$} {:18}",
            scenario.name, scenario.limiter.name
        );
        line(&mut table, &case.mean());
        if worst {
            let _ = write!(table, "{:width$} {:>18}", "", "worst seed");
            line(&mut table, &case.worst());
        }
        if scenario.load.classes.is_some() {
            let mean = case.mean();
            let class = |metric| {
                format!(
                    " {} {}",
                    Metric::name(metric),
                    number(metric, mean.get(metric))
                )
            };
            let classes = [
                Metric::Critical,
                Metric::Default,
                Metric::Sheddable,
                Metric::Bulk,
            ]
            .map(class);
            let _ = writeln!(table, "{:width$} admitted:{}", "", classes.concat());
        }
        for told in case.disappointments() {
            let _ = writeln!(table, "{:width$} NOT AS EXPECTED: {told}", "");
        }
    }
    table
}

fn line(table: &mut String, values: &Values) {
    for column in COLUMNS {
        let _ = write!(table, " {:>7}", number(column, values.get(column)));
    }
    table.push('\n');
}

/// The mean over cases, the mean of the worst tenth and the worst, metric by metric; of cases that have the number. What
/// never came is the worst there is, and in means counts as [`Case::counted`] says.
pub(crate) fn tenths(cases: &[Case]) -> String {
    let mut table = format!(
        "{:16} {:>8} {:>12} {:>8}\n",
        "metric", "mean", "worst tenth", "worst"
    );
    for metric in COLUMNS {
        let mut known: Vec<(f64, &Case)> = cases
            .iter()
            .map(|case| (case.mean().get(metric), case))
            .filter(|(value, _)| !value.is_nan())
            .collect();
        known.sort_by(|a, b| b.0.total_cmp(&a.0));
        if metric.more_is_better() {
            known.reverse();
        }
        let Some((worst, of)) = known.first() else {
            continue;
        };
        let (worst, name) = (*worst, of.scenario.name.as_str());
        let never = known
            .iter()
            .filter(|(value, _)| value.is_infinite())
            .count();
        let name = match never {
            0 => name.to_owned(),
            never => format!("{name} ({never} of {} never)", known.len()),
        };
        let values: Vec<f64> = known.iter().map(|(_, case)| case.counted(metric)).collect();
        let tenth = &values[..values.len().div_ceil(10)];
        let _ = writeln!(
            table,
            "{:16} {:>8} {:>12} {:>8}  {name}",
            metric.name(),
            number(metric, mean(&values)),
            number(metric, mean(tenth)),
            number(metric, worst),
        );
    }
    table
}

/// As many digits as mean something.
pub(crate) fn number(metric: Metric, value: f64) -> String {
    match metric {
        _ if value.is_nan() => "-".to_owned(),
        _ if value.is_infinite() => "never".to_owned(),
        Metric::FalseRejects | Metric::Rejects => format!("{:.2}%", value * 100.0),
        Metric::Settle | Metric::Starved | Metric::Reclaim | Metric::CutTime => {
            format!("{value:.1}")
        }
        Metric::Messages | Metric::Bytes | Metric::Violations | Metric::Rate | Metric::Ramp => {
            format!("{value:.0}")
        }
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}

/// Everything, by scenario.
pub(crate) fn json(cases: &[Case]) -> Value {
    let case = |case: &Case| {
        let seeds: Vec<Value> = case.runs.iter().map(|run| object(&run.values)).collect();
        json!({
            "scenario": case.scenario.name,
            "limiter": case.scenario.limiter.name,
            "seeds": case.scenario.seeds,
            "events": case.events,
            "mean": object(&case.mean()),
            "worst": object(&case.worst()),
            "by_seed": seeds,
            "not_as_expected": case.disappointments(),
        })
    };
    cases.iter().map(case).collect()
}

fn object(values: &Values) -> Value {
    let pairs = Metric::ALL.map(|metric| {
        // JSON has no infinity and no NaN: null.
        (metric.name().to_owned(), json!(values.get(metric)))
    });
    Value::Object(Map::from_iter(pairs))
}

/// One run over time, as CSV.
pub(crate) fn trace(run: &Run) -> String {
    let mut csv =
        "time,capacity,limit,shares,in_flight,in_flight_max,at_backend,goodput,p99_ms,refused\n"
            .to_owned();
    for bin in &run.bins {
        let _ = writeln!(
            csv,
            "{:.1},{:.2},{:.2},{:.2},{:.2},{},{},{:.1},{:.2},{}",
            bin.time,
            bin.capacity,
            bin.limit,
            bin.shares,
            bin.in_flight,
            bin.in_flight_max,
            bin.at_backend,
            bin.goodput,
            bin.p99_ms,
            bin.refused
        );
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    /// A case of one seed that settled after so long.
    fn settled(name: &str, after: f64) -> Case {
        let text = "duration = 9\n[backend]\ncapacity = 5\nlatency_ms = 1\n[load]\nlevel = 1\n";
        let mut values = Values::NONE;
        values.set(Metric::Settle, after);
        Case {
            scenario: Scenario::parse(name, text).unwrap(),
            runs: vec![Run {
                values,
                bins: Vec::new(),
                events: 0,
            }],
            events: 0,
        }
    }

    #[test]
    fn who_never_settles_is_the_worst_and_counts_as_twenty_seconds() {
        let cases = [
            settled("quick", 1.0),
            settled("never", f64::INFINITY),
            settled("slow", 3.0),
            settled("no-step", f64::NAN),
        ];
        let table = tenths(&cases);
        let line = table.lines().find(|line| line.starts_with("settle"));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(words[1..5], ["8.0", "20.0", "never", "never"]);
        assert_eq!(words[5..], ["(1", "of", "3", "never)"]);
    }
}
