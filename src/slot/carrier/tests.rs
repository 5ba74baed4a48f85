//! What a carried slot tells, and that it comes back once, however the answer ends.

use super::*;
use crate::adaptive::{Fixed, LocalGuard};
use crate::time::{Clock, ManualClock};
use crate::{ConcurrencyGuard, Criticality};
use std::time::Duration;

fn carried() -> (LocalGuard, ManualClock, Carrier) {
    let (clock, lever) = Clock::manual();
    let guard = LocalGuard::with_clock(Fixed::new(1), clock);
    let carrier = Carrier::new(guard.try_acquire(Criticality::Default).unwrap());
    (guard, lever, carrier)
}

fn head(status: u16, content_type: &'static str) -> Head<'static> {
    Head {
        status,
        content_type: Some(content_type.as_bytes()),
        ..Head::default()
    }
}

const MS: Duration = Duration::from_millis(1);

/// (successes, failures, overloads, ignored), sum of the samples, time kept otherwise; both in ms.
fn told(guard: &LocalGuard) -> ([u64; 4], u64, u64) {
    let reader = guard.try_acquire(Criticality::Default).unwrap();
    let totals = reader.gate().totals();
    let counts = [
        totals.successes,
        totals.failures,
        totals.overloads,
        totals.ignored,
    ];
    let samples = totals.success_us + totals.overload_us;
    (
        counts,
        samples / 1000,
        (totals.other_us + totals.lingered_us) / 1000,
    )
}

/// Slots that stay in use now beyond their samples.
fn lingering(guard: &LocalGuard) -> u32 {
    guard.gate().lingering()
}

#[test]
fn the_sample_ends_at_the_head_and_the_slot_comes_back_with_the_body() {
    let (guard, clock, mut carrier) = carried();
    clock.advance(5 * MS);
    let answered = carrier.answered(
        &head(200, "text/html"),
        &Classifier::server(),
        Measure::Head,
    );
    assert_eq!((answered, guard.in_flight()), (Answered::Body, 1));
    clock.advance(20 * MS);
    carrier.ended();
    assert_eq!(guard.in_flight(), 0);
    drop(carrier);
    assert_eq!(told(&guard), ([1, 0, 0, 0], 5, 20));
}

#[test]
fn measured_to_the_end_the_sample_ends_with_the_body() {
    let (guard, clock, mut carrier) = carried();
    clock.advance(5 * MS);
    carrier.answered(&head(200, "text/html"), &Classifier::server(), Measure::End);
    clock.advance(20 * MS);
    carrier.ended();
    assert_eq!(told(&guard), ([1, 0, 0, 0], 25, 0));
}

#[test]
fn a_body_that_breaks_or_is_left_half_read_gives_no_sample_to_the_end() {
    for (breaks, counts) in [(true, [0, 1, 0, 0]), (false, [0, 0, 0, 1])] {
        let (guard, clock, mut carrier) = carried();
        carrier.answered(&head(200, "text/html"), &Classifier::server(), Measure::End);
        clock.advance(20 * MS);
        if breaks {
            carrier.broke();
        }
        drop(carrier);
        assert_eq!(told(&guard), (counts, 0, 20));
        assert_eq!(guard.in_flight(), 0);
    }
}

#[test]
fn an_event_stream_gives_no_sample() {
    let (guard, clock, mut carrier) = carried();
    carrier.answered(
        &head(200, "text/event-stream"),
        &Classifier::server(),
        Measure::Head,
    );
    clock.advance(1000 * MS);
    carrier.ended();
    assert_eq!(told(&guard), ([0, 0, 0, 1], 0, 1000));
}

#[test]
fn what_streams_on_is_known_to_while_it_does() {
    for (content_type, ignored, sample) in [
        ("text/event-stream", 1, 0),
        ("text/html", 0, 5),
        ("application/grpc", 0, 5),
    ] {
        let (guard, clock, mut carrier) = carried();
        clock.advance(5 * MS);
        let streams = head(200, content_type);
        carrier.answered(&streams, &Classifier::server(), Measure::Head);
        clock.advance(1000 * MS);
        assert_eq!(lingering(&guard), 1, "{content_type}");
        carrier.trailers(Some(b"0"));
        drop(carrier);
        assert_eq!(lingering(&guard), 0, "{content_type}");
        let (counts, samples, other) = told(&guard);
        assert_eq!((counts[3], samples), (ignored, sample), "{content_type}");
        assert_eq!(samples + other, 1005, "{content_type}");
    }
}

#[test]
fn a_stream_that_is_held_is_known_to_until_the_hold_goes() {
    let (guard, clock, mut carrier) = carried();
    let slot = carrier.slot(None);
    let hold = slot.hold().unwrap();
    let streams = head(200, "text/event-stream");
    carrier.answered(&streams, &Classifier::server(), Measure::Head);
    drop(slot.hold());
    clock.advance(5 * MS);
    drop(carrier);
    assert_eq!(lingering(&guard), 1);
    clock.advance(5 * MS);
    drop(hold);
    assert_eq!(lingering(&guard), 0);
    assert_eq!(told(&guard), ([0, 0, 0, 1], 0, 10));
}

#[test]
fn whoever_holds_an_event_stream_may_tell_what_it_was() {
    // Held before the head, and after.
    for early in [true, false] {
        let (guard, clock, mut carrier) = carried();
        let slot = carrier.slot(None);
        let mut hold = early.then(|| slot.hold().unwrap());
        let streams = head(200, "text/event-stream");
        carrier.answered(&streams, &Classifier::server(), Measure::Head);
        clock.advance(5 * MS);
        let mut hold = hold.take().unwrap_or_else(|| slot.hold().unwrap());
        assert_eq!(lingering(&guard), 1);
        hold.observe(Outcome::Success);
        assert_eq!(guard.gate().totals().retold_us, 5_000);
        assert_eq!(lingering(&guard), 1);
        clock.advance(100 * MS);
        drop((carrier, hold));
        assert_eq!(told(&guard), ([1, 0, 0, 0], 5, 100));
        assert_eq!(lingering(&guard), 0);
    }
}

#[test]
fn a_grpc_call_is_told_by_its_trailers_and_measured_to_its_head() {
    for (trailers, counts, samples, other) in [
        (Some(&b"0"[..]), [1, 0, 0, 0], 5, 20),
        (Some(&b"14"[..]), [0, 0, 1, 0], 5, 20),
        (Some(&b"13"[..]), [0, 1, 0, 0], 0, 25),
        (Some(&b"5"[..]), [0, 0, 0, 1], 0, 25),
        (None, [0, 1, 0, 0], 0, 25),
    ] {
        let (guard, clock, mut carrier) = carried();
        clock.advance(5 * MS);
        carrier.answered(
            &head(200, "application/grpc"),
            &Classifier::server(),
            Measure::Head,
        );
        clock.advance(20 * MS);
        if trailers.is_some() {
            carrier.trailers(trailers);
        }
        carrier.ended();
        assert_eq!(told(&guard), (counts, samples, other));
    }
}

#[test]
fn a_grpc_call_without_a_body_is_told_by_its_head() {
    let (guard, _, mut carrier) = carried();
    let unavailable = Head {
        grpc_status: Some(b"14"),
        length: Some(0),
        ..head(200, "application/grpc")
    };
    carrier.answered(&unavailable, &Classifier::server(), Measure::Head);
    assert_eq!(guard.in_flight(), 0);
    assert_eq!(told(&guard).0, [0, 0, 1, 0]);
}

#[test]
fn our_own_denial_says_nothing_about_the_backend() {
    let (guard, _, mut carrier) = carried();
    let denied = Head {
        denied: true,
        ..head(503, "application/problem+json")
    };
    carrier.answered(&denied, &Classifier::server(), Measure::Head);
    carrier.ended();
    assert_eq!(told(&guard).0, [0, 0, 0, 1]);
}

#[test]
fn an_upgrade_nobody_holds_gives_the_slot_back_at_the_head() {
    let tunnel = Head {
        status: 200,
        connect: true,
        ..Head::default()
    };
    for upgrade in [head(101, ""), tunnel] {
        let (guard, clock, mut carrier) = carried();
        clock.advance(MS);
        let answered = carrier.answered(&upgrade, &Classifier::server(), Measure::Head);
        assert_eq!((answered, guard.in_flight()), (Answered::UpgradeUnheld, 0));
        assert_eq!(told(&guard), ([0, 0, 0, 1], 0, 1));
    }
}

#[test]
fn a_socket_in_the_body_keeps_the_slot_to_its_end_and_gives_no_sample() {
    let (guard, clock, mut carrier) = carried();
    let upgrade = Head {
        socket: true,
        ..head(101, "")
    };
    let answered = carrier.answered(&upgrade, &Classifier::server(), Measure::Head);
    assert_eq!((answered, guard.in_flight()), (Answered::Body, 1));
    clock.advance(40 * MS);
    carrier.ended();
    assert_eq!(told(&guard), ([0, 0, 0, 1], 0, 40));
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn an_upgrade_that_is_held_keeps_its_slot_until_the_hold_goes() {
    let (guard, clock, mut carrier) = carried();
    let hold = carrier.slot(None).hold().unwrap();
    let answered = carrier.answered(&head(101, ""), &Classifier::server(), Measure::Head);
    drop(carrier);
    assert_eq!((answered, guard.in_flight()), (Answered::UpgradeHeld, 1));
    clock.advance(40 * MS);
    drop(hold);
    assert_eq!(guard.in_flight(), 0);
    assert_eq!(told(&guard), ([0, 0, 0, 1], 0, 40));
}

#[test]
fn a_hold_beyond_the_response_is_booked_as_time_kept() {
    let (guard, clock, mut carrier) = carried();
    let slot = carrier.slot(None);
    clock.advance(5 * MS);
    let short = Head {
        length: Some(2),
        ..head(200, "text/html")
    };
    carrier.answered(&short, &Classifier::server(), Measure::Head);
    let hold = slot.hold().unwrap();
    carrier.ended();
    clock.advance(7 * MS);
    drop(hold);
    assert_eq!(told(&guard), ([1, 0, 0, 0], 5, 7));
}

#[test]
fn errors_and_panics_are_failures_and_dropping_is_nothing() {
    type End = fn(Carrier);
    let ends: [(End, [u64; 4]); 4] = [
        (|mut it| it.failed(&Classifier::server()), [0, 1, 0, 0]),
        (|mut it| it.failed(&Classifier::upstream()), [0, 0, 1, 0]),
        (|mut it| it.panicked(), [0, 1, 0, 0]),
        (drop, [0, 0, 0, 1]),
    ];
    for (end, counts) in ends {
        let (guard, _, carrier) = carried();
        end(carrier);
        assert_eq!(told(&guard).0, counts);
        assert_eq!(guard.in_flight(), 0);
    }
}
