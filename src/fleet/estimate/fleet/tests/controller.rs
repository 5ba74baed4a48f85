//! The controller's steps, one at a time: a reading in, the next limit out.

use crate::fleet::estimate::fleet::memory::{Control, Point, Stage};
use crate::fleet::estimate::fleet::reading::Reading;
use crate::fleet::estimate::fleet::seen::Seen;
use crate::time::StoreTime;
use std::time::Duration;

/// What a window of half a second said of so many slots in flight at two nodes.
fn seen(in_flight: f64, samples: u64, drops: u64) -> Seen {
    let reading = Reading {
        samples,
        latency_us: 60_000,
        hold_us: 60_000,
        renewal_milli: 0,
        milli: (in_flight * 1000.0) as u64,
        hungry: 2,
        nodes: 2,
        sheds: 100,
        drops,
        age: Duration::from_millis(500),
    };
    Seen::of(&reading, 1.0, in_flight as u32)
}

#[test]
fn a_full_queue_that_refuses_most_is_left_before_its_refusals_are_put_up_with() {
    let mut control = Control::default();
    let before: Point = seen(31.7, 63, 193).point();
    // Twelve slots too many were four: hardly less is refused.
    let next = control.judge_drops(&seen(28.8, 74, 215), before, 40, 32);
    let next = next.expect("that was long enough");
    assert!(next < 32, "{next}");
    assert!(matches!(control.stage, Stage::Refused { limit: 40, .. }));
    // None too many, and nothing is.
    let kept = control.judge_drops(&seen(22.8, 221, 0), before, 40, next);
    assert_eq!(kept, Some(next));
    assert_eq!(control.tolerated_ppm, 0);
}

#[test]
fn drops_that_were_put_up_with_once_are_not_for_ever() {
    let mut control = Control {
        tolerated_ppm: 300_000,
        ..Control::default()
    };
    for _ in 0..50 {
        control.forget_drops(&seen(100.0, 1000, 10));
    }
    assert!(control.tolerated_ppm < 11_000, "{}", control.tolerated_ppm);
    assert!(control.refused(&seen(100.0, 700, 300), 100).is_some());
}

#[test]
fn what_is_not_in_use_is_given_up_only_where_nobody_is_short_of_it() {
    let cut = |refusals| {
        let mut control = Control {
            baseline_us: 40_000,
            weight: 5_000,
            verified: true,
            hot: 1,
            ..Control::default()
        };
        let mut seen = seen(500.0, 900, 0);
        seen.refusals = refusals;
        control.track(&seen, 1000, StoreTime::ZERO)
    };
    // Most of the load is on few nodes: the queue goes, in proportion.
    assert_eq!(cut(0.6), Some(800));
    // Nobody comes near the limit.
    assert_eq!(cut(0.3), Some(544));
}

/// Decides in a window that has had its time, of one kind of requests or of another.
fn decides(renewal_milli: u64) -> Option<u32> {
    let mut control = Control {
        baseline_us: 50_000,
        weight: 10_000,
        verified: true,
        hot: 1,
        renewal_milli,
        ..Control::default()
    };
    let reading = Reading {
        samples: 1_000,
        latency_us: 60_000,
        hold_us: 60_000,
        renewal_milli,
        milli: 100_000,
        hungry: 2,
        nodes: 2,
        sheds: 100,
        drops: 0,
        age: Duration::from_secs(60),
    };
    control.decide(&reading, 100, true, StoreTime::ZERO)
}

#[test]
fn a_queue_no_longer_than_its_error_is_not_cut() {
    // Seventeen of a hundred wait, as it looks. Alike, 1 000 requests tell that within three.
    let cut = decides(500).expect("it is over");
    assert!((80..100).contains(&cut), "{cut}");
    // Where one of fifty takes a hundred times as long they tell it within twenty.
    assert!(decides(17_000).is_some_and(|limit| limit >= 100));
}

#[test]
fn the_baseline_of_a_few_slots_is_looked_for_further_down() {
    let looks_at = |slots: f64, samples| {
        let mut control = Control {
            baseline_us: 30_000,
            weight: 10_000,
            ..Control::default()
        };
        let before = Point {
            milli: (slots * 1000.0) as u64,
            latency_us: 60_000,
            samples,
            drops_ppm: 0,
        };
        // As long with four fifths in flight: it is the backend.
        let next = control.judge(
            &seen(0.8 * slots, samples, 0),
            before,
            slots as u32,
            (0.8 * slots) as u32,
        );
        assert!(matches!(control.stage, Stage::Dip { .. }), "{control:?}");
        next.expect("it is clear")
    };
    assert_eq!(looks_at(100.0, 100_000), 80);
    assert_eq!(looks_at(20.0, 100_000), 14);
}

