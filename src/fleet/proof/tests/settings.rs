//! Two nodes under other policies than an equal split that fails closed. Time is without bound in all of these.

use crate::fleet::proof::bounds::{Bounds, Budget, CALM, TICK, two_nodes};
use crate::fleet::proof::sight::{
    ABANDONED, FROZEN, FULL, LENT, ORPHANED, RETURNED, SAFE, TAKEN_OVER,
};
use crate::fleet::proof::tests::holds;
use crate::fleet::settings::{Allocation, Estimate, Outage, Settings};

fn max_min() -> Bounds {
    Bounds {
        settings: Settings {
            allocation: Allocation::MaxMin,
            ..two_nodes().settings
        },
        room: 1,
        reduced: true,
        ..two_nodes()
    }
}

fn three_slots() -> Bounds {
    let settings = Settings {
        estimate: Estimate::Fixed(3),
        ..max_min().settings
    };
    Bounds {
        limit: 3,
        moved: 3,
        settings,
        starving: true,
        ..max_min()
    }
}

fn with_outage(outage: Outage) -> Bounds {
    let settings = Settings {
        outage,
        ..two_nodes().settings
    };
    Bounds {
        settings,
        room: 1,
        reduced: true,
        ..two_nodes()
    }
}

#[test]
fn two_nodes_max_min_a_lost_message_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget { lost: 1, ..CALM },
        recovers: Some(10),
        ..max_min()
    };
    holds(bounds, 31_550);
}

#[test]
fn two_nodes_max_min_a_crash_and_restart_and_a_lost_message_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget {
            crashes: 1,
            lost: 1,
            ..CALM
        },
        recovers: Some(10),
        sights: &[FULL, ABANDONED, TAKEN_OVER, ORPHANED],
        ..max_min()
    };
    holds(bounds, 630_092);
}

/// The slot that cannot be divided goes round.
#[test]
fn two_nodes_max_min_that_tell_of_starvation_3_slots_1_message_any_ticks() {
    let bounds = Bounds {
        recovers: Some(8),
        ..three_slots()
    };
    holds(bounds, 46_555);
}

/// One is asked no more, and is again; or none is.
#[test]
fn two_nodes_max_min_that_lend_their_slots_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        starving: true,
        budget: Budget { turns: 2, ..CALM },
        recovers: Some(5),
        sights: &[FULL, LENT, RETURNED],
        ..max_min()
    };
    holds(bounds, 182_445);
}

#[test]
fn two_nodes_safe_slots_a_crash_and_restart_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget { crashes: 1, ..CALM },
        recovers: Some(10),
        sights: &[FULL, SAFE, ABANDONED, TAKEN_OVER, ORPHANED],
        ..with_outage(Outage::SafeShare {
            slots: 1,
            hold: TICK,
        })
    };
    holds(bounds, 98_249);
}

#[test]
fn two_nodes_safe_slots_a_lost_message_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget { lost: 1, ..CALM },
        recovers: Some(10),
        sights: &[FULL, SAFE],
        ..with_outage(Outage::SafeShare {
            slots: 1,
            hold: TICK,
        })
    };
    holds(bounds, 49_597);
}

#[test]
fn two_nodes_frozen_shares_a_crash_and_restart_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget { crashes: 1, ..CALM },
        recovers: Some(10),
        sights: &[FULL, FROZEN, ABANDONED, TAKEN_OVER, ORPHANED],
        ..with_outage(Outage::Frozen { hold: TICK })
    };
    holds(bounds, 161_049);
}

#[test]
fn two_nodes_frozen_shares_a_lost_message_2_slots_1_message_any_ticks() {
    let bounds = Bounds {
        budget: Budget { lost: 1, ..CALM },
        recovers: Some(10),
        sights: &[FULL, FROZEN],
        ..with_outage(Outage::Frozen { hold: TICK })
    };
    holds(bounds, 72_301);
}
