//! A limit that is changed while it counts, and while origin is away: its successor goes on with everything.

use crate::{counted, so_many, store, until};
use std::sync::Mutex;
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::limiter::AnyLimiter;
use tidegate::limits::{Limits, Plan};
use tidegate::{Key, Quota};
use tidegate_test_support::{RedisServer, TcpProxy};

fn plan(quotas: &[(&str, Quota)]) -> Plan {
    let plan = Plan::new().limits("api", quotas.iter().copied());
    plan.and_then(|plan| plan.route("*", "api"))
        .expect("a plan")
}

fn limits(quotas: &[(&str, Quota)], url: &str) -> Limits {
    let url = url.to_owned();
    let limits = Limits::made_by(&plan(quotas), move |limit| {
        let limiter = LayeredLimiter::for_limit(store(&url), "shop", limit)
            .flush_every(Duration::from_millis(5))
            .patience(Duration::from_millis(100));
        Ok(limiter.build()?.into())
    });
    limits.expect("limits")
}

fn find(limits: &Limits) -> AnyLimiter {
    limits.find("GET", None).expect("a limit")
}

async fn left(limits: &Limits, key: &Key) -> u32 {
    find(limits).peek(key).await.remaining()
}

async fn admits(limiter: &AnyLimiter, key: &Key, cost: u32) -> bool {
    limiter.decide(key, cost).await.is_allowed()
}

fn failures(limits: &Limits) -> u64 {
    let AnyLimiter::Layered(limiter) = find(limits) else {
        panic!("another one was made")
    };
    limiter.stats().failures
}

#[tokio::test]
async fn what_was_admitted_while_origin_is_away_counts_and_is_told_by_whoever_comes_after() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let link = TcpProxy::start(redis.address());
    let url = redis.url_through(link.address());
    let limits = limits(&[("api", so_many(1_000))], &url);
    let key = Key::of("a");
    assert!(admits(&find(&limits), &key, 300).await);
    until("it is told", || counted(&redis) == 300).await;
    link.refuse();
    assert!(admits(&find(&limits), &key, 50).await);
    until("trouble is seen", || failures(&limits) > 0).await;
    for limit in [900, 1_000, 800] {
        limits
            .change(&plan(&[("api", so_many(limit))]))
            .expect("a plan");
        assert!(admits(&find(&limits), &key, 50).await);
    }
    assert_eq!(left(&limits, &key).await, 800 - 500);
    assert!(!admits(&find(&limits), &key, 301).await);
    assert_eq!(counted(&redis), 300);
    link.heal();
    until("all is told", || counted(&redis) == 500).await;
    // Nothing comes after it.
    assert!(admits(&find(&limits), &key, 1).await);
    until("all is told", || counted(&redis) == 501).await;
    assert_eq!(left(&limits, &key).await, 299);
}

#[tokio::test]
async fn what_is_held_and_given_back_and_asked_of_the_one_before_counts_in_the_end() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let link = TcpProxy::start(redis.address());
    let url = redis.url_through(link.address());
    let two = |limit| [("api", so_many(limit)), ("day", Quota::per_day(5_000))];
    let limits = limits(&two(1_000), &url);
    let key = Key::of("a");
    let before = find(&limits);
    assert!(admits(&before, &key, 10).await);
    let committed = before.reserve(&key, 100).await.expect("it fits");
    let cancelled = before.reserve(&key, 200).await.expect("it fits");
    // The second time the policies are the other way round.
    let [one, other] = two(900);
    for plan in [plan(&two(2_000)), plan(&[other, one])] {
        limits.change(&plan).expect("a plan");
    }
    assert_eq!(left(&limits, &key).await, 900 - 310);
    committed.commit(60).await;
    cancelled.cancel().await;
    assert_eq!(left(&limits, &key).await, 900 - 70);
    before.refund(&key, 20).await;
    assert_eq!(left(&limits, &key).await, 900 - 50);
    assert!(admits(&find(&limits), &key, 20).await);
    until("all is told", || counted(&redis) == 140).await;
    // Whoever still asks the first one, and has it told after its time by the last.
    link.refuse();
    assert!(admits(&before, &key, 7).await);
    drop(before);
    until("it goes over", || {
        let AnyLimiter::Layered(limiter) = find(&limits) else {
            return false;
        };
        let decisions = limiter.peek_each(&key);
        decisions.each()[1].remaining() == 900 - 77
    })
    .await;
    link.heal();
    until("all is told", || counted(&redis) == 154).await;
}

#[tokio::test]
async fn a_limiter_that_has_been_succeeded_cannot_begin_again() {
    let made = Mutex::new(Vec::<LayeredLimiter>::new());
    let plan = |limit| plan(&[("api", so_many(limit))]);
    let limits = Limits::made_by(&plan(10), move |limit| {
        let new = LayeredLimiter::for_limit(store("redis://127.0.0.1:1"), "shop", limit);
        let mut made = made.lock().expect("nothing panics under it");
        made.push(new.build()?);
        // The first one again in place of the third.
        let again = if made.len() == 3 { 0 } else { made.len() - 1 };
        Ok(made[again].clone().into())
    });
    let limits = limits.expect("limits");
    let changed = |limit| limits.change(&plan(limit));
    assert!(changed(20).is_ok());
    let error = changed(30).expect_err("the first one has left");
    assert!(error.to_string().contains("make a new one"), "{error}");
}
