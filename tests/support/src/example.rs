//! Our own examples as child processes.

use crate::ChildGuard;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, io};

/// Starts the example `name` with `arguments`.
///
/// # Panics
/// As [`example_path`].
#[must_use]
pub fn example<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>) -> ChildGuard {
    let mut command = Command::new(example_path(name));
    command.args(arguments);
    ChildGuard::spawn(&command)
}

/// The binary of the example `name`, built in the profile of the running test or program and up to date.
///
/// `cargo test` builds examples only when it is not told to run a single test target, so they are built here. Whoever
/// has just built them all, as `scripts/test` has, says so with `TIDEGATE_EXAMPLES_BUILT=1`.
///
/// # Panics
/// If the example does not build, with what cargo said.
#[must_use]
pub fn example_path(name: &str) -> PathBuf {
    static FRESH: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let profile =
        profile_directory().expect("a test runs from target/<profile>/deps, a program from above");
    let mut fresh = FRESH.lock().expect("a build that failed fails every test");
    if fresh.insert(name.to_owned()) && env::var_os("TIDEGATE_EXAMPLES_BUILT").is_none() {
        build(name, &profile);
    }
    profile.join("examples").join(name)
}

fn profile_directory() -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let folder = test.parent().ok_or(io::ErrorKind::NotFound)?;
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    let profile = if is_test {
        folder.parent()
    } else {
        Some(folder)
    };
    Ok(profile.ok_or(io::ErrorKind::NotFound)?.to_path_buf())
}

fn build(name: &str, profile: &Path) {
    let release = profile.file_name().is_some_and(|name| name == "release");
    let target = profile.parent().expect("the target directory is above");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--package", "tidegate-examples", "--example", name])
        .args(release.then_some("--release"))
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo can be started");
    assert!(
        built.status.success(),
        "the example {name} does not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
}
