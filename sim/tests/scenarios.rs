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
    assert!(files.len() > 40, "{} scenarios", files.len());
    for file in files {
        Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// One seed, and the first part of it: within a margin of what a file expects of the mean of five.
#[test]
fn every_scenario_keeps_its_promises_and_serves_what_it_should() {
    const MARGIN: f64 = 0.05;
    let scenario = |file: PathBuf| {
        let mut scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        // Of many nodes or requests a second are seconds of the test.
        let seconds = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("fleet-1000") => 4.0,
            Some("fleet-128" | "large-backend") => 20.0,
            Some("idle-hour") => 3660.0,
            _ => 60.0,
        };
        scenario.cut(seconds);
        scenario
    };
    let mut trials: Vec<(f64, Trial)> = Trial::each(files().into_iter().map(scenario).collect())
        .into_iter()
        .map(|trial| {
            let goodput = trial.value("goodput").expect("the metric exists");
            (goodput - trial.least("goodput").unwrap_or(0.0), trial)
        })
        .collect();
    trials.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (above, trial) in trials.iter().take(10) {
        println!("{} is {above:+.3} above its least goodput", trial.name());
    }
    for (above, trial) in trials {
        let violations = trial.value("violations").expect("the metric exists");
        let name = trial.name();
        assert_eq!(violations, 0.0, "promises of {name} are broken");
        assert!(above >= -MARGIN, "goodput of {name} is {above:+.3} above");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Scenario::read(Path::new("nowhere.toml")).expect_err("it is not there");
    assert!(error.to_string().starts_with("nowhere.toml: "), "{error}");
}
