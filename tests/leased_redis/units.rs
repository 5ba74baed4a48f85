//! Units in hand: where they come from, and where they go when nobody spends them.

use crate::{limiter, so_many, spend, standing_still};
use std::time::Duration;
use tidegate::{Key, Verdict};
use tidegate_test_support::RedisServer;

#[tokio::test]
async fn closing_gives_what_is_left_to_another() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [
        so_many(5_000),
        so_many(5_000).fixed(),
        so_many(5_000).sliding(),
    ] {
        let key = Key::of(&quota.to_string());
        let first = standing_still(&server, quota);
        let spent = spend(&first, key, 1_000).await;
        drop(first.reserve(&key, 50).await.expect("there is plenty"));
        assert_eq!(first.stats().held, 50, "{quota}");
        first.close().await.expect("the store has heard all");
        assert_eq!(first.decide(&key, 1).await.outcome(), Verdict::Unavailable);
        assert_eq!(first.close().await, Ok(()));
        let second = limiter(&server, quota);
        assert_eq!(spent + spend(&second, key, 9_999).await, 5_000, "{quota}");
    }
}

#[tokio::test]
async fn what_nobody_comes_for_goes_back_by_itself() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let first = limiter(&server, so_many(5_000).fixed());
    let second = standing_still(&server, so_many(5_000).fixed());
    let key = Key::of("a");
    let spent = spend(&first, key, 1_000).await;
    while first.stats().held > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(spent + spend(&second, key, 9_999).await, 5_000);
    // Nobody asks the store what is remembered.
    let (denied, asked) = (second.decide(&key, 1).await, second.stats().asked);
    assert!(denied.retry_after().is_some());
    for _ in 0..1_000 {
        assert!(!second.decide(&key, 1).await.is_allowed());
    }
    let stats = second.stats();
    assert_eq!((stats.remembered, stats.asked), (1_001, asked));
}

#[tokio::test]
async fn reservations_settle_what_they_came_to() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [so_many(100), so_many(100).fixed(), so_many(100).sliding()] {
        let first = standing_still(&server, quota);
        let key = Key::of(&quota.to_string());
        let reservation = first.reserve(&key, 60).await.unwrap();
        assert!(first.reserve(&key, 60).await.is_err());
        reservation.commit(20);
        // In hand, so nobody is asked.
        assert!(first.check(&key, 40).is_allowed(), "{quota}");
        drop(first.reserve(&key, 10).await.unwrap());
        first.reserve(&key, 10).await.unwrap().commit(25);
        first.close().await.expect("the store has heard all");
        let second = limiter(&server, quota);
        assert_eq!(spend(&second, key, 200).await, 15, "{quota}");
    }
}

#[tokio::test]
async fn check_asks_for_the_next_one() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, so_many(10).fixed());
    let key = Key::of("a");
    assert_eq!(limiter.peek(&key).remaining(), 10);
    let first = limiter.check(&key, 3);
    assert_eq!(
        (first.outcome(), first.retry_after()),
        (Verdict::Deny, None)
    );
    while limiter.stats().held < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(limiter.check(&key, 3).is_allowed());
    assert_eq!(limiter.peek(&key).remaining(), 7);
}
