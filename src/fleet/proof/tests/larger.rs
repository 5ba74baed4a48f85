//! Larger models, for a machine with time: `cargo test --release --lib proof::tests::larger -- --ignored --nocapture`.

use crate::fleet::proof::bounds::{
    ANY, Bounds, Budget, CALM, three_alike, three_that_recover, two_nodes,
};
use crate::fleet::proof::sight::{
    ABANDONED, FULL, LEARNING, LENT, OVERTAKEN, RETURNED, TAKEN_OVER,
};
use crate::fleet::proof::tests::holds;
use crate::fleet::settings::{Allocation, Settings};

#[test]
#[ignore = "minutes, and gigabytes"]
fn two_nodes_a_flushed_store_and_a_message_late_for_ever_2_slots_2_messages_1_late_any_ticks() {
    let bounds = Bounds {
        trusts: false,
        late: 1,
        budget: Budget { flushes: 1, ..CALM },
        sights: &[FULL, LEARNING],
        ..two_nodes()
    };
    holds(bounds, 9_707_194);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn two_nodes_a_crash_and_any_number_of_lost_messages_2_slots_1_message_any_ticks() {
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

#[test]
#[ignore = "minutes, and gigabytes"]
fn three_nodes_a_lost_message_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            lost: 1,
            ..CALM
        },
        sights: &[FULL],
        ..three_alike()
    };
    holds(bounds, 263_652);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn three_nodes_a_crash_and_restart_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            crashes: 1,
            ..CALM
        },
        sights: &[FULL, ABANDONED, TAKEN_OVER],
        ..three_alike()
    };
    holds(bounds, 536_847);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn three_nodes_a_leave_with_work_running_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            leaves: 1,
            ..CALM
        },
        sights: &[FULL, TAKEN_OVER],
        ..three_alike()
    };
    holds(bounds, 494_532);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn three_nodes_a_flushed_store_3_slots_1_message_4_ticks() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget {
            ticks: 4,
            flushes: 1,
            ..CALM
        },
        sights: &[FULL, LEARNING],
        ..three_alike()
    };
    holds(bounds, 196_631);
}

#[test]
#[ignore = "minutes, and gigabytes"]
fn three_nodes_max_min_that_lend_their_slots_3_slots_1_message_1_tick() {
    let bounds = Bounds {
        settings: Settings {
            allocation: Allocation::MaxMin,
            ..three_alike().settings
        },
        starving: true,
        budget: Budget {
            ticks: 1,
            turns: 2,
            ..CALM
        },
        sights: &[FULL, LENT, RETURNED],
        ..three_alike()
    };
    holds(bounds, 255_070);
}

/// With room for two messages, as the second one is on its way beside what the first has brought about.
#[test]
#[ignore = "half a minute on two cores"]
fn three_nodes_max_min_a_repeated_message_3_slots_2_messages_1_tick() {
    let bounds = Bounds {
        settings: Settings {
            allocation: Allocation::MaxMin,
            ..three_alike().settings
        },
        room: 2,
        budget: Budget {
            ticks: 1,
            repeated: 1,
            ..CALM
        },
        sights: &[FULL],
        ..three_alike()
    };
    holds(bounds, 1_588_100);
}

/// I5 from every state, for as long as the fleet lives.
#[test]
#[ignore = "half a minute on two cores"]
fn three_nodes_recover_with_nothing_wrong_3_slots_1_message_any_ticks() {
    holds(three_that_recover(), 804_199);
}

#[test]
#[ignore = "half a minute on two cores"]
fn three_nodes_recover_from_a_message_late_for_ever_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            delays: 1,
            ..CALM
        },
        sights: &[FULL, OVERTAKEN],
        ..three_that_recover()
    };
    holds(bounds, 745_908);
}
