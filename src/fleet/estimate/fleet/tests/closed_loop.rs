//! The estimator finds a capacity and follows it, whatever is reported to it. What chance does is for the simulator.

use super::bed::{Fleet, is_near};
use crate::fleet::estimate::fleet::Memory;
use crate::fleet::message::Report;
use std::time::Duration;

#[test]
fn i8_it_finds_a_capacity_it_does_not_know_whatever_the_number_of_nodes() {
    for nodes in [1, 2, 3, 8, 32, 128, 1000] {
        for capacity in [100.0_f64, 2000.0] {
            let mut fleet = Fleet::new(nodes, capacity.max(2.0 * nodes as f64));
            fleet.pass(20);
            assert!(
                is_near(fleet.limit, fleet.capacity),
                "{} of {} with {nodes} nodes",
                fleet.limit,
                fleet.capacity
            );
        }
    }
}

#[test]
fn from_a_slot_for_few_nodes_it_is_at_a_large_backend_within_seconds() {
    let mut fleet = Fleet::new(128, 2000.0);
    fleet.pass(1);
    assert!(fleet.limit >= 128, "{}", fleet.limit);
    let (_, highest) = fleet.pass(3);
    assert!(highest >= 1800, "{highest}");
    // No more than twice the last limit that showed no queue to speak of.
    assert!(highest <= 4700, "{highest}");
    fleet.pass(1);
    let (_, highest) = fleet.pass(30);
    assert!(is_near(highest, 2000.0), "{highest}");
}

#[test]
fn refusals_where_there_is_room_raise_it_to_what_chance_needs() {
    let mut fleet = Fleet::new(8, 100.0);
    fleet.wanted = 40.0;
    fleet.pass(30);
    // Chance refuses one here and there at half the load. The shares have to be so much larger, and no more.
    assert!((120..=170).contains(&fleet.limit), "{}", fleet.limit);
}

#[test]
fn a_limit_whose_story_is_lost_is_not_doubled() {
    let mut fleet = Fleet::new(8, 100.0);
    fleet.pass(30);
    let found = fleet.limit;
    fleet.memory = Memory::default();
    let (_, highest) = fleet.pass(10);
    assert!(highest <= found + found / 5, "{highest} after {found}");
    fleet.pass(10);
    assert!(is_near(fleet.limit, 100.0), "{}", fleet.limit);
}

#[test]
fn where_few_requests_take_most_of_the_time_nothing_is_decided_before_they_have_changed() {
    let renewals = |squares, liars, lie| {
        let mut fleet = Fleet::new(8, 100.0);
        (fleet.squares, fleet.liars, fleet.lie) = (squares, liars, lie);
        fleet.pass(20);
        fleet.memory.control
    };
    let honest: fn(Report) -> Report = |report| report;
    let alike = renewals(1.0, 0, honest);
    assert!((450..=550).contains(&alike.renewal_milli), "{alike:?}");
    assert_eq!(alike.patience(), Duration::from_secs(1));
    // One of fifty takes a hundred times as long: those in flight take eleven times the mean.
    let few = renewals(22.0, 0, honest);
    assert!((10_500..=11_500).contains(&few.renewal_milli), "{few:?}");
    let renewal = few.latencies(1).as_micros() as f64;
    assert!((renewal / few.baseline() - 11.0).abs() < 0.6, "{few:?}");
    assert_eq!(few.patience(), few.latencies(4));
    // One liar does not make the others wait.
    let lied = renewals(1.0, 1, |report| Report {
        latency_us2: report.latency_us2.wrapping_mul(1000),
        ..report
    });
    assert!((450..=550).contains(&lied.renewal_milli), "{lied:?}");
}

#[test]
fn a_latency_that_rises_during_a_dip_says_nothing_about_the_queue() {
    let mut fleet = Fleet::new(8, 100.0);
    fleet.pass(30);
    let before = fleet.limit;
    // The next dip.
    while fleet.limit >= before - before / 20 {
        fleet.step();
    }
    fleet.capacity /= 2.0;
    fleet.pass(5);
    let (_, highest) = fleet.pass(1);
    assert!(is_near(highest, 50.0), "{highest} of 50");
}

#[test]
fn i8_it_comes_down_to_a_backend_smaller_than_where_it_began() {
    let mut fleet = Fleet::new(4, 8.0);
    fleet.pass(20);
    assert!(is_near(fleet.limit, 8.0), "{}", fleet.limit);
}

#[test]
fn i8_it_follows_a_capacity_that_halves_and_returns() {
    for nodes in [1, 8, 128] {
        let mut fleet = Fleet::new(nodes, 400.0);
        fleet.pass(30);
        fleet.capacity = 200.0;
        fleet.pass(4);
        // But for a dip.
        let (_, highest) = fleet.pass(1);
        assert!(is_near(highest, 200.0), "{highest} of 200");
        fleet.pass(30);
        fleet.capacity = 400.0;
        fleet.pass(7);
        let (_, highest) = fleet.pass(1);
        assert!(is_near(highest, 400.0), "{highest} of 400");
    }
}

