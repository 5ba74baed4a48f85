//! A plan that changes back and forth while threads ask: every request is counted, once.
//!
//! The clock stands still, so nothing comes back by itself: what is left in the end is the limit without what was
//! admitted, to the unit, and where the limit is small nobody gets more than it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tidegate::limits::{Limits, Plan};
use tidegate::time::Clock;
use tidegate::{Key, Quota, RateLimiter};

const THREADS: u64 = 2;
const CHANGES: usize = 40;

fn plan(quotas: &[Quota], max_keys: usize) -> Plan {
    let named = ["a", "b", "c"].into_iter().zip(quotas.iter().copied());
    let plan = Plan::new().limits("api", named).unwrap();
    let plan = plan.max_keys(max_keys).unwrap();
    plan.route("*", "api").unwrap()
}

fn api(limits: &Limits) -> RateLimiter {
    let api = limits.find("GET", Some("/")).unwrap();
    api.as_local().unwrap().clone()
}

fn keys() -> Vec<Key> {
    let named = (0..40u32).map(|number| Key::of(&number));
    named.chain([Key::EVERYONE]).collect()
}

/// Changes the plan back and forth while threads do what `ask` does with a limiter and a key, and adds up for each key
/// the units that it says it has got.
fn hammer(
    plans: [&Plan; 2],
    limits: &Limits,
    ask: impl Fn(&RateLimiter, &Key) -> u64 + Sync,
) -> Vec<u64> {
    let keys = keys();
    let admitted: Vec<AtomicU64> = keys.iter().map(|_| AtomicU64::new(0)).collect();
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (keys, admitted, over, asked, ask) = (&keys, &admitted, &over, &asked, &ask);
            scope.spawn(move || {
                // Half of them hold a limiter for longer than a plan holds.
                let mut held = api(limits);
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    if thread % 2 == 0 || round % 64 == 0 {
                        held = api(limits);
                    }
                    for (key, admitted) in keys.iter().zip(admitted) {
                        admitted.fetch_add(ask(&held, key), Ordering::Relaxed);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for change in 0..CHANGES {
            let before = asked.load(Ordering::Relaxed);
            while asked.load(Ordering::Relaxed) < before + 300 {
                std::thread::yield_now();
            }
            let changes = limits.change(plans[(change + 1) % 2]).unwrap();
            assert!(!changes.is_empty());
        }
        over.store(true, Ordering::Relaxed);
    });
    admitted.into_iter().map(AtomicU64::into_inner).collect()
}

fn limits(plan: &Plan) -> Limits {
    let (clock, lever) = Clock::manual();
    lever.advance(Duration::from_secs(1_000_000));
    Limits::on(plan, clock)
}

const MANY: u32 = 1_000_000_000;

#[test]
fn what_is_left_is_what_nobody_got() {
    let (bucket, day) = (Quota::per_day(MANY), Quota::per_day);
    for (one, other) in [
        (vec![bucket], vec![bucket, day(MANY).fixed()]),
        (vec![day(MANY).fixed()], vec![day(MANY - 1).fixed()]),
        (
            vec![day(MANY).sliding()],
            vec![day(MANY).soft(MANY), bucket],
        ),
    ] {
        let plans = [plan(&one, 5_000), plan(&other, 2_000)];
        let limits = limits(&plans[0]);
        let admitted = hammer([&plans[0], &plans[1]], &limits, |limiter, key| {
            u64::from(limiter.check(key, 1).is_allowed())
        });
        assert_eq!(limits.plan(), plans[0], "an even number of changes");
        for (key, admitted) in keys().iter().zip(admitted) {
            assert!(admitted > 0);
            let left = u64::from(api(&limits).peek(key).remaining());
            assert_eq!(left, u64::from(MANY) - admitted, "{one:?} and {other:?}");
        }
    }
}

#[test]
fn nobody_gets_more_than_the_higher_limit() {
    let day = Quota::per_day;
    for (one, other, most) in [
        (vec![day(500).fixed()], vec![day(600).fixed()], 600),
        (vec![day(600).sliding()], vec![day(500).sliding()], 600),
        (vec![day(500)], vec![day(500), day(900).fixed()], 500),
        (
            vec![day(500).sliding_log()],
            vec![day(500).sliding_log(), day(900)],
            500,
        ),
    ] {
        let plans = [plan(&one, 5_000), plan(&other, 2_000)];
        let limits = limits(&plans[0]);
        let admitted = hammer([&plans[0], &plans[1]], &limits, |limiter, key| {
            u64::from(limiter.check(key, 1).is_allowed())
        });
        for admitted in admitted {
            assert!(admitted <= most, "{admitted} by {one:?} and {other:?}");
        }
    }
}

#[test]
fn what_is_given_back_comes_back_wherever_its_count_is() {
    let day = Quota::per_day;
    for (one, other) in [
        (
            vec![day(MANY).fixed()],
            vec![day(MANY - 1).fixed(), day(MANY)],
        ),
        (vec![day(MANY).sliding()], vec![day(MANY - 1).sliding()]),
    ] {
        let plans = [plan(&one, 5_000), plan(&other, 2_000)];
        let limits = limits(&plans[0]);
        let admitted = hammer([&plans[0], &plans[1]], &limits, |limiter, key| {
            let (kept, cancelled) = (limiter.reserve(key, 3), limiter.reserve(key, 5));
            kept.unwrap().commit(2);
            cancelled.unwrap().cancel();
            2
        });
        for (key, admitted) in keys().iter().zip(admitted) {
            let left = u64::from(api(&limits).peek(key).remaining());
            assert_eq!(left, u64::from(MANY) - admitted, "{one:?} and {other:?}");
        }
    }
}
