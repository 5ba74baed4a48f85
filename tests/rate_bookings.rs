//! Proves what callers rely on who learn the cost afterwards, ask in batches, or count by a calendar or by chance: what
//! is kept stays within the quota, and what is given back is given back once.

use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use tidegate::limiter::{BatchError, RateLimiterBuilder};
use tidegate::quota::Calendar;
use tidegate::time::{Clock, LocalTime, ManualClock, WallTime};
use tidegate::{Key, Quota, RateLimiter};

fn built(builder: RateLimiterBuilder) -> (RateLimiter, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.set(LocalTime::from_nanos(3_600_000_000_000));
    lever.set_wall(WallTime::from_unix_seconds(1_800_000_000));
    (builder.clock(clock).build().unwrap(), lever)
}

fn limiter(quota: &str) -> (RateLimiter, ManualClock) {
    built(RateLimiter::builder(quota.parse().unwrap()))
}

/// One of each rule, of ten units an hour.
const RULES: [&str; 6] = [
    "10/h",
    "10/h fixed",
    "10/h sliding",
    "10/h log",
    "10/h soft 10",
    "10/h calendar",
];

#[test]
fn a_reservation_is_settled_once_however_it_ends() {
    for quota in RULES {
        for key in [Key::of("a"), Key::EVERYONE] {
            let (limiter, _lever) = limiter(quota);
            let left = || limiter.peek(&key).remaining();
            // Somebody else's, so that the key is there.
            assert!(limiter.check(&key, 1).is_allowed());
            limiter.reserve(&key, 6).unwrap().commit(2);
            assert_eq!(left(), 7, "{quota}");
            limiter.reserve(&key, 6).unwrap().cancel();
            assert_eq!(left(), 7, "{quota}");
            drop(limiter.reserve(&key, 6).unwrap());
            assert_eq!(left(), 7, "{quota}");
            limiter.reserve(&key, 3).unwrap().commit(3);
            assert_eq!(left(), 4, "{quota}");
            let denied = limiter.reserve(&key, 5).unwrap_err();
            assert_eq!((denied.remaining(), left()), (4, 4), "{quota}");
            limiter.refund(&key, 2);
            assert_eq!(left(), 6, "{quota}");
            limiter.refund(&key, 100);
            assert_eq!(left(), 10, "{quota}: never more than there is");
        }
    }
}

#[test]
fn what_took_more_than_was_reserved_keeps_the_next_one_waiting() {
    for quota in RULES {
        let (limiter, lever) = limiter(quota);
        let key = Key::of("a");
        limiter.reserve(&key, 1).unwrap().commit(12);
        for asked in [limiter.check(&key, 0), limiter.peek(&key)] {
            assert_eq!(asked.retry_after(), None, "{quota}");
            assert!(asked.is_allowed() && asked.remaining() == 0, "{quota}");
        }
        let denied = limiter.check(&key, 1);
        let wait = denied.retry_after().unwrap();
        lever.advance(wait - Duration::from_nanos(1));
        assert!(!limiter.check(&key, 1).is_allowed(), "{quota}");
        lever.advance(Duration::from_nanos(1));
        assert!(limiter.check(&key, 1).is_allowed(), "{quota}");
    }
}

#[test]
fn what_has_come_back_by_itself_is_not_given_back_again() {
    for quota in RULES {
        let (limiter, lever) = limiter(quota);
        let key = Key::of("a");
        let old = limiter.reserve(&key, 10).unwrap();
        lever.advance(Duration::from_secs(2 * 3_600));
        assert!(limiter.check(&key, 10).is_allowed(), "{quota}");
        drop(old);
        assert_eq!(limiter.peek(&key).remaining(), 0, "{quota}");
    }
}

