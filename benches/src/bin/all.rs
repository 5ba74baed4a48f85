//! Every table, or those that are named.
//!
//! ```text
//! cargo run --release -p tidegate-bench --features peers
//! cargo run --release -p tidegate-bench --features peers -- tower axum
//! cargo run --release -p tidegate-bench -- profile tower "rate, headers" 100000    # for valgrind
//! ```

use tidegate_bench::table::Table;
use tidegate_bench::{
    Candidate, Clocks, actix_app, axum_router, deciding, permit, tower_service, warm,
};

/// What a section does when it is asked for.
type Measurement = fn() -> Table;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, section, name, calls] = words.as_slice()
        && command == "profile"
    {
        profile(section, name, calls.parse().expect("a number of calls"));
        return;
    }
    let tables: [(&str, Measurement); 6] = [
        ("permit", permit::table),
        ("deciding", deciding::table),
        ("warm", warm::table),
        ("tower", tower_service::table),
        ("axum", axum_router::table),
        ("actix", actix_app::table),
    ];
    for (name, table) in tables {
        if words.is_empty() || words.iter().any(|word| word == name) {
            println!("{}", table());
        }
    }
}

/// Calls one candidate, for a profiler that counts instructions.
fn profile(section: &str, name: &str, calls: u32) {
    let clocks = &Clocks::standing();
    let names;
    let mut candidates: Vec<Candidate<'_>> = match section {
        "permit" => permit::candidates(clocks),
        "deciding" => {
            names = deciding::Names::new();
            deciding::candidates(clocks, &names)
        }
        "tower" => tower_service::candidates(clocks),
        "axum" => axum_router::candidates(clocks),
        "actix" => actix_app::candidates(clocks),
        _ => panic!("no section called {section:?}"),
    };
    let candidate = candidates.iter_mut().find(|it| it.name() == name);
    candidate
        .unwrap_or_else(|| panic!("nothing called {name:?}"))
        .run(calls);
}
