//! The walks, each with what it is hostile to.

use crate::fleet::settings::{Allocation, Estimate, Handoff, Outage, Settings};
use crate::fleet::walk::{ALL, CALM, Faults, LIMIT, settings, walk};
use std::time::Duration;

/// Walks many seeds; every one must hold, and enough of them must come near the limit.
fn hold(settings: &Settings, nodes: usize, faults: Faults, walks: u64) {
    let mut full = 0;
    let enough = match settings.estimate {
        Estimate::Fixed(limit) => limit - limit / 4,
        _ => LIMIT / 2,
    };
    for seed in 0..walks {
        let most = walk(seed, steps(), settings, nodes, faults)
            .unwrap_or_else(|broken| panic!("{broken}"));
        full += u64::from(most >= enough);
    }
    assert!(
        full * 20 > walks,
        "only {full} of {walks} walks ever came near the limit: they prove nothing"
    );
}

/// How long a walk is: longer with `TIDEGATE_STEPS`.
fn steps() -> usize {
    std::env::var("TIDEGATE_STEPS")
        .ok()
        .and_then(|steps| steps.parse().ok())
        .unwrap_or(2500)
}

/// How many seeds: more with `TIDEGATE_WALKS`.
pub(super) fn walks() -> u64 {
    std::env::var("TIDEGATE_WALKS")
        .ok()
        .and_then(|walks| walks.parse().ok())
        .unwrap_or(100)
}

#[test]
fn i1_i2_hold_on_a_calm_network() {
    hold(&settings(), 3, CALM, walks());
}

#[test]
fn i1_i2_i11_hold_over_loss_repetition_and_reordering() {
    hold(
        &settings(),
        3,
        Faults {
            network: true,
            ..CALM
        },
        walks(),
    );
}

#[test]
fn i1_i2_i10_hold_over_crashes_restarts_and_leaves() {
    hold(
        &settings(),
        3,
        Faults {
            nodes: true,
            network: true,
            ..CALM
        },
        walks(),
    );
}

#[test]
fn i1_i2_i9_hold_over_flushed_and_restored_stores() {
    hold(&settings(), 3, ALL, walks());
}

#[test]
fn i1_i2_hold_under_every_allocation() {
    for allocation in [Allocation::EqualSplit, Allocation::DemandProportional] {
        hold(
            &Settings {
                allocation,
                ..settings()
            },
            3,
            ALL,
            walks(),
        );
    }
}

#[test]
fn i1_i2_hold_under_the_outage_policies_that_promise_it() {
    let hold_for = Duration::from_millis(300);
    for outage in [
        Outage::Frozen { hold: hold_for },
        Outage::SafeShare {
            slots: 1,
            hold: hold_for,
        },
    ] {
        hold(
            &Settings {
                outage,
                ..settings()
            },
            3,
            ALL,
            walks(),
        );
    }
}

/// The walks can see what they are there to see: without the acknowledgement I2 breaks.
#[test]
fn without_the_acknowledgement_the_walks_see_i2_broken() {
    let careless = Settings {
        handoff: Handoff::Committed,
        ..settings()
    };
    let broken = (0..walks()).any(|seed| {
        walk(
            seed,
            2500,
            &careless,
            3,
            Faults {
                network: true,
                ..CALM
            },
        )
        .is_err_and(|broken| broken.contains("I2"))
    });
    assert!(broken, "the walks are too tame");
}

#[test]
fn i1_i2_i3_hold_while_the_limit_moves() {
    let hold_for = Duration::from_millis(300);
    for (estimate, outage) in [
        (Estimate::Fleet, Outage::FailClosed),
        (Estimate::Median, Outage::FailClosed),
        (
            Estimate::Min,
            Outage::SafeShare {
                slots: 2,
                hold: hold_for,
            },
        ),
    ] {
        let moving = Settings {
            estimate,
            outage,
            max_limit: 2 * LIMIT,
            ..settings()
        };
        hold(&moving, 4, ALL, walks());
    }
}

#[test]
fn i1_i2_i3_hold_over_higher_revisions() {
    let faults = Faults {
        revisions: true,
        ..ALL
    };
    hold(&settings(), 4, faults, walks());
}
