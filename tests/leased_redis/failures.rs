//! A store that is away, and a local share meanwhile.

use crate::{builder, so_many, spend};
use std::time::Duration;
use tidegate::strict::OnFailure;
use tidegate::{Key, Verdict};
use tidegate_test_support::{Data, RedisServer, TcpProxy};

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_by_nobody_and_found_again() {
    let Some(mut server) = RedisServer::builder().persistent().start() else {
        return;
    };
    let quota = so_many(5_000).fixed();
    let limiter = builder(&server.url(), quota)
        .breaker(2, Duration::from_millis(50))
        .build()
        .unwrap();
    let key = Key::of("a");
    let mut spent = spend(&limiter, key, 500).await;
    server.kill();
    // What is in hand may be spent.
    while limiter.stats().without == 0 {
        spent += u32::from(limiter.decide(&key, 1).await.is_allowed());
    }
    assert_eq!(
        limiter.decide(&key, 100).await.outcome(),
        Verdict::Unavailable
    );
    server.restart(Data::Keep);
    while spent < 5_000 {
        let decision = limiter.decide(&key, 1).await;
        spent += u32::from(decision.is_allowed());
        match decision.outcome() {
            Verdict::Deny => break,
            Verdict::Unavailable => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => {}
        }
    }
    // What was under way when it died, and what this process has, but no more than was there.
    limiter.close().await.expect("the store has heard all");
    let last = crate::limiter(&server, quota);
    spent += spend(&last, key, 9_999).await;
    assert_eq!(spent, 5_000);
    server.restart(Data::Lose);
    drop(last);
    let anew = crate::limiter(&server, quota);
    assert_eq!(spend(&anew, key, 9_999).await, 5_000);
}

#[tokio::test]
async fn a_local_share_is_kept_and_told_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let quota = so_many(100).fixed();
    let limiter = builder(&server.url_through(proxy.address()), quota)
        .on_failure(OnFailure::local_share(5))
        .breaker(1, Duration::from_millis(50))
        .build()
        .unwrap();
    let key = Key::of("a");
    assert!(limiter.decide(&key, 30).await.is_allowed());
    proxy.refuse();
    let mut allowed = 0;
    for _ in 0..50 {
        allowed += u32::from(limiter.decide(&key, 1).await.is_allowed());
    }
    assert_eq!(allowed, 20);
    assert_eq!(limiter.stats().untold, 1);
    proxy.heal();
    while !limiter.stats().up || limiter.stats().untold > 0 {
        // Of another key: who asks finds the store again.
        let _ = limiter.decide(&Key::of("b"), 1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    limiter.close().await.expect("the store has heard all");
    let second = crate::limiter(&server, quota);
    assert_eq!(spend(&second, key, 100).await, 50);
}

/// Told of while it was held, and before.
#[tokio::test]
async fn what_a_share_admitted_goes_back_wherever_it_counts_by_then() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [so_many(100), so_many(100).fixed(), so_many(100).sliding()] {
        let proxy = TcpProxy::start(server.address());
        let limiter = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(2))
            .breaker(1, Duration::from_millis(50))
            .build()
            .unwrap();
        let key = Key::of(&quota.to_string());
        assert!(limiter.decide(&key, 20).await.is_allowed());
        proxy.refuse();
        let mut without = 0;
        while limiter.stats().without < 5 {
            without += u32::from(limiter.decide(&key, 1).await.is_allowed());
        }
        let [told, untold] = [10, 8].map(|cost| limiter.reserve(&key, cost));
        let told = told.await.expect("within the share");
        untold.await.expect("within the share").commit(3);
        proxy.heal();
        while !limiter.stats().up || limiter.stats().untold > 0 {
            // Of another key: who asks finds the store again.
            let _ = limiter.decide(&Key::EVERYONE, 1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        told.commit(4);
        limiter.close().await.expect("the store has heard all");
        let second = crate::limiter(&server, quota);
        let left = 100 - 20 - without - 3 - 4;
        assert_eq!(spend(&second, key, 200).await, left, "{quota}");
    }
}

#[tokio::test]
async fn what_a_share_admitted_is_told_before_the_end() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let quota = so_many(500).fixed();
    let limiter = builder(&server.url_through(proxy.address()), quota)
        .on_failure(OnFailure::local_share(5))
        .breaker(u32::MAX, Duration::from_secs(1))
        .build()
        .unwrap();
    let key = |number: u64| Key::of(&number);
    assert!(limiter.decide(&key(0), 1).await.is_allowed());
    proxy.refuse();
    // More than are told at a time.
    let checks: Vec<_> = (1..=100).map(|number| (key(number), 7)).collect();
    for decision in limiter.decide_many(&checks).await.expect("few") {
        assert!(decision.is_allowed());
    }
    assert_eq!(limiter.stats().untold, 100);
    proxy.heal();
    limiter.close().await.expect("the store has heard all");
    assert_eq!(limiter.stats().untold, 0);
    let second = crate::limiter(&server, quota);
    for number in [1, 50, 100] {
        assert_eq!(spend(&second, key(number), 500).await, 493);
    }
}
