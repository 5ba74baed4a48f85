//! Proves what the rate limiter promises when its table is smaller than the crowd: the bound holds, nobody gets more
//! than the quota, and a key that is being denied stays denied.

use proptest::prelude::*;
use std::collections::HashMap;
use std::thread;
use std::time::Duration;
use tidegate::decision::Policy;
use tidegate::rule::{Moment, RuleSet};
use tidegate::time::{Clock, LocalTime, ManualClock};
use tidegate::{Key, Quota, RateLimiter, Verdict};

fn limiter(quota: Quota, max_keys: usize) -> (RateLimiter, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.set(LocalTime::from_nanos(1_000_000_000));
    let limiter = RateLimiter::builder(quota).max_keys(max_keys).clock(clock);
    (limiter.build().unwrap(), lever)
}

/// A limiter under one or two quotas, in their text form.
fn limiter_of(first: &str, second: Option<&str>, max_keys: usize) -> (RateLimiter, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.set(LocalTime::from_nanos(1_000_000_000));
    let mut builder = RateLimiter::builder(first.parse().unwrap()).max_keys(max_keys);
    if let Some(second) = second {
        builder = builder.also("second", second.parse().unwrap());
    }
    (builder.clock(clock).build().unwrap(), lever)
}

#[test]
fn a_flood_of_random_identifiers_frees_no_key_that_is_being_denied() {
    let (limiter, _lever) = limiter(Quota::per_hour(1), 5_000);
    let denied: Vec<Key> = (0..100).map(|n| Key::of(&("known", n as u32))).collect();
    for key in &denied {
        assert!(limiter.check(key, 1).is_allowed());
    }
    let passed = (0..50_000u32)
        .filter(|number| {
            limiter
                .check(&Key::of(&("random", *number)), 1)
                .is_allowed()
        })
        .count();
    for key in &denied {
        assert_eq!(limiter.check(key, 1).outcome(), Verdict::Deny);
    }
    let stats = limiter.stats();
    assert_eq!(
        (stats.keys, stats.max_keys, stats.evicted),
        (5_000, 5_000, 0)
    );
    // Each cell let one pass, and so did the overflow cell of each of the 7 shards.
    assert_eq!(passed, 5_000 - 100 + 7);
    assert_eq!(stats.overflowed, 50_000 - 4_900);
}

#[test]
fn a_flood_frees_no_denied_key_under_any_rules() {
    for (first, second) in [
        ("1/h fixed", None),
        ("1/h sliding", None),
        ("1/h log", None),
        ("1/h soft 1", None),
        ("1/month", None),
        ("1/h sliding", Some("5/d fixed")),
        ("9/s", Some("1/h")),
    ] {
        let (limiter, _lever) = limiter_of(first, second, 2_000);
        let denied: Vec<Key> = (0..50).map(|n| Key::of(&("known", n as u32))).collect();
        for key in &denied {
            assert!(limiter.check(key, 1).is_allowed());
        }
        let random = |number: &u32| {
            let key = Key::of(&("random", *number));
            limiter.check(&key, 1).is_allowed()
        };
        let passed = (0..20_000u32).filter(random).count();
        for key in &denied {
            assert_eq!(limiter.check(key, 1).outcome(), Verdict::Deny);
        }
        let stats = limiter.stats();
        assert_eq!((stats.keys, stats.evicted), (2_000, 0), "{first}");
        // Each cell let one pass, and so did the overflow cell of each of the 3 shards.
        assert_eq!(passed, 2_000 - 50 + 3, "{first}");
    }
}

#[test]
fn threads_pass_exactly_what_all_policies_allow_together() {
    let quota = "5000/h fixed".parse().unwrap();
    let builder = RateLimiter::builder(quota)
        .also("sliding", Quota::per_hour(6_000).sliding())
        .also("bucket", Quota::per_day(7_000));
    let limiter = builder.clock(Clock::manual().0).build().unwrap();
    for key in [Key::of("hot"), Key::EVERYONE] {
        let passed: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let pass = |_: &u32| limiter.check(&key, 1).is_allowed();
                        (0..2_500).filter(pass).count() as u32
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.sum()
        });
        assert_eq!(passed, 5_000);
        let stand = limiter.check_each(&key, 1);
        let left: Vec<u32> = stand.each().iter().map(|it| it.remaining()).collect();
        assert_eq!(left, [0, 1_000, 2_000], "a denial consumes nothing");
    }
}

#[test]
fn a_full_table_serves_new_keys_and_never_more_than_the_quota() {
    let (limiter, _lever) = limiter(Quota::per_hour(10), 200);
    let mut passed = HashMap::new();
    for round in 0..10_000u32 {
        for account in 0..3u32 {
            let key = Key::of(&("attacker", account));
            *passed.entry(account).or_insert(0) += u32::from(limiter.check(&key, 1).is_allowed());
        }
        let _ = limiter.check(&Key::of(&("random", round)), 1);
        assert!(limiter.stats().keys <= 200);
    }
    assert!(limiter.stats().evicted > 0, "the table ran full");
    assert!(passed.values().all(|&passed| passed <= 10), "{passed:?}");
}

#[test]
fn keys_that_have_everything_back_make_room_for_new_ones() {
    let (limiter, lever) = limiter(Quota::per_second(100), 1_000);
    for wave in 0..1_000u32 {
        for number in 0..50u32 {
            assert!(limiter.check(&Key::of(&(wave, number)), 1).is_allowed());
        }
        lever.advance(Duration::from_millis(10));
    }
    let stats = limiter.stats();
    assert_eq!((stats.evicted, stats.overflowed), (0, 0));
    assert!(stats.keys < 200, "{stats:?}");
}

