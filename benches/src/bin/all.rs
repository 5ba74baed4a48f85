//! Every table, or those that are named.
//!
//! ```text
//! cargo run --release -p tidegate-bench --features peers
//! cargo run --release -p tidegate-bench --features peers -- tower axum
//! cargo run --release -p tidegate-bench -- profile tower "rate, told" 100000    # for valgrind
//! ```

use tidegate_bench::sections::{SECTIONS, Section};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, section, name, calls] = words.as_slice()
        && command == "profile"
    {
        profile(section, name, calls.parse().expect("a number of calls"));
        return;
    }
    for section in SECTIONS {
        if words.is_empty() || words.iter().any(|word| word == section.name) {
            println!("{}", (section.table)());
        }
    }
}

/// Calls one candidate, for a profiler that counts instructions.
fn profile(section: &str, name: &str, calls: u32) {
    let section =
        Section::called(section).unwrap_or_else(|| panic!("no section called {section:?}"));
    section.with_candidates(|mut candidates| {
        let candidate = candidates.iter_mut().find(|it| it.name() == name);
        candidate
            .unwrap_or_else(|| panic!("nothing called {name:?}"))
            .run(calls);
    });
}
