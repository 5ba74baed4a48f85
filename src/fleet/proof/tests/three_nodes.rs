//! Three nodes, one message on its way at a time; with faults, as long as the name says.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, three_alike, three_nodes};
use crate::fleet::proof::sight::{
    ABANDONED, DRAINING, FULL, LEARNING, ORPHANED, OVERTAKEN, TAKEN_OVER,
};
use crate::fleet::proof::tests::holds;
use crate::fleet::settings::{Estimate, Settings};

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

#[test]
fn three_nodes_a_lost_message_one_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            lost: 1,
            ..CALM
        },
        sights: &[FULL],
        ..three_alike()
    };
    holds(bounds, 23_954);
}

#[test]
fn three_nodes_a_crash_and_restart_one_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            crashes: 1,
            ..CALM
        },
        sights: &[FULL, ABANDONED, TAKEN_OVER, ORPHANED],
        ..three_alike()
    };
    holds(bounds, 41_405);
}

#[test]
fn three_nodes_a_leave_with_work_running_one_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            leaves: 1,
            ..CALM
        },
        sights: &[FULL, TAKEN_OVER],
        ..three_alike()
    };
    holds(bounds, 41_197);
}

#[test]
fn three_nodes_a_message_late_for_ever_one_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            delays: 1,
            ..CALM
        },
        sights: &[FULL, OVERTAKEN],
        ..three_alike()
    };
    // By some it moves with the hash that chooses who stands for all, so with every field of the state.
    holds(bounds, 119_992);
}

/// Time passes until the store has learnt what is in use, and no further.
#[test]
fn three_nodes_a_flushed_store_three_ticks() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget {
            ticks: 3,
            flushes: 1,
            ..CALM
        },
        sights: &[FULL, LEARNING],
        ..three_alike()
    };
    holds(bounds, 7_120);
}

/// From a slot for everybody to fewer slots than nodes.
#[test]
fn three_nodes_a_falling_limit_one_tick() {
    let bounds = Bounds {
        moved: 2,
        settings: Settings {
            estimate: Estimate::Min,
            initial_limit: 3,
            ..three_alike().settings
        },
        budget: Budget {
            ticks: 1,
            moves: 1,
            ..CALM
        },
        sights: &[FULL, DRAINING],
        ..three_alike()
    };
    holds(bounds, 12_252);
}
