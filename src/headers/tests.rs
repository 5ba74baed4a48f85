//! What fields say, and how their values grow.

use super::*;
use crate::decision::PolicyName;
use crate::permit::Shed;
use crate::rule::{Gcra, Tat};
use crate::time::LocalTime;

fn policy(name: &str, quota: &str) -> Policy {
    Policy::new(PolicyName::new(name).unwrap(), quota.parse().unwrap())
}

/// The answer to `cost` right after `spent`.
fn decision(policy: Policy, spent: u32, cost: u32) -> Decision {
    let (rule, now) = (Gcra::new(policy), LocalTime::from_nanos(1_000_000_000));
    let (_, state) = rule.decide(Tat::IDLE, spent, now);
    rule.decide(state, cost, now).0
}

#[test]
fn policies_are_listed_with_quota_and_window() {
    let policies = [
        policy("burst", "100/min burst 10"),
        policy("daily", "1000/d"),
    ];
    assert_eq!(
        rate_limit_policy(&policies).as_str(),
        r#""burst";q=100;w=60, "daily";q=1000;w=86400"#
    );
}

#[test]
fn a_window_of_a_part_of_a_second_is_told_in_whole_ones_and_never_as_more() {
    for (quota, value) in [
        ("5/500ms", r#""p";q=10;w=1"#),
        ("5/1500ms", r#""p";q=6;w=2"#),
        ("4294967295/1ms", r#""p";q=4294967295000;w=1"#),
        ("0/s", r#""p";q=0;w=1"#),
    ] {
        assert_eq!(rate_limit_policy(&[policy("p", quota)]).as_str(), value);
    }
}

#[test]
fn what_remains_is_told_with_the_time_it_has_to_last() {
    let minute = policy("minute", "60/min");
    assert_eq!(
        rate_limit(&[decision(minute, 0, 1), decision(minute, 29, 1)]).as_str(),
        r#""minute";r=59;t=1, "minute";r=30;t=30"#
    );
    let denied = decision(minute, 55, 10);
    assert_eq!(rate_limit(&[denied]).as_str(), r#""minute";r=5;t=5"#);
    let writer = RateLimitWriter::of(&minute);
    assert_eq!(writer.write(&[denied]).as_str(), r#""minute";r=5;t=5"#);
    let both = [denied, decision(policy("hour", "7/h fixed"), 0, 0)];
    assert_eq!(
        writer.write(&both).as_str(),
        r#""minute";r=5;t=5, "hour";r=7;t=0"#
    );
    assert_eq!(retry_after(&denied), Some(5));
}

#[test]
fn retry_after_is_rounded_up_and_at_least_one_second() {
    let denied = decision(policy("p", "1000/s"), 1000, 1);
    assert_eq!(denied.retry_after(), Some(Duration::from_millis(1)));
    assert_eq!(retry_after(&denied), Some(1));
    assert_eq!(seconds_up(Duration::from_nanos(1_000_000_001)), 2);
    assert_eq!(seconds_up(Duration::from_secs(3)), 3);
    assert_eq!(seconds_up(Duration::MAX), u64::MAX);
    let hopeless = [
        decision(policy("p", "0/s"), 0, 1),
        decision(policy("p", "5/s"), 0, 6),
    ];
    assert!(
        hopeless
            .iter()
            .all(|decision| retry_after(decision).is_none())
    );
}

#[test]
fn jitter_spreads_refused_clients_between_once_and_twice_the_base() {
    assert_eq!(retry_after_overload(Duration::ZERO, 0), 1);
    assert_eq!(retry_after_overload(Duration::from_secs(5), 0), 5);
    assert_eq!(
        retry_after_overload(Duration::from_millis(4_001), u64::MAX),
        10
    );
    let mut seen = [false; 6];
    for step in 0..60 {
        let wait = retry_after_overload(Duration::from_secs(5), u64::MAX / 60 * step);
        seen[(wait - 5) as usize] = true;
    }
    assert_eq!(seen, [true; 6], "every second is drawn");
    assert_eq!(retry_after_overload(Duration::MAX, u64::MAX), u64::MAX);
}

#[test]
fn the_binding_decision_is_the_one_the_client_feels() {
    let allowed = decision(policy("loose", "100/s"), 0, 1);
    let tighter = decision(policy("tight", "10/s"), 0, 1);
    let short = decision(policy("second", "1/s"), 1, 1);
    let long = decision(policy("hour", "1/h"), 1, 1);
    let closed = decision(policy("closed", "0/h"), 0, 1);
    for (decisions, expected) in [
        (vec![allowed, tighter], tighter),
        (vec![allowed, short, tighter], short),
        (vec![short, long], long),
        (vec![short, closed, long], closed),
    ] {
        assert_eq!(binding(&decisions), Some(&expected));
    }
    assert_eq!(binding(&[]), None);
    assert_eq!(
        Legacy::of(&long),
        Legacy {
            limit: 1,
            remaining: 0,
            reset: 3600
        }
    );
}

#[test]
fn older_fields_show_the_limit_with_the_least_left() {
    let ours = Legacy {
        limit: 9,
        remaining: 5,
        reset: 1,
    };
    for (told, binds) in [
        (None, true),
        (Some("4"), false),
        (Some("5"), false),
        (Some("6"), true),
        (Some("60"), true),
        (Some("many"), true),
    ] {
        let told = told.map(str::as_bytes);
        assert_eq!(ours.binds(told, || false), binds, "{told:?}");
    }
}

#[test]
fn older_fields_of_a_denial_from_inside_are_kept() {
    let ours = Legacy {
        limit: 9,
        remaining: 0,
        reset: 1,
    };
    for told in ["0", "5", "60"] {
        assert!(!ours.binds(Some(told.as_bytes()), || true), "{told}");
    }
    assert!(ours.binds(None, || true), "it tells nothing");
    assert!(ours.binds(Some(b"many"), || true));
}

#[test]
fn a_limits_denial_is_known_by_its_mark_or_without_one_by_its_status() {
    let quota = Denial::quota(Duration::from_secs(1));
    let (ok, many, busy) = (
        Answer::Status(200),
        Answer::Status(429),
        Answer::Status(503),
    );
    for (mark, answer, denied) in [
        (Some(quota), many, true),
        (Some(quota), Answer::Grpc(8), true),
        (Some(quota), Answer::Status(418), true),
        (Some(Denial::too_large()), many, true),
        // Who got no slot was let in by the limits around the guard, and of a store that failed nothing is told.
        (Some(Denial::overload(Shed::Full)), busy, false),
        (Some(Denial::store()), busy, false),
        (None, many, true),
        (None, Answer::Grpc(8), true),
        (None, busy, false),
        (None, Answer::Grpc(14), false),
        (None, ok, false),
        (None, Answer::Error, false),
    ] {
        assert_eq!(
            is_limits_denial(mark.as_ref(), answer),
            denied,
            "{mark:?} {answer:?}"
        );
    }
}

#[test]
fn many_policies_outgrow_the_inline_room_without_losing_a_byte() {
    let long = policy(&"n".repeat(64), "4294967295/10s");
    for count in 1..8 {
        let value = rate_limit_policy(&vec![long; count]);
        let one = format!("\"{}\";q=4294967295;w=10", "n".repeat(64));
        assert_eq!(value.as_str(), vec![one; count].join(", "));
        assert_eq!(value.as_bytes(), value.to_string().as_bytes());
    }
    assert_eq!(number(0).as_str(), "0");
    assert_eq!(number(u64::MAX).as_str(), "18446744073709551615");
}
