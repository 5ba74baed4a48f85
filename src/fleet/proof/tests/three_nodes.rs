//! Three nodes, one message on its way at a time.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, three_nodes};
use crate::fleet::proof::tests::holds;

#[test]
fn three_nodes_one_message_at_a_time() {
    holds(three_nodes(), 1_286_941);
}

/// I5 as an `eventually`, as for two nodes.
#[test]
fn three_nodes_four_calm_ticks() {
    let bounds = Bounds {
        budget: Budget { ticks: 4, ..CALM },
        pace: Some(2),
        ..three_nodes()
    };
    holds(bounds, 38_375);
}
