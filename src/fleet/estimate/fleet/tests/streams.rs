//! Answers that stream on after their samples: slots are kept for much longer than latencies tell of.

use super::bed::{Fleet, is_near};
use crate::fleet::message::Report;

fn streaming(nodes: usize, body_us: f64) -> Fleet {
    let mut fleet = Fleet::new(nodes, 400.0);
    fleet.body_us = body_us;
    fleet
}

#[test]
fn a_backend_whose_slots_are_kept_long_after_the_samples_is_found() {
    for nodes in [1, 8, 32] {
        for body_us in [200_000.0, 2e6, 10e6] {
            let mut fleet = streaming(nodes, body_us);
            // With 10 s of body the baseline is verified by then, which takes three steps of 7 s.
            fleet.pass(150);
            let (lowest, highest) = fleet.pass(60);
            assert!(
                lowest >= 280 && highest <= 520,
                "{lowest} to {highest} of 400 with {nodes} nodes and bodies of {body_us} us"
            );
        }
    }
}

/// What is done first is what takes a short time; all that comes later looks like a queue beside it.
#[test]
fn a_first_baseline_that_was_too_low_is_looked_for_again_and_not_cut_for() {
    let mut fleet = streaming(8, 2e6);
    fleet.liars = 8;
    fleet.lie = |report| Report {
        latency_us: report.latency_us / 2,
        ..report
    };
    fleet.pass(3);
    assert!(fleet.memory.control.baseline_us < 30_000);
    fleet.liars = 0;
    fleet.pass(50);
    let (_, highest) = fleet.pass(10);
    assert!(is_near(highest, 400.0) && highest >= 390, "{highest}");
}

#[test]
fn it_comes_down_when_such_a_backend_halves() {
    let mut fleet = streaming(8, 2e6);
    fleet.pass(120);
    fleet.capacity /= 2.0;
    fleet.pass(60);
    let (lowest, highest) = fleet.pass(30);
    assert!(
        lowest >= 130 && highest <= 280,
        "{lowest} to {highest} of 200"
    );
}

/// They are in flight, and take nothing from the backend that the samples would tell of.
#[test]
fn beside_streams_of_events_the_others_find_the_backend() {
    for events in [0.1, 0.3, 0.45, 0.6, 0.8] {
        let mut fleet = Fleet::new(8, 400.0);
        fleet.events = events;
        fleet.pass(60);
        let (lowest, highest) = fleet.pass(30);
        let served = [lowest, highest].map(|limit| f64::from(limit) * (1.0 - events));
        assert!(
            served[0] >= 340.0 && served[1] <= 480.0,
            "{served:?} of 400 beside {events} of events"
        );
    }
}

#[test]
fn short_bodies_change_nothing() {
    let mut fleet = streaming(8, 20_000.0);
    fleet.pass(20);
    assert!(is_near(fleet.limit, 400.0), "{}", fleet.limit);
    assert_eq!(fleet.memory.control.hold_us, 0);
}

/// Most of the answers say that a client is wrong, which is no sample, and their slots come back with them.
#[test]
fn answers_without_samples_are_not_taken_for_streams() {
    let mut fleet = Fleet::new(8, 400.0);
    fleet.sampled = 0.3;
    fleet.pass(40);
    assert!(is_near(fleet.limit, 400.0), "{}", fleet.limit);
    assert_eq!(fleet.memory.control.hold_us, 0);
    fleet.service_us *= 2.0;
    let (lowest, _) = fleet.pass(10);
    assert!(lowest >= 290, "cut to {lowest}");
    fleet.pass(10);
    assert!(is_near(fleet.limit, 400.0), "{}", fleet.limit);
}

/// Nothing is measured of event streams alone: drops cut the limit, and only time brings it back.
#[test]
fn without_samples_and_with_no_more_drops_the_limit_comes_back_to_the_first_one_and_no_further() {
    let mut fleet = Fleet::new(8, 400.0);
    fleet.sampled = 0.0;
    fleet.hangs = true;
    fleet.pass(30);
    let cut = fleet.limit;
    assert!(cut <= 10, "{cut}");
    fleet.hangs = false;
    let (_, highest) = fleet.pass(30);
    assert_eq!(highest, cut, "the end of the drops may be chance");
    let (_, highest) = fleet.pass(600);
    assert_eq!((fleet.limit, highest), (20, 20), "from {cut}");
}

#[test]
fn what_is_cut_stays_cut_where_nobody_is_refused() {
    let mut fleet = Fleet::new(8, 400.0);
    fleet.sampled = 0.0;
    fleet.hangs = true;
    fleet.pass(30);
    let cut = fleet.limit;
    (fleet.hangs, fleet.load) = (false, 0.5);
    fleet.pass(10);
    assert_eq!(fleet.pass(600), (cut, cut));
}
