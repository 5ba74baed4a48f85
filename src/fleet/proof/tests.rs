//! The proofs: what each may meet is in its name, and how many states it has is pinned.

use crate::fleet::proof::bounds::{Bounds, two_nodes};
use stateright::{Checker, HasDiscoveries, Model};

/// Visits every state there is; all must keep the promises, and their number must be known.
fn holds(bounds: Bounds, states: usize) {
    let checker = bounds
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    for (property, path) in checker.discoveries() {
        if checker
            .model()
            .property(property)
            .expectation
            .discovery_is_failure()
        {
            for (world, step) in path.into_vec() {
                println!("{world}\n  ----> {step:?}");
            }
        }
    }
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn two_nodes_two_messages_in_any_order_within_a_tick() {
    holds(two_nodes(), 111_916);
}