#[test]
fn a_latency_that_doubles_with_the_same_capacity_is_no_queue() {
    let mut fleet = Fleet::new(8, 100.0);
    fleet.pass(30);
    fleet.service_us *= 2.0;
    let (lowest, _) = fleet.pass(5);
    assert!(lowest >= 75, "cut to {lowest}");
    fleet.pass(10);
    assert!(is_near(fleet.limit, 100.0), "{}", fleet.limit);
}

#[test]
fn without_want_it_does_not_grow() {
    let mut fleet = Fleet::new(8, 100.0);
    fleet.pass(20);
    fleet.load = 0.5;
    // The window that has begun tells of want.
    fleet.pass(2);
    let before = fleet.limit;
    assert_eq!(fleet.pass(60), (before, before));
    // Nothing at all for an hour.
    fleet.load = 0.0;
    assert_eq!(fleet.pass(3_600), (before, before));
}

#[test]
fn one_liar_steers_nothing_and_nonsense_breaks_nothing() {
    let lies: [fn(Report) -> Report; 7] = [
        // An hour a report, in which all its slots were kept.
        |report| Report {
            clock_us: report.clock_us.saturating_mul(28_800),
            held_us: report.clock_us.saturating_mul(2_880_000),
            lingered_us: report.clock_us.saturating_mul(2_880_000),
            ..report
        },
        |report| Report {
            latency_us: report.latency_us.saturating_mul(10),
            ..report
        },
        |report| Report {
            latency_us: 0,
            ..report
        },
        |report| Report {
            completions: report.completions.saturating_mul(10_000),
            latency_us: report.latency_us.saturating_mul(10),
            held_us: report.held_us.saturating_mul(10),
            ..report
        },
        |_| Report::default(),
        |_| Report {
            clock_us: u64::MAX,
            completions: u64::MAX,
            latency_us: u64::MAX,
            held_us: u64::MAX,
            drops: u64::MAX,
            sheds: u64::MAX,
            ..Report::default()
        },
        // Up and down again.
        |report| {
            if report.clock_us % 250_000 == 0 {
                Report {
                    clock_us: report.clock_us,
                    completions: u64::MAX - report.completions,
                    held_us: u64::MAX,
                    latency_us: u64::MAX,
                    ..Report::default()
                }
            } else {
                Report {
                    clock_us: report.clock_us,
                    ..Report::default()
                }
            }
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut fleet = Fleet::new(16, 200.0);
        (fleet.lie, fleet.liars) = (lie, 1);
        fleet.pass(30);
        let (limit, capacity) = (f64::from(fleet.limit), fleet.capacity);
        assert!(
            limit > 0.8 * capacity && limit < 1.3 * capacity,
            "lie {number}: {limit}"
        );
    }
}

#[test]
fn a_backend_that_says_no_is_heard_and_one_that_always_does_a_little_is_put_up_with() {
    // A twentieth of all answers are time-outs, whatever is in flight.
    let drops: fn(Report) -> Report = |report| Report {
        drops: report.completions / 20,
        ..report
    };
    let mut fleet = Fleet::new(8, 100.0);
    (fleet.lie, fleet.liars) = (drops, 8);
    fleet.pass(40);
    assert!(is_near(fleet.limit, 100.0), "{}", fleet.limit);
    // Now a third.
    let many: fn(Report) -> Report = |report| Report {
        drops: report.completions / 2,
        ..report
    };
    fleet.lie = many;
    let (lowest, _) = fleet.pass(1);
    assert!(lowest < 95, "{lowest}");
}

/// A backend that hangs is not a backend that puts up with everything: in one that comes back to an ever larger limit, what
/// clients have given up keeps it from the rest for ever.
#[test]
fn while_nothing_is_answered_the_limit_falls_and_comes_back_with_the_answers() {
    for seconds in [5, 60] {
        let mut fleet = Fleet::new(8, 100.0);
        fleet.pass(20);
        let before = fleet.limit;
        fleet.hangs = true;
        let (_, highest) = fleet.pass(seconds);
        assert!(highest <= before, "{highest} of {before}");
        assert!(fleet.limit <= before / 2, "{} of {before}", fleet.limit);
        fleet.hangs = false;
        fleet.pass(8);
        assert!(
            is_near(fleet.limit, 100.0),
            "{} after {seconds} s",
            fleet.limit
        );
    }
}

#[test]
fn it_finds_a_backend_that_takes_seconds() {
    for nodes in [1, 8] {
        for seconds in [1.0, 5.0] {
            let mut fleet = Fleet::new(nodes, 100.0);
            fleet.service_us = seconds * 1e6;
            fleet.pass(120 * seconds as u32);
            // Beside the dips.
            let (_, limit) = fleet.pass(10 * seconds as u32);
            assert!(
                is_near(limit, 100.0),
                "{limit} with {nodes} nodes at {seconds} s"
            );
        }
    }
}
