//! The same tables in instructions, which callgrind counts one by one: a busy machine does not change them.
//!
//! ```text
//! cargo build --release -p tidegate-bench --features peers
//! cargo run --release -p tidegate-bench --features peers --bin instructions
//! cargo run --release -p tidegate-bench --features peers --bin instructions -- tower actix   # of these tables
//! ```
//!
//! Those of a call are what twice as many calls take more than as many, so that what is made once does not count. They are
//! counted inside of the candidate and on its thread alone. The clock of ours stands still, since valgrind has no vDSO to
//! offer: a reading costs a few instructions here and 10 ns in truth. A peer that reads the system's clock makes a call of
//! it, of which the part in the kernel is not seen. An instruction that waits for another processor, such as each step
//! of a lock, counts as one.

use std::path::Path;
use std::process::{Command, Stdio};
use tidegate_bench::sections::{SECTIONS, Section};
use tidegate_bench::table::{Row, Table};

/// Few enough to take seconds under valgrind, enough for what happens now and then.
const CALLS: u64 = 2_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let own = std::env::current_exe().expect("a program knows where it is");
    let all = own.with_file_name("all");
    for section in &SECTIONS {
        if words.is_empty() || words.iter().any(|word| word == section.name) {
            let rows = rows(section).into_iter();
            let counted = rows.map(|row| Row {
                cost: instructions(&all, section, row.name),
                ..row
            });
            let table = Table::of_instructions(section.name, counted.collect());
            println!("{table}");
        }
    }
}

/// Its rows, but those of two threads, of which a profiler runs one at a time.
fn rows(section: &Section) -> Vec<Row> {
    let mut rows = Vec::new();
    section.with_candidates(|candidates| {
        rows = candidates.iter().map(|it| it.row(0.0)).collect();
    });
    rows.retain(|row| !row.name.ends_with("2 threads"));
    rows
}

/// Those of one call.
fn instructions(all: &Path, section: &Section, name: &str) -> f64 {
    let [once, twice] = [CALLS, 2 * CALLS].map(|calls| collected(all, section, name, calls));
    (twice - once) / CALLS as f64
}

/// Those of so many calls, and of whatever begins them.
fn collected(all: &Path, section: &Section, name: &str, calls: u64) -> f64 {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=tidegate_bench::slices::Candidate::run")
        .arg(all)
        .args(["profile", section.name, name, &calls.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("valgrind is installed");
    let told = String::from_utf8_lossy(&valgrind.stderr);
    let collected = told
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let collected = collected.and_then(|text| text.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("{name:?} of {}: {told}", section.name))
}
