//! The scenarios of this repository can be read and are as they expect, and what cannot be run says where it is wrong.

use std::path::{Path, PathBuf};
use tidegate_sim::scenario::Scenario;
use tidegate_sim::suite::Trial;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the crate");
    entries
        .map(|entry| entry.expect("readable").path())
        .collect()
}

#[test]
fn every_scenario_of_this_repository_can_be_read() {
    let files = files();
    assert!(files.len() > 80, "{} scenarios", files.len());
    for file in files {
        Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// What misses its bound over the mean of its seeds, and by how much at most.
const KNOWN: [(&str, &str, f64); 2] = [
    // .954 of .96: a third of the beats is not answered, and shares follow the load that much later.
    ("losses", "goodput", 0.01),
    // 3.9 of 3 s: one seed of five, which grows again into the smaller capacity, takes 11.
    ("capacity-halves-32", "settle", 1.0),
];

/// A node says that it runs nothing, and what it hides breaks I2: the file says how often.
const HIDES: &str = "liar-in-flight-zero";

/// By how much the mean over the seeds of `name` may be beyond the bound of `metric`.
fn margin(name: &str, metric: &str) -> f64 {
    let known = KNOWN
        .iter()
        .find(|(of, known, _)| (*of, *known) == (name, metric));
    known.map_or(0.0, |(_, _, by)| *by)
}

/// What is beyond its bound, and promises that are broken.
fn misses(trial: &Trial, is_whole: bool) -> Vec<String> {
    let (name, mut missed) = (trial.name(), Vec::new());
    for (metric, above) in trial.margins() {
        // What is not a number is beyond every margin, unless what it is about was cut off.
        if above.is_nan() && is_whole || above < -margin(name, metric) {
            missed.push(format!(
                "{metric} of {name} is {above:+.3} within its bound"
            ));
        }
    }
    let violations = trial.value("violations").expect("the metric exists");
    if violations > 0.0 && name != HIDES {
        missed.push(format!("{violations} promises of {name} are broken"));
    }
    missed
}

/// One seed of each, all of those that miss something with it or are known to, and of the long ones the first part.
#[test]
fn every_scenario_is_as_it_expects() {
    const LONGEST: f64 = 100.0;
    let scenario = |file: PathBuf| {
        let mut scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        // Of many nodes or requests a second are seconds of the test.
        let whole = scenario.seconds();
        scenario.cut(match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("fleet-128" | "large-backend") => 20.0,
            // What they are about comes late.
            Some(
                "idle-hour" | "trickle" | "hang" | "slow-backend" | "slow-few" | "streams"
                | "streams-halve" | "streams-long",
            ) => 3660.0,
            _ => LONGEST,
        });
        let is_whole = scenario.seconds() >= whole;
        (scenario, is_whole)
    };
    let (scenarios, whole): (Vec<_>, Vec<_>) = files().into_iter().map(scenario).unzip();
    let trials = Trial::each(scenarios.clone());
    let mut missed = Vec::new();
    for ((trial, scenario), is_whole) in trials.iter().zip(scenarios).zip(whole) {
        let is_known = KNOWN.iter().any(|(name, _, _)| *name == trial.name());
        if is_known || !misses(trial, is_whole).is_empty() {
            // What is expected is a mean over seeds, from which one may be far.
            missed.extend(misses(&Trial::of_all_seeds(scenario), is_whole));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Scenario::read(Path::new("nowhere.toml")).expect_err("it is not there");
    assert!(error.to_string().starts_with("nowhere.toml: "), "{error}");
}
