//! Two nodes. Time, beats and delays within a tick are without bound in all of these.

use crate::fleet::proof::bounds::{ANY, Bounds, Budget, CALM, longer, two_nodes};
use crate::fleet::proof::sight::{
    ABANDONED, DRAINING, FULL, LEARNING, ORPHANED, REFUSED, TAKEN_OVER,
};
use crate::fleet::proof::tests::holds;
use crate::fleet::settings::{Allocation, Estimate, Settings};

#[test]
fn two_nodes_messages_in_any_order_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        settings: longer(2),
        recovers: Some(5),
        ..two_nodes()
    };
    holds(bounds, 111_916);
}

#[test]
fn two_nodes_a_message_late_for_ever_2_slots_2_messages_1_late_any_ticks() {
    let bounds = Bounds {
        late: 1,
        recovers: Some(8),
        ..two_nodes()
    };
    holds(bounds, 1_057_149);
}

#[test]
fn two_nodes_any_number_of_lost_messages_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        budget: Budget { lost: ANY, ..CALM },
        recovers: Some(8),
        ..two_nodes()
    };
    holds(bounds, 1_455_884);
}

#[test]
fn two_nodes_a_lost_and_a_repeated_message_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        budget: Budget {
            lost: 1,
            repeated: 1,
            ..CALM
        },
        recovers: Some(8),
        ..two_nodes()
    };
    holds(bounds, 1_004_698);
}

#[test]
fn two_nodes_a_crash_and_restart_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        room: 1,
        budget: Budget { crashes: 1, ..CALM },
        recovers: Some(8),
        sights: &[FULL, ABANDONED, TAKEN_OVER, ORPHANED],
        ..two_nodes()
    };
    holds(bounds, 193_933);
}

#[test]
fn two_nodes_a_leave_with_work_running_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        budget: Budget { leaves: 1, ..CALM },
        recovers: Some(8),
        sights: &[FULL, TAKEN_OVER],
        ..two_nodes()
    };
    holds(bounds, 496_108);
}

#[test]
fn two_nodes_a_flushed_store_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        trusts: false,
        budget: Budget { flushes: 1, ..CALM },
        recovers: Some(8),
        sights: &[FULL, LEARNING],
        ..two_nodes()
    };
    holds(bounds, 363_279);
}

#[test]
fn two_nodes_a_flushed_store_and_a_crash_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        trusts: false,
        room: 1,
        budget: Budget {
            flushes: 1,
            crashes: 1,
            ..CALM
        },
        recovers: Some(10),
        sights: &[FULL, LEARNING, ABANDONED],
        ..two_nodes()
    };
    holds(bounds, 726_894);
}

#[test]
fn two_nodes_a_store_restored_to_an_older_state_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        trusts: false,
        room: 1,
        budget: Budget {
            restores: 1,
            ..CALM
        },
        recovers: Some(8),
        sights: &[FULL, LEARNING],
        ..two_nodes()
    };
    holds(bounds, 252_898);
}

#[test]
fn two_nodes_a_limit_that_falls_2_or_1_slot_2_messages_any_ticks() {
    let bounds = Bounds {
        moved: 1,
        settings: smallest(),
        budget: Budget { moves: 1, ..CALM },
        recovers: Some(8),
        sights: &[FULL, DRAINING],
        ..two_nodes()
    };
    holds(bounds, 454_658);
}

#[test]
fn two_nodes_a_limit_that_falls_and_rises_2_or_1_slot_1_message_any_ticks() {
    let bounds = Bounds {
        moved: 1,
        settings: smallest(),
        room: 1,
        budget: Budget { moves: 2, ..CALM },
        recovers: Some(8),
        sights: &[FULL, DRAINING],
        ..two_nodes()
    };
    holds(bounds, 132_119);
}

/// The limit is the smallest that a node reports.
fn smallest() -> Settings {
    Settings {
        estimate: Estimate::Min,
        initial_limit: 2,
        ..two_nodes().settings
    }
}

#[test]
fn two_processes_of_one_name_any_number_of_lost_messages_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        names: &["a", "a"],
        room: 1,
        budget: Budget { lost: ANY, ..CALM },
        recovers: Some(10),
        sights: &[FULL, REFUSED],
        ..two_nodes()
    };
    holds(bounds, 739_881);
}

#[test]
fn two_nodes_with_clocks_a_fifth_apart_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        rates: &[90, 110],
        recovers: Some(8),
        ..two_nodes()
    };
    holds(bounds, 220_055);
}

#[test]
fn two_nodes_a_slot_that_follows_the_requests_3_slots_1_message_any_ticks() {
    let bounds = Bounds {
        limit: 3,
        settings: Settings {
            estimate: Estimate::Fixed(3),
            allocation: Allocation::DemandProportional,
            ..two_nodes().settings
        },
        saturated: false,
        room: 1,
        ..two_nodes()
    };
    holds(bounds, 112_761);
}

#[test]
fn two_nodes_that_tell_of_starvation_and_are_pushed_to_2_slots_2_messages_any_ticks() {
    let bounds = Bounds {
        starving: true,
        pushes: true,
        recovers: Some(5),
        ..two_nodes()
    };
    holds(bounds, 427_595);
}

/// I5 as an `eventually`: whichever way the messages of three calm ticks go, two beats a tick and node, all slots
/// are in use before they are over. Every path ends there, and a state knows whether all slots have been in use, so
/// the checker's known blindness, cycles and joins, has nothing to hide.
#[test]
fn two_nodes_calm_2_slots_2_messages_3_ticks() {
    let bounds = Bounds {
        budget: Budget { ticks: 3, ..CALM },
        pace: Some(2),
        ..two_nodes()
    };
    holds(bounds, 24_531);
}