#[test]
fn two_reservations_that_end_late_do_not_pay_for_one_another() {
    // Under a token bucket the second is moved forward when the first is given back.
    let (limiter, lever) = limiter("100/min");
    let key = Key::of("a");
    let (first, second) = (
        limiter.reserve(&key, 50).unwrap(),
        limiter.reserve(&key, 50).unwrap(),
    );
    first.cancel();
    lever.advance(Duration::from_secs(30));
    assert!(limiter.check(&key, 100).is_allowed());
    second.cancel();
    assert_eq!(limiter.peek(&key).remaining(), 0);
}

/// A tenant that uses 100 tokens of each 400 that it reserves has used those 200, whatever others give back.
#[test]
fn what_others_give_back_meanwhile_takes_nothing_from_a_refund() {
    for quota in RULES {
        let limit = quota.replace("10", "1000");
        let (limiter, lever) = limiter(&limit);
        let key = Key::of("acme");
        let reserved = [(); 2].map(|()| limiter.reserve(&key, 400).unwrap());
        for other in 0..200_u32 {
            let reservation = limiter.reserve(&Key::of(&other), 900).unwrap();
            limiter.refund(&Key::of(&other), 10);
            reservation.cancel();
        }
        // Nine units come back in so long under a token bucket.
        lever.advance(Duration::from_secs(33));
        reserved
            .into_iter()
            .for_each(|reservation| reservation.commit(100));
        let left = limiter.peek(&key).remaining();
        assert!((800..810).contains(&left), "{limit}: {left}");
    }
}

#[test]
fn a_reservation_counts_under_every_policy() {
    let builder = RateLimiter::builder(Quota::per_hour(10));
    let (limiter, _lever) = built(builder.also("day", Quota::per_day(20).sliding_log()));
    let key = Key::of("a");
    let left = || {
        let stand = limiter.check_each(&key, 0);
        [0, 1].map(|at: usize| stand.each()[at].remaining())
    };
    limiter.reserve(&key, 10).unwrap().commit(4);
    assert_eq!(left(), [6, 16]);
    assert!(limiter.reserve(&key, 7).is_err());
    drop(limiter.reserve(&key, 6).unwrap());
    assert_eq!(left(), [6, 16]);
}

#[test]
fn a_batch_is_booked_whole_or_not_at_all() {
    for quota in RULES {
        let (limiter, _lever) = limiter(quota);
        let [a, b] = ["a", "b"].map(Key::of);
        let told = limiter.check_all(&[(a, 4), (b, 9), (a, 4)]).unwrap();
        let left: Vec<u32> = told.iter().map(|it| it.remaining()).collect();
        assert_eq!(left, [6, 1, 2], "{quota}");
        let error = limiter.check_all(&[(a, 1), (a, 1), (b, 2)]).unwrap_err();
        assert!(matches!(error, BatchError::Denied { at: 2, .. }), "{error}");
        assert_eq!(limiter.peek(&a).remaining(), 2, "{quota}");
        let each = limiter.check_many(&[(a, 1), (a, 1), (b, 2)]).unwrap();
        let passed: Vec<bool> = each.iter().map(|it| it.is_allowed()).collect();
        assert_eq!(passed, [true, true, false], "{quota}");
    }
    let (limiter, _lever) = limiter("1000/h");
    let many = vec![(Key::of("a"), 1); 101];
    let too_many = BatchError::TooMany { checks: 101 };
    assert_eq!(limiter.check_all(&many).unwrap_err(), too_many);
    assert_eq!(limiter.check_many(&many).unwrap_err(), too_many);
    assert_eq!(limiter.check_all(&many[1..]).unwrap().len(), 100);
    assert_eq!(limiter.peek(&Key::of("a")).remaining(), 900);
}

