//! Costs that are known afterwards, and many decisions at once.

use crate::{builder, limiter, so_many, until};
use std::time::Duration;
use tidegate::Key;
use tidegate::limiter::BatchError;
use tidegate::strict::StrictLimiter;
use tidegate_test_support::{Direction, RedisServer, TcpProxy};

#[tokio::test]
async fn those_who_book_more_at_the_same_time_share_their_messages() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, so_many(1_000));
    let key = Key::of("a");
    let mut reservations = Vec::new();
    for _ in 0..50 {
        reservations.push(limiter.reserve(&key, 1).await.expect("room for it"));
    }
    let before = limiter.stats().asked;
    let commits = reservations.into_iter().map(|it| it.commit(3));
    futures_util::future::join_all(commits).await;
    let messages = limiter.stats().asked - before;
    assert!((1..=3).contains(&messages), "{messages}");
    assert_eq!(limiter.peek(&key).await.remaining(), 850);
}

#[tokio::test]
async fn reservations_settle_what_they_came_to() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [
        so_many(100),
        so_many(100).fixed(),
        so_many(100).sliding(),
        so_many(100).sliding_log(),
    ] {
        let limiter = limiter(&server, quota);
        let key = Key::of(&quota.to_string());
        let reservation = limiter.reserve(&key, 60).await.unwrap();
        assert!(limiter.reserve(&key, 60).await.is_err());
        reservation.commit(20).await;
        assert_eq!(limiter.peek(&key).await.remaining(), 80, "{quota}");
        limiter.reserve(&key, 50).await.unwrap().cancel().await;
        assert_eq!(limiter.peek(&key).await.remaining(), 80, "{quota}");
        limiter.reserve(&key, 50).await.unwrap().commit(90).await;
        assert_eq!(limiter.peek(&key).await.remaining(), 0, "{quota}");
        limiter.refund(&key, 15).await;
        let left = limiter.peek(&key).await.remaining();
        // More than the limit was booked; a log keeps no more than that.
        assert_eq!(
            left,
            if quota == so_many(100).sliding_log() {
                15
            } else {
                5
            },
            "{quota}"
        );
    }
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_or_each_by_itself() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, so_many(3));
    let [a, b] = ["a", "b"].map(Key::of);
    let each = limiter
        .decide_many(&[(a, 1), (b, 4), (a, 2), (a, 1)])
        .await
        .unwrap();
    let allowed: Vec<_> = each.iter().map(|it| it.is_allowed()).collect();
    assert_eq!(allowed, [true, false, true, false]);
    let limiter = crate::limiter(&server, so_many(3).fixed());
    assert!(limiter.decide_all(&[(a, 1), (b, 2), (a, 1)]).await.is_ok());
    let error = limiter
        .decide_all(&[(a, 1), (b, 1), (b, 1)])
        .await
        .unwrap_err();
    assert!(matches!(error, BatchError::Denied { at: 2, .. }), "{error}");
    let left = [
        limiter.peek(&a).await.remaining(),
        limiter.peek(&b).await.remaining(),
    ];
    assert_eq!(left, [1, 1]);
    let many = vec![(a, 0); 101];
    assert_eq!(
        limiter.decide_many(&many).await,
        Err(BatchError::TooMany { checks: 101 })
    );
}

#[tokio::test]
async fn a_batch_that_nobody_waits_for_any_more_books_nothing() {
    let [a, b] = ["a", "b"].map(Key::of);
    given_up_on(
        async |far| far.decide_all(&[(a, 4), (b, 5)]).await.is_ok(),
        &[(a, 4), (b, 5)],
    )
    .await;
}

#[tokio::test]
async fn a_reservation_that_nobody_waits_for_any_more_books_nothing() {
    let key = Key::of("a");
    given_up_on(async |far| far.reserve(&key, 4).await.is_ok(), &[(key, 4)]).await;
}

/// Nobody waits for the answer to `booking` any more, which is `booked` by then: when it comes, all of that goes back.
async fn given_up_on(booking: impl AsyncFn(&StrictLimiter) -> bool, booked: &[(Key, u32)]) {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let quota = so_many(10).fixed();
    let near = limiter(&server, quota);
    let far = builder(&server.url_through(proxy.address()), quota);
    let far = far.build().expect("a limiter");
    assert!(far.peek(&booked[0].0).await.is_allowed());
    proxy.hold_one_way(Direction::Responses);
    let heard = tokio::time::timeout(Duration::from_millis(200), booking(&far)).await;
    assert!(heard.is_err(), "its answer is held back");
    let counts = async |key, units| 10 - near.peek(&key).await.remaining() == units;
    for (key, units) in booked {
        until(async || counts(*key, *units).await).await;
    }
    proxy.heal();
    for (key, _) in booked {
        until(async || counts(*key, 0).await).await;
    }
}