/// Before a cut of a hundred slots by a fifth.
fn uncut(latency_us: u64) -> Point {
    Point {
        milli: 100_000,
        latency_us,
        samples: 100_000,
        drops_ppm: 0,
    }
}

#[test]
fn a_queue_that_ended_within_a_step_is_not_all_that_is_left() {
    // Latencies of 60 ms over a baseline of 30 ms: half of what is in flight looks like a queue.
    let next = |latency_us| {
        let mut control = Control {
            baseline_us: 30_000,
            weight: 100_000,
            ..Control::default()
        };
        let next = control.judge(&seen(80.0, 100_000, 0), uncut(latency_us), 100, 80);
        (next.expect("it is clear"), control.stage)
    };
    // As much less of both: the backend worked on as before, and so it is half.
    let (limit, _) = next(75_000);
    assert!(limit < 50, "{limit}");
    // Less of the latency: there was less work, and what is left is cut by a fifth, as an experiment of its own.
    let (limit, stage) = next(71_000);
    assert_eq!(limit, 64);
    assert!(matches!(stage, Stage::Cut { limit: 80, .. }), "{stage:?}");
}

#[test]
fn a_search_that_may_have_found_the_baseline_goes_on_by_a_tenth() {
    let next = |slots: u32, samples, latency_us| {
        let mut control = Control {
            baseline_us: 66_000,
            weight: 1_000,
            ..Control::default()
        };
        let before = Point {
            milli: u64::from(slots) * 1000,
            samples,
            ..uncut(latency_us)
        };
        let present = slots * 4 / 5;
        let mut seen = seen(f64::from(present), samples, 0);
        seen.age = Duration::from_secs(5);
        let next = control.look(&seen, before, 1, slots, present, StoreTime::ZERO);
        (next.expect("it is over"), control.stage)
    };
    // Clearly still a queue: by a quarter, and held against this.
    let (limit, stage) = next(100, 100_000, 75_000);
    assert_eq!(limit, 60);
    let Stage::Dip { before, depth, .. } = stage else {
        panic!("{stage:?}");
    };
    assert_eq!((before.milli, depth), (80_000, 2));
    // As well the baseline: by a tenth, and held against what was before.
    let (limit, stage) = next(100, 400, 70_000);
    assert_eq!(limit, 72);
    let Stage::Dip { before, depth, .. } = stage else {
        panic!("{stage:?}");
    };
    assert_eq!((before.milli, depth), (100_000, 2));
    // Of a few slots, by a quarter all the same: a tenth is hardly one.
    let (limit, _) = next(20, 400, 71_500);
    assert_eq!(limit, 12);
}

#[test]
fn the_queue_is_longer_where_much_of_the_limit_lies_idle() {
    let aim = |unused| {
        let mut seen = seen(100.0, 1000, 0);
        seen.unused = unused;
        (seen.aim() * 100.0).round() / 100.0
    };
    // 0.56 square roots, up to 1.3 times.
    assert_eq!([aim(0.0), aim(0.2)], [5.6, 5.6]);
    assert_eq!([aim(0.3), aim(0.35), aim(0.9)], [6.72, 7.28, 7.28]);
}

#[test]
fn a_limit_grows_no_further_than_what_chance_can_use() {
    // One node knows what it has; many with a slot or two each need more of the limit, and 4.2 times what is in
    // flight is the most.
    let most = |in_flight, nodes| {
        let mut seen = seen(in_flight, 1000, 0);
        (seen.nodes, seen.hungry) = (nodes, 0.0);
        seen.most() as u32
    };
    assert_eq!(most(100.0, 1.0), 157);
    assert_eq!(most(50.0, 8.0), 176);
    assert_eq!(most(100.0, 128.0), 420);
}

/// A controller that knows its backend and has grown so many times in a row.
fn grown(growing: u64) -> Control {
    Control {
        baseline_us: 50_000,
        weight: 100_000,
        verified: true,
        growing,
        ..Control::default()
    }
}

/// What it makes of a limit of 100, of which so much is in use and a part of it waits; so many are refused for each that
/// is served.
fn after(control: &mut Control, in_flight: f64, waits: f64, sheds: u64) -> Option<u32> {
    let reading = Reading {
        samples: 10_000,
        latency_us: (50_000.0 / (1.0 - waits)) as u64,
        hold_us: (50_000.0 / (1.0 - waits)) as u64,
        renewal_milli: 0,
        milli: (in_flight * 1000.0) as u64,
        hungry: 32,
        nodes: 32,
        sheds: sheds * 10_000,
        drops: 0,
        age: Duration::from_secs(5),
    };
    control.decide(&reading, 100, true, StoreTime::ZERO)
}