/// A limiter whose only cell is that of a key that is being denied: all others share the overflow cell.
fn full(quotas: &[&str]) -> (RateLimiter, ManualClock) {
    let (first, others) = quotas.split_first().unwrap();
    let mut builder = RateLimiter::builder(first.parse().unwrap()).max_keys(1);
    for (at, quota) in others.iter().enumerate() {
        builder = builder.also(&format!("other{at}"), quota.parse().unwrap());
    }
    let (limiter, lever) = built(builder);
    limiter.reserve(&Key::of("full"), 1).unwrap().commit(10);
    assert!(!limiter.check(&Key::of("full"), 1).is_allowed());
    (limiter, lever)
}

#[test]
fn on_the_overflow_cell_a_reservation_is_settled_once_however_it_ends() {
    let sets = RULES.iter().map(|rule| vec![*rule]);
    for quotas in sets.chain([vec!["10/h", "10/d log"], vec!["10/d fixed", "10/h"]]) {
        let (limiter, _lever) = full(&quotas);
        let [a, b] = ["a", "b"].map(Key::of);
        let left = || limiter.peek(&Key::of("new")).remaining();
        limiter.reserve(&a, 6).unwrap().commit(2);
        assert_eq!(left(), 8, "{quotas:?}");
        limiter.reserve(&b, 6).unwrap().cancel();
        drop(limiter.reserve(&a, 8).unwrap());
        assert_eq!(left(), 8, "{quotas:?}");
        // Both at once, and the first one first.
        let (first, second) = (limiter.reserve(&a, 3), limiter.reserve(&b, 4));
        assert_eq!(left(), 1, "{quotas:?}");
        drop(first.unwrap());
        assert_eq!(left(), 4, "{quotas:?}");
        drop(second.unwrap());
        assert_eq!(left(), 8, "{quotas:?}");
        limiter.reserve(&a, 3).unwrap().commit(5);
        assert_eq!(left(), 3, "{quotas:?}");
        assert_eq!(limiter.stats().keys, 1, "{quotas:?}: nobody got a cell");
        assert_eq!(limiter.peek(&Key::of("full")).remaining(), 0, "{quotas:?}");
    }
}

#[test]
fn a_batch_that_is_denied_leaves_nothing_on_the_overflow_cell() {
    for quota in RULES {
        let (limiter, _lever) = full(&[quota]);
        let [a, b] = ["a", "b"].map(Key::of);
        for _ in 0..20 {
            let error = limiter.check_all(&[(a, 1), (a, 2), (b, 10)]).unwrap_err();
            assert!(matches!(error, BatchError::Denied { at: 2, .. }), "{error}");
        }
        assert_eq!(limiter.peek(&b).remaining(), 10, "{quota}");
        assert!(limiter.check_all(&[(a, 4), (b, 6)]).is_ok(), "{quota}");
    }
}

#[test]
fn on_the_overflow_cell_what_has_come_back_by_itself_is_not_given_back_again() {
    for quota in RULES {
        let (limiter, lever) = full(&[quota]);
        let old = limiter.reserve(&Key::of("a"), 10).unwrap();
        lever.advance(Duration::from_secs(2 * 3_600));
        limiter.reserve(&Key::of("full"), 1).unwrap().commit(10);
        assert!(limiter.check(&Key::of("b"), 10).is_allowed(), "{quota}");
        drop(old);
        assert!(!limiter.check(&Key::of("c"), 1).is_allowed(), "{quota}");
    }
    // Under a token bucket the second is moved forward when the first is given back.
    let (limiter, lever) = full(&["10/min"]);
    let [first, second] = ["a", "b"].map(|key| limiter.reserve(&Key::of(key), 5).unwrap());
    drop(first);
    lever.advance(Duration::from_secs(30));
    limiter.reserve(&Key::of("full"), 1).unwrap().commit(10);
    assert!(limiter.check(&Key::of("c"), 10).is_allowed());
    drop(second);
    assert_eq!(limiter.peek(&Key::of("d")).remaining(), 0);
}

