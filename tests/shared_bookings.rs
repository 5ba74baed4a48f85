//! What is given back on leased and layered limits, and batches of leased ones, over a real Redis: who has use for it, and
//! what the store counts in the end. Windows are so long that none of them ends in a test.
#![cfg(feature = "redis")]

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::leased::LeasedLimiter;
use tidegate::limiter::BatchError;
use tidegate::store::RedisStore;
use tidegate::strict::OnFailure;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

/// A busy machine is no dead store.
const LONG: Duration = Duration::from_secs(20);

fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

/// A process of its own, on a clock that stands still: what is in hand stays there.
fn leased(server: &RedisServer, quota: Quota) -> LeasedLimiter {
    let store = RedisStore::new(server.url()).expect("an address");
    let (clock, _) = Clock::manual();
    let builder = LeasedLimiter::builder(store, "test", quota).patience(LONG);
    builder.clock(clock).build().expect("a limiter")
}

#[tokio::test]
async fn leased_units_that_are_given_back_are_there_for_the_next_here_and_in_the_end_for_all() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [so_many(100), so_many(100).fixed(), so_many(100).sliding()] {
        let (first, key) = (leased(&server, quota), Key::of(&quota.to_string()));
        first.refund(&key, 5);
        assert!(first.decide(&key, 60).await.is_allowed());
        first.refund(&key, 50);
        let asked = first.stats().asked;
        assert!(first.decide(&key, 30).await.is_allowed());
        assert_eq!(first.stats().asked, asked, "{quota}: they are in hand");
        first.refund(&key, 10);
        let reservation = first.reserve(&key, 10).await.expect("room");
        reservation.commit(5);
        // 35 are spent: of the reservation what it came to.
        first.refund(&key, 5);
        first.close().await.expect("the store has heard all");
        let second = leased(&server, quota);
        assert!(second.decide(&key, 70).await.is_allowed(), "{quota}");
        assert!(!second.decide(&key, 1).await.is_allowed(), "{quota}");
        // As often as it is called, but never more than was spent here; and what is denied is not remembered.
        second.refund(&key, 70);
        second.refund(&key, 70);
        assert!(second.decide(&key, 70).await.is_allowed(), "{quota}");
        assert!(!second.decide(&key, 1).await.is_allowed(), "{quota}");
    }
}

#[tokio::test]
async fn what_was_admitted_while_the_store_was_away_is_given_back_where_it_was() {
    let store = RedisStore::new("redis://127.0.0.1:1").expect("an address");
    let builder = LeasedLimiter::builder(store, "test", so_many(100));
    let builder = builder.on_failure(OnFailure::local_share(2));
    let (limiter, key) = (builder.build().expect("a limiter"), Key::of("a"));
    // Until the breaker is open.
    while limiter.stats().up {
        let _ = limiter.decide(&Key::of("another"), 1).await;
    }
    assert!(limiter.decide(&key, 50).await.is_allowed());
    assert!(!limiter.decide(&key, 20).await.is_allowed());
    limiter.refund(&key, 20);
    assert!(limiter.decide(&key, 20).await.is_allowed());
    assert!(!limiter.decide(&key, 1).await.is_allowed());
}

#[tokio::test]
async fn a_leased_batch_that_is_denied_or_dropped_books_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // Of a full bucket the first unit begins to come back at once.
    let quota = so_many(100).fixed();
    let (first, second) = (leased(&server, quota), leased(&server, quota));
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Key::of);
    assert!(second.decide(&c, 41).await.is_allowed());
    let checks = [(a, 60), (b, 100), (c, 60), (a, 40)];
    let error = first.decide_all(&checks).await.expect_err("c has 59");
    assert!(
        matches!(error, BatchError::Denied { at: 2, .. }),
        "{error:?}"
    );
    {
        let checks = [(b, 100), (d, 100)];
        let mut dropped = pin!(first.decide_all(&checks));
        let polled = dropped
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "d is not in hand");
    }
    let told = first.decide_many(&[(a, 100), (c, 60), (d, 100)]).await;
    let told = told.expect("a short batch");
    let allowed: Vec<bool> = told.iter().map(|it| it.is_allowed()).collect();
    assert_eq!(allowed, [true, false, true]);
    first.close().await.expect("the store has heard all");
    assert!(second.decide(&b, 100).await.is_allowed());
    assert!(second.decide(&c, 59).await.is_allowed());
    for key in [a, b, c, d] {
        assert!(!second.decide(&key, 1).await.is_allowed());
    }
}

/// What origin counts, over all cells.
fn counted(server: &RedisServer) -> i64 {
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            sum = sum + redis.call('HGET', key, '#')
        end
        return sum";
    server.cli(&["EVAL", script, "0"]).integer()
}

#[tokio::test]
async fn layered_units_that_are_given_back_are_spent_here_and_origin_counts_them_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = || {
        let store = RedisStore::new(server.url()).expect("an address");
        let builder = LayeredLimiter::builder(store, "test", so_many(100)).patience(LONG);
        let builder = builder.also(
            "half",
            Quota::new(90, Quota::MAX_WINDOW / 2).expect("a quota"),
        );
        builder.build().expect("a limiter")
    };
    let (first, key) = (node(), Key::of("a"));
    assert!(first.decide(&key, 40).await.is_allowed());
    while counted(&server) < 2 * 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.refund(&key, 30);
    let left = |node: &LayeredLimiter| {
        let stands = node.peek_each(&key);
        [0, 1].map(|at: usize| stands.each()[at].remaining())
    };
    assert_eq!(left(&first), [90, 80]);
    assert!(first.decide(&key, 25).await.is_allowed());
    assert!(first.decide(&key, 10).await.is_allowed());
    assert_eq!(left(&first), [55, 45]);
    assert!(first.decide(&key, 45).await.is_allowed());
    assert!(!first.decide(&key, 1).await.is_allowed());
    first.close().await.expect("origin is there");
    assert_eq!(counted(&server), 2 * 90);
    let second = node();
    assert!(!second.decide(&key, 1).await.is_allowed());
    // Nothing that another has booked.
    second.refund(&key, 50);
    assert!(!second.decide(&key, 1).await.is_allowed());
}