#[test]
fn a_baseline_of_many_slots_is_known_by_more_samples() {
    let known = |slots| grown(0).remembered(&seen(slots, 1000, 0)).round();
    // An error of two fifths of the queue: of 5.6 slots among 100, of 25 among 2000.
    assert_eq!([known(10.0), known(100.0)], [2000.0, 2000.0]);
    assert_eq!(known(2000.0), 39_860.0);
}

#[test]
fn a_long_step_that_met_no_longer_queue_than_is_aimed_for_is_followed_by_half_of_one() {
    // A third of a root, doubled from one window to the next.
    assert_eq!(after(&mut grown(2), 100.0, 0.0, 1), Some(113));
    // Of 5.6 slots that may wait 5 do: of the 13 of the last step most are in use.
    let mut control = grown(3);
    assert_eq!(after(&mut control, 100.0, 0.05, 1), Some(106));
    assert_eq!(control.growing, 2);
    // Of a shorter one they may be all.
    let mut control = grown(2);
    assert_eq!(after(&mut control, 100.0, 0.05, 1), Some(100));
    assert_eq!(control.growing, 0);
}

#[test]
fn what_lies_idle_where_most_is_refused_is_elsewhere_than_the_work() {
    // A third of the limit in use, and nobody short of it: that says little of the backend.
    let mut control = grown(2);
    let next = after(&mut control, 33.0, 0.0, 0);
    assert_eq!((next, control.growing), (Some(103), 1));
    let mut control = grown(2);
    let next = after(&mut control, 33.0, 0.0, 9);
    assert_eq!((next, control.growing), (Some(113), 3));
}

#[test]
fn a_look_at_the_baseline_that_shows_nothing_new_stops_no_growth() {
    let look = |waits| {
        // As long as after it: whatever it is, it is no queue.
        let before = Point {
            milli: 100_000,
            latency_us: (50_000.0 / (1.0 - waits)) as u64,
            samples: 10_000,
            drops_ppm: 0,
        };
        let (resume, depth) = (110, 1);
        let mut control = Control {
            stage: Stage::Dip {
                before,
                depth,
                resume,
            },
            ..grown(1)
        };
        let next = after(&mut control, 90.0, waits, 1);
        assert_eq!((next, control.stage), (Some(110), Stage::Track));
        control.growing
    };
    assert_eq!(look(0.0), 1);
    assert_eq!(look(0.2), 0);
}

#[test]
fn a_latency_that_rises_in_a_dip_that_did_not_come_is_no_baseline() {
    let before = Point {
        milli: 100_000,
        latency_us: 50_000,
        samples: 10_000,
        drops_ppm: 0,
    };
    let (resume, depth) = (110, 1);
    let stage = Stage::Dip {
        before,
        depth,
        resume,
    };
    let mut control = Control { stage, ..grown(0) };
    // The capacity halves: work takes twice as long, and what was let in before is still there.
    assert_eq!(after(&mut control, 98.0, 0.5, 1), Some(110));
    assert_eq!((control.baseline_us, control.hot), (50_000, 1));
    assert_eq!(control.stage, Stage::Track);
}

#[test]
fn a_queue_that_is_gone_makes_the_first_step_a_second_one() {
    let first = |in_flight, waits| {
        let mut control = grown(0);
        let next = after(&mut control, in_flight, waits, 1);
        (next, control.growing)
    };
    assert_eq!(first(100.0, 0.0), (Some(106), 2));
    // Of 5.6 slots that may wait 3 do.
    assert_eq!(first(100.0, 0.03), (Some(103), 1));
    // There is none where much lies idle, whatever the backend can take.
    assert_eq!(first(70.0, 0.0), (Some(103), 1));
}

#[test]
fn a_step_that_is_at_work_is_followed_at_once_whatever_the_baseline_says() {
    let next = |milli, latency_us| {
        let mut control = Control {
            grown: Point {
                milli,
                latency_us,
                samples: 10_000,
                drops_ppm: 0,
            },
            ..grown(2)
        };
        // Five slots wait, or the baseline is by so much too short; of a second that it takes to be sure .3 s are over.
        let reading = Reading {
            samples: 10_000,
            latency_us: 52_600,
            hold_us: 52_600,
            renewal_milli: 0,
            milli: 100_000,
            hungry: 32,
            nodes: 32,
            sheds: 10_000,
            drops: 0,
            age: Duration::from_millis(300),
        };
        control.decide(&reading, 100, true, StoreTime::ZERO)
    };
    assert_eq!(next(90_000, 52_600), Some(113), "ten more, and as fast");
    assert_eq!(next(90_000, 47_340), None, "ten more, and all of them wait");
    assert_eq!(next(99_000, 52_600), None, "one more may be anything");
    assert_eq!(next(0, 0), None, "nothing is known of the last step");
}