/// The new cell began as a copy of the overflow cell.
#[test]
fn who_has_got_a_cell_meanwhile_gets_back_what_it_booked_on_the_overflow_cell() {
    for quota in RULES {
        let (limiter, _lever) = full(&[quota]);
        let [a, b] = ["a", "b"].map(Key::of);
        let (of_a, of_b) = (limiter.reserve(&a, 4).unwrap(), limiter.reserve(&b, 3));
        limiter.refund(&Key::of("full"), 10);
        assert!(limiter.check(&a, 1).is_allowed(), "{quota}");
        assert_eq!(limiter.peek(&a).remaining(), 2, "{quota}");
        drop(of_a);
        assert_eq!(limiter.peek(&a).remaining(), 6, "{quota}");
        assert_eq!(limiter.peek(&b).remaining(), 7, "{quota}");
        // That of the other one stays in the copy.
        drop(of_b.unwrap());
        assert_eq!(limiter.peek(&a).remaining(), 6, "{quota}");
        assert_eq!(limiter.peek(&b).remaining(), 10, "{quota}");
    }
}

/// What it had spent is merged with what was booked, so giving that back could give it more than the quota.
#[test]
fn what_was_booked_on_the_overflow_cell_before_a_key_was_forgotten_stays() {
    let (limiter, lever) = full(&["10/h"]);
    let [a, b] = ["a", "b"].map(Key::of);
    let before = limiter.reserve(&a, 9).unwrap();
    // One unit is back, so the key may be forgotten, but for its nine.
    lever.advance(Duration::from_secs(360));
    assert!(limiter.check(&b, 1).is_allowed());
    assert_eq!(limiter.stats().evicted, 1);
    assert_eq!(limiter.peek(&Key::of("full")).remaining(), 1);
    drop(before);
    assert_eq!(limiter.peek(&Key::of("full")).remaining(), 1);
    // What is booked after it is given back again.
    drop(limiter.reserve(&Key::of("full"), 1).unwrap());
    assert_eq!(limiter.peek(&Key::of("full")).remaining(), 1);
}

#[test]
fn threads_that_reserve_and_give_back_never_keep_more_than_the_limit() {
    for quota in ["1000/h", "1000/h sliding", "1000/h log", "1000/h calendar"] {
        let (limiter, _lever) = limiter(quota);
        for key in [Key::of("hot"), Key::EVERYONE] {
            let kept = AtomicU32::new(0);
            thread::scope(|scope| {
                for thread in 0..4u32 {
                    let (limiter, kept) = (&limiter, &kept);
                    scope.spawn(move || {
                        for step in 0..1_000 {
                            let Ok(reservation) = limiter.reserve(&key, 3) else {
                                continue;
                            };
                            let used = (step + thread) % 4;
                            // More than was reserved may go beyond the limit.
                            reservation.commit(used.min(3));
                            kept.fetch_add(used.min(3), Ordering::Relaxed);
                        }
                    });
                }
            });
            let kept = kept.into_inner();
            assert!((998..=1_000).contains(&kept), "{quota}: {kept}");
            assert_eq!(limiter.peek(&key).remaining(), 1_000 - kept, "{quota}");
        }
    }
}

#[test]
fn a_calendar_follows_the_wall_clock() {
    let quota = Quota::calendar(2, Calendar::DAY.utc_offset(60));
    let (limiter, lever) = built(RateLimiter::builder(quota));
    let key = Key::of("a");
    // 2027-01-15T08:00:00Z, 09:00 at the offset.
    assert!(limiter.check(&key, 2).is_allowed());
    let wait = limiter.check(&key, 1).retry_after().unwrap();
    assert_eq!(wait, Duration::from_secs(15 * 3_600));
    lever.advance(wait);
    assert!(limiter.check(&key, 2).is_allowed());
    // Put back by an hour, into the day before.
    lever.set_wall(WallTime::from_unix_seconds(1_800_000_000 + 14 * 3_600));
    assert!(!limiter.check(&key, 1).is_allowed());
}

