//! The scenarios of this repository can be read, and what cannot be run says where it is wrong.

use std::path::{Path, PathBuf};
use tidegate_sim::scenario::Scenario;

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

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Scenario::read(Path::new("nowhere.toml")).expect_err("it is not there");
    assert!(error.to_string().starts_with("nowhere.toml: "), "{error}");
}
