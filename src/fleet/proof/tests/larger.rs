//! Larger models, for a machine with time: `cargo test --release --lib proof::tests::larger -- --ignored --nocapture`.

use crate::fleet::proof::bounds::{
    ABANDONED, ANY, Bounds, Budget, CALM, FULL, LEARNING, two_nodes,
};
use crate::fleet::proof::tests::holds;

#[test]
#[ignore = "minutes, and gigabytes"]
fn two_nodes_a_flushed_store_and_a_message_late_for_ever() {
    let bounds = Bounds {
        trusts: false,
        late: 1,
        budget: Budget { flushes: 1, ..CALM },
        sights: &[FULL, LEARNING],
        ..two_nodes()
    };
    holds(bounds, 11_686_779);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn two_nodes_a_crash_and_any_number_of_lost_messages() {
    let bounds = Bounds {
        room: 1,
        budget: Budget {
            crashes: 1,
            lost: ANY,
            ..CALM
        },
        sights: &[FULL, ABANDONED],
        ..two_nodes()
    };
    holds(bounds, 6_890_428);
}
