//! I5 of three nodes: whatever has gone wrong, calm brings every slot into use, from every state there is.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, three_that_recover};
use crate::fleet::proof::sight::{ABANDONED, FULL, LEARNING, ORPHANED, OVERTAKEN, TAKEN_OVER};
use crate::fleet::proof::tests::holds;

#[test]
fn three_nodes_recover_from_a_lost_message_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            lost: 1,
            ..CALM
        },
        ..three_that_recover()
    };
    holds(bounds, 136_468);
}

#[test]
fn three_nodes_recover_from_a_message_late_for_ever_3_slots_1_message_1_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            delays: 1,
            ..CALM
        },
        sights: &[FULL, OVERTAKEN],
        ..three_that_recover()
    };
    holds(bounds, 22_565);
}

#[test]
fn three_nodes_recover_from_a_crash_and_restart_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            crashes: 1,
            ..CALM
        },
        sights: &[FULL, ABANDONED, TAKEN_OVER, ORPHANED],
        ..three_that_recover()
    };
    holds(bounds, 251_267);
}

#[test]
fn three_nodes_recover_from_a_leave_with_work_running_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 2,
            leaves: 1,
            ..CALM
        },
        sights: &[FULL, TAKEN_OVER],
        ..three_that_recover()
    };
    holds(bounds, 297_592);
}

#[test]
fn three_nodes_recover_from_a_flushed_store_3_slots_1_message_5_ticks() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget {
            ticks: 5,
            flushes: 1,
            ..CALM
        },
        sights: &[FULL, LEARNING],
        ..three_that_recover()
    };
    holds(bounds, 32_439);
}

#[test]
fn three_nodes_with_clocks_a_fifth_apart_recover_3_slots_1_message_2_ticks() {
    let bounds = Bounds {
        rates: &[90, 100, 110],
        symmetric: false,
        budget: Budget { ticks: 2, ..CALM },
        ..three_that_recover()
    };
    holds(bounds, 86_575);
}