#[test]
fn after_a_flood_new_keys_are_served_again() {
    let (limiter, lever) = limiter(Quota::per_minute(1), 10);
    for number in 0..1_000u32 {
        let _ = limiter.check(&Key::of(&number), 1);
    }
    let late = limiter.check(&Key::of("late"), 1);
    assert_eq!(late.outcome(), Verdict::Deny);
    lever.advance(late.retry_after().unwrap());
    assert!(limiter.check(&Key::of("late"), 1).is_allowed());
}

#[test]
fn a_key_takes_at_most_82_bytes_whatever_its_identifier() {
    let (limiter, _lever) = limiter(Quota::per_day(10), 400_000);
    for number in 1..=300_000u32 {
        let identifier = format!("tenant-{number:017}");
        assert!(limiter.check(&Key::of(&identifier), 1).is_allowed());
        if number % 50_000 == 0 {
            let stats = limiter.stats();
            assert_eq!(stats.keys as u32, number);
            let each = stats.bytes as f64 / stats.keys as f64;
            println!("{number} keys: {each:.1} bytes a key");
            assert!(each <= 82.0, "{stats:?}");
        }
    }
}

#[test]
fn threads_on_one_key_pass_exactly_the_burst() {
    let (limiter, _lever) = limiter(Quota::per_hour(10_000), 100);
    for key in [Key::of("hot"), Key::EVERYONE] {
        let passed: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let pass = |_: &u32| limiter.check(&key, 1).is_allowed();
                        (0..5_000).filter(pass).count() as u32
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(passed, 10_000);
    }
}

#[test]
fn threads_on_many_keys_pass_exactly_the_burst_of_each() {
    let (limiter, _lever) = limiter(Quota::per_hour(3), 20_000);
    let passed: u32 = thread::scope(|scope| {
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let limiter = limiter.clone();
                scope.spawn(move || {
                    let pass = |number: &u32| {
                        let key = Key::of(&(number.wrapping_mul(2 * thread + 1) % 2_048));
                        limiter.check(&key, 1).is_allowed()
                    };
                    // Each thread visits every key twice, in an order of its own.
                    (0..4_096).filter(pass).count() as u32
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 3 * 2_048);
    assert_eq!(limiter.stats().keys, 2_048);
}

/// A text form that any rule of a few units a second reads.
fn quota_texts() -> impl Strategy<Value = (String, Option<String>)> {
    let quota = || {
        (1u32..6, 0u8..6, 1u32..6).prop_map(|(limit, kind, burst)| match kind {
            0 => format!("{limit}/s"),
            1 => format!("{limit}/s burst {burst}"),
            2 => format!("{limit}/s fixed"),
            3 => format!("{limit}/s log"),
            // Two periods are never near: all that passes, passes in one.
            4 => format!("{limit}/h calendar"),
            _ => format!("{limit}/s sliding"),
        })
    };
    (quota(), prop::option::of(quota()))
}

/// The same without a bound on keys.
struct Unbounded {
    rules: RuleSet,
    states: HashMap<u32, Vec<u64>>,
}

impl Unbounded {
    fn new(policies: &[Policy]) -> Self {
        let (rules, states) = (RuleSet::new(policies), HashMap::new());
        Self { rules, states }
    }

    fn state(&mut self, number: u32) -> &mut Vec<u64> {
        let idle = || vec![0; self.rules.words()];
        self.states.entry(number).or_insert_with(idle)
    }
}

proptest! {
    /// An exact table without bound sees only what the bounded one lets pass; it must never object.
    #[test]
    fn a_table_of_any_size_admits_nothing_that_an_unbounded_one_would_deny(
        max_keys in 1usize..12,
        (first, second) in quota_texts(),
        steps in prop::collection::vec((0u32..24, 0u32..4, 0u64..400), 1..400),
    ) {
        let (limiter, lever) = limiter_of(&first, second.as_deref(), max_keys);
        let mut exact = Unbounded::new(limiter.policies());
        let mut now = LocalTime::from_nanos(1_000_000_000);
        for (number, cost, pause_ms) in steps {
            now = now.saturating_add(Duration::from_millis(pause_ms));
            lever.set(now);
            let decision = limiter.check(&Key::of(&number), cost);
            if decision.is_allowed() {
                let rules = exact.rules.clone();
                let expected = rules.decide(exact.state(number), cost, Moment::at(now));
                prop_assert!(expected.is_allowed());
            }
            prop_assert!(limiter.stats().keys <= max_keys);
        }
    }

    #[test]
    fn a_table_with_room_decides_as_an_unbounded_one(
        (first, second) in quota_texts(),
        steps in prop::collection::vec((0u32..24, 0u32..8, 0u64..400), 1..400),
    ) {
        let (limiter, lever) = limiter_of(&first, second.as_deref(), 24);
        let mut exact = Unbounded::new(limiter.policies());
        let mut now = LocalTime::from_nanos(1_000_000_000);
        for (number, cost, pause_ms) in steps {
            now = now.saturating_add(Duration::from_millis(pause_ms));
            lever.set(now);
            let rules = exact.rules.clone();
            let expected = rules.decide_each(exact.state(number), cost, Moment::at(now));
            if number % 2 == 0 {
                prop_assert_eq!(limiter.check_each(&Key::of(&number), cost), expected);
            } else {
                prop_assert_eq!(&limiter.check(&Key::of(&number), cost), expected.binding());
            }
        }
    }
}
