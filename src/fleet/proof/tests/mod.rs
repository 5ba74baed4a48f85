//! The proofs: what each may meet and how far it goes is in its name, and how many states it has is pinned.

mod larger;
mod mutants;
mod reductions;
mod settings;
mod three_nodes;
mod three_recover;
mod two_nodes;

use crate::fleet::proof::bounds::Bounds;
use stateright::{Checker, HasDiscoveries, Model};
use std::thread;

/// Visits every state there is: all keep the promises, all sights are seen, and there are as many as there were.
fn holds(bounds: Bounds, states: usize) {
    // A test that runs on the main thread, alone, does not know its name.
    if let Some(name) = thread::current().name().filter(|name| *name != "main") {
        let spelled = bounds.spelled();
        assert!(name.ends_with(&spelled), "{name} is of {spelled}");
    }
    let checker = bounds
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{} states, {} steps, at most {} deep",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        let property = checker.model().property(name);
        if property.expectation.discovery_is_failure() {
            for (world, step) in path.into_vec() {
                println!("{world}\n  ----> {step:?}");
            }
        }
    }
    checker.assert_properties();
    // Another number is no failure by itself, but a rule, the model or its bounds have changed: is it meant?
    assert_eq!(checker.unique_state_count(), states);
}

/// Looks until a promise is broken, and answers by how few steps which is.
fn breaks(bounds: Bounds) -> (&'static str, usize) {
    let checker = bounds
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let failure = |name: &&'static str| {
        let property = checker.model().property(name);
        property.expectation.discovery_is_failure()
    };
    let (name, path) = checker
        .discoveries()
        .into_iter()
        .find(|(name, _)| failure(name))
        .expect("the model is blind");
    let steps = path.into_actions();
    println!("{name}: broken by {} steps, {steps:?}", steps.len());
    (name, steps.len())
}
