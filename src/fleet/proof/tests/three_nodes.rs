//! Three nodes, one message on its way at a time; with faults, as long as the name says.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, three_alike, three_nodes};
use crate::fleet::proof::sight::{
    ABANDONED, DRAINING, FULL, LEARNING, ORPHANED, OVERTAKEN, TAKEN_OVER,
};
use crate::fleet::proof::tests::holds;
use crate::fleet::settings::{Estimate, Settings};

#[test]
fn three_nodes_with_nothing_wrong_3_slots_1_message_any_ticks() {
    holds(three_nodes(), 1_286_941);
}

/// I5 as an `eventually`, as for two nodes.
#[test]
fn three_nodes_calm_3_slots_1_message_4_ticks() {
    let bounds = Bounds {
        budget: Budget { ticks: 4, ..CALM },
        pace: Some(2),
        ..three_nodes()
    };
    holds(bounds, 38_375);
}

#[test]
fn three_nodes_a_lost_message_3_slots_1_message_1_tick() {
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
fn three_nodes_a_crash_and_restart_3_slots_1_message_1_tick() {
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
fn three_nodes_a_leave_with_work_running_3_slots_1_message_1_tick() {
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
fn three_nodes_a_message_late_for_ever_3_slots_1_message_1_tick() {
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
    holds(bounds, 120_226);
}

/// Time passes until the store has learnt what is in use, and no further.
#[test]
fn three_nodes_a_flushed_store_3_slots_1_message_3_ticks() {
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
fn three_nodes_a_limit_that_falls_3_or_2_slots_1_message_1_tick() {
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

/// Clocks of different speed, and a fault while they drift: nobody stands for anybody else.
fn apart() -> Bounds {
    Bounds {
        rates: &[90, 100, 110],
        symmetric: false,
        ..three_alike()
    }
}

#[test]
fn three_nodes_with_clocks_a_fifth_apart_a_lost_message_3_slots_1_message_1_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            lost: 1,
            ..CALM
        },
        sights: &[FULL],
        ..apart()
    };
    holds(bounds, 136_239);
}

#[test]
fn three_nodes_with_clocks_a_fifth_apart_a_crash_and_restart_3_slots_1_message_1_tick() {
    let bounds = Bounds {
        budget: Budget {
            ticks: 1,
            crashes: 1,
            ..CALM
        },
        sights: &[FULL, ABANDONED, TAKEN_OVER, ORPHANED],
        ..apart()
    };
    holds(bounds, 255_928);
}

/// Time passes until the store has learnt what is in use, as after a flush.
#[test]
fn three_nodes_a_store_restored_to_an_older_state_3_slots_1_message_3_ticks() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget {
            ticks: 3,
            restores: 1,
            ..CALM
        },
        sights: &[FULL, LEARNING],
        ..three_alike()
    };
    holds(bounds, 19_532);
}
