//! A store that fails: what is said meanwhile, and how it is found again.

use crate::{PAUSE, builder, on_a_manual_clock, so_many, until_up};
use std::time::Duration;
use tidegate::Key;
use tidegate::decision::Verdict;
use tidegate::strict::OnFailure;
use tidegate_test_support::{Data, RedisServer, TcpProxy};

#[tokio::test]
async fn deny_lets_nothing_pass_and_a_probe_finds_the_store_again() {
    let Some(mut server) = RedisServer::builder().persistent().start() else {
        return;
    };
    let key = Key::EVERYONE;
    let (limiter, lever) = on_a_manual_clock(builder(&server.url(), so_many(5)));
    assert_eq!(limiter.decide(&key, 2).await.remaining(), 3);
    server.kill();
    for _ in 0..20 {
        assert_eq!(
            limiter.decide(&key, 1).await.outcome(),
            Verdict::Unavailable
        );
    }
    let stats = limiter.stats();
    assert!(
        !stats.up && stats.failures == 2 && stats.asked == 3,
        "{stats:?}"
    );
    // A probe that fails.
    lever.advance(PAUSE);
    assert_eq!(
        limiter.decide(&key, 1).await.outcome(),
        Verdict::Unavailable
    );
    assert_eq!(limiter.stats().asked, 4);
    server.restart(Data::Keep);
    lever.advance(PAUSE);
    assert_eq!(
        limiter.decide(&key, 1).await.outcome(),
        Verdict::Unavailable
    );
    assert_eq!(
        limiter.stats().asked,
        4,
        "the second pause is twice as long"
    );
    lever.advance(PAUSE);
    until_up(&limiter, &lever).await;
    assert_eq!(limiter.peek(&key).await.remaining(), 3);
    server.restart(Data::Lose);
    until_up(&limiter, &lever).await;
    assert_eq!(limiter.peek(&key).await.remaining(), 5);
}

#[tokio::test]
async fn allow_lets_everything_pass() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let open =
        builder(&server.url_through(proxy.address()), so_many(1)).on_failure(OnFailure::Allow);
    let (limiter, _lever) = on_a_manual_clock(open);
    proxy.refuse();
    for _ in 0..20 {
        assert!(limiter.decide(&Key::EVERYONE, 1).await.is_allowed());
    }
    assert_eq!(limiter.stats().without, 20);
}

#[tokio::test]
async fn a_slow_store_is_waited_for_no_longer_than_told_and_then_left_alone() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let url = server.url_through(proxy.address());
    let quota = so_many(1_000);
    // Connects before it is slow.
    let (limiter, _lever) =
        on_a_manual_clock(builder(&url, quota).patience(Duration::from_secs(1)));
    assert!(limiter.decide(&Key::EVERYONE, 1).await.is_allowed());
    proxy.delay(Duration::from_secs(2));
    for _ in 0..100 {
        let decision = limiter.decide(&Key::EVERYONE, 1).await;
        assert_eq!(decision.outcome(), Verdict::Unavailable);
    }
    let stats = limiter.stats();
    assert_eq!((stats.asked, stats.failures, stats.up), (3, 2, false));
    // Those that were given up have been counted or not, but not twice.
    proxy.heal();
    let left = crate::limiter(&server, quota)
        .peek(&Key::EVERYONE)
        .await
        .remaining();
    assert!((997..=999).contains(&left), "{left}");
}