#[test]
fn chance_follows_the_seed() {
    let run = |seed| -> Vec<bool> {
        let quota = Quota::per_hour(200).soft(50);
        let (limiter, _lever) = built(RateLimiter::builder(quota).seed(seed));
        let check = |_| limiter.check(&Key::EVERYONE, 1).is_allowed();
        (0..400).map(check).collect()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let passed = run(1).iter().filter(|passed| **passed).count();
    // Six in seven of the way up to the limit: the rest pass ever more rarely.
    assert!((150..=200).contains(&passed), "{passed}");
    assert!(run(1)[..50].iter().all(|passed| *passed));
}

/// As above, of many keys that share an overflow cell.
#[test]
fn threads_that_share_an_overflow_cell_never_keep_more_than_the_limit() {
    for quota in ["1000/h", "1000/h sliding", "1000/h log", "1000/h calendar"] {
        let (limiter, _lever) = built(RateLimiter::builder(quota.parse().unwrap()).max_keys(1));
        assert!(limiter.check(&Key::of("full"), 1_000).is_allowed());
        let kept = AtomicU32::new(0);
        thread::scope(|scope| {
            for thread in 0..4u32 {
                let (limiter, kept) = (&limiter, &kept);
                scope.spawn(move || {
                    for step in 0..1_000 {
                        let Ok(reservation) = limiter.reserve(&Key::of(&(thread, step)), 3) else {
                            continue;
                        };
                        let used = ((step + thread) % 4).min(3);
                        reservation.commit(used);
                        kept.fetch_add(used, Ordering::Relaxed);
                    }
                });
            }
        });
        let kept = kept.into_inner();
        assert!((998..=1_000).contains(&kept), "{quota}: {kept}");
        let left = limiter.peek(&Key::of("new")).remaining();
        assert_eq!(left, 1_000 - kept, "{quota}");
    }
}

proptest! {
    /// What is kept of reservations that overlap and end in any order would have passed by itself.
    #[test]
    fn what_is_kept_would_have_passed_alone(
        rule in 0usize..6,
        max_keys in 1usize..4,
        // Most keys begin, and go on, without a cell.
        full in any::<bool>(),
        longest in prop_oneof![Just(1_500u64), Just(150)],
        steps in prop::collection::vec((0u64..1_500, 0u8..3, 1u32..6, 0u32..6, any::<prop::sample::Index>()), 1..80),
    ) {
        let builder = RateLimiter::builder(RULES[rule].parse().unwrap());
        let (limiter, lever) = built(builder.max_keys(max_keys));
        let (alone, other) = built(RateLimiter::builder(RULES[rule].parse().unwrap()));
        let mut open = Vec::new();
        // When and by whom it was booked, and how much of it was kept in the end.
        let mut kept: Vec<(Duration, u8, u32)> = Vec::new();
        let mut now = Duration::ZERO;
        for key in (0..max_keys as u64).filter(|_| full) {
            prop_assert!(limiter.check(&Key::of(&("full", key)), 10).is_allowed());
        }
        for (pause, key, cost, used, pick) in steps {
            let pause = pause % longest;
            now += Duration::from_secs(pause);
            lever.advance(Duration::from_secs(pause));
            if used > 3 && !open.is_empty() {
                let (at, reservation): (usize, tidegate::limiter::Reservation) =
                    open.swap_remove(pick.index(open.len()));
                let actual = reservation.cost().min(used - 3);
                reservation.commit(actual);
                kept[at].2 = actual;
            } else if let Ok(reservation) = limiter.reserve(&Key::of(&key), cost) {
                kept.push((now, key, cost));
                open.push((kept.len() - 1, reservation));
            }
        }
        let mut moved = Duration::ZERO;
        for (moment, key, units) in kept {
            other.advance(moment - moved);
            moved = moment;
            prop_assert!(alone.check(&Key::of(&key), units).is_allowed());
        }
    }
}
