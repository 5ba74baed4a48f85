//! One limit over all handles: exactly as much as its rules say, whatever the server has forgotten of its scripts.

use crate::{builder, limiter, so_many, to_noon};
use std::time::Duration;
use tidegate::decision::Verdict;
use tidegate::quota::Calendar;
use tidegate::strict::OnFailure;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

#[tokio::test]
async fn handles_that_hammer_one_key_get_exactly_the_limit_together() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for (number, quota) in [
        so_many(37),
        so_many(37).fixed(),
        so_many(37).sliding(),
        so_many(37).sliding_log(),
        so_many(37).soft(37),
        Quota::calendar(37, Calendar::MONTH.utc_offset(to_noon(&server))),
    ]
    .into_iter()
    .enumerate()
    {
        let key = Key::of(&(number as u64));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            // Each with a connection of its own, as processes have.
            let limiter = limiter(&server, quota);
            for _ in 0..20 {
                let limiter = limiter.clone();
                callers.spawn(async move { limiter.decide(&key, 1).await });
            }
        }
        let decisions = callers.join_all().await;
        let allowed = decisions.iter().filter(|it| it.is_allowed()).count();
        assert_eq!(allowed, 37, "{quota}");
        assert!(
            decisions
                .iter()
                .all(|it| it.outcome() != Verdict::Unavailable)
        );
    }
}

#[tokio::test]
async fn who_waits_until_ready_gets_it_or_hears_at_once_that_it_takes_too_long() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (key, minute) = (Key::of("a"), Duration::from_secs(60));
    let fast = limiter(&server, Quota::per_second(1_000).burst(2));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let fast = fast.clone();
        callers.spawn(async move { fast.until_ready(&key, 1, minute).await });
    }
    for decision in callers.join_all().await {
        assert!(decision.is_allowed(), "{decision:?}");
    }
    let large = fast.until_ready(&key, 3, minute).await;
    assert_eq!(large.outcome(), Verdict::TooLarge);

    let slow = limiter(&server, so_many(1));
    assert!(slow.until_ready(&key, 1, minute).await.is_allowed());
    let late = slow.until_ready(&key, 1, minute).await;
    assert_eq!(late.outcome(), Verdict::Deny);
    assert!(late.retry_after().is_some_and(|wait| wait > minute));
    // Given up before its turn: nothing was booked for it.
    let eager = builder(&server.url(), Quota::per_hour(2)).name("eager");
    let eager = eager.build().unwrap();
    assert!(eager.decide(&key, 2).await.is_allowed());
    let day = Duration::from_secs(86_400);
    let waits = eager.until_ready(&key, 1, day);
    let gave_up = tokio::time::timeout(Duration::from_millis(100), waits).await;
    assert!(gave_up.is_err());
    let left = eager.peek(&key).await.reset_after();
    assert!(left <= Duration::from_secs(3_600), "{left:?}");
}

#[tokio::test]
async fn a_bucket_gives_no_more_than_came_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let script = "local t = redis.call('TIME') return t[1] * 1000000 + t[2]";
    let micros = || server.cli(&["EVAL", script, "0"]).integer().unsigned_abs();
    let limiters = [(); 3].map(|()| {
        let quota = Quota::per_second(200).burst(10);
        builder(&server.url(), quota)
            .denied_keys(0)
            .build()
            .unwrap()
    });
    let before = micros();
    let mut allowed = 0;
    for _ in 0..200 {
        for limiter in &limiters {
            allowed += u64::from(limiter.decide(&Key::EVERYONE, 1).await.is_allowed());
        }
    }
    let passed = micros() - before;
    assert!(
        allowed >= 10 && allowed <= 10 + passed * 200 / 1_000_000 + 1,
        "{allowed} in {passed} us"
    );
}

#[tokio::test]
async fn several_quotas_are_all_or_nothing_and_each_is_told() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = builder(&server.url(), so_many(5))
        .also("more", so_many(8).fixed())
        .build()
        .unwrap();
    let key = Key::of("a");
    assert!(limiter.decide(&key, 5).await.is_allowed());
    let denied = limiter.decide_each(&key, 2).await;
    assert_eq!(denied.binding().policy().as_str(), "default");
    assert_eq!(denied.each()[1].remaining(), 3);
    assert_eq!(limiter.decide(&key, 9).await.outcome(), Verdict::TooLarge);
    assert_eq!(limiter.peek_each(&key).await.each()[1].remaining(), 3);
    // Other limits, the same windows: the counts are still there.
    let reloaded = builder(&server.url(), so_many(7))
        .also("more", so_many(6).fixed())
        .build()
        .unwrap();
    let each: Vec<_> = reloaded
        .peek_each(&key)
        .await
        .each()
        .iter()
        .map(|it| it.remaining())
        .collect();
    assert_eq!(each[1], 1);
    assert!(each[0] <= 2);
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_still_counts_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, so_many(10));
    for left in (0..10).rev() {
        server.cli(&["SCRIPT", "FLUSH"]);
        assert_eq!(limiter.decide(&Key::EVERYONE, 1).await.remaining(), left);
    }
    assert!(!limiter.decide(&Key::EVERYONE, 1).await.is_allowed());
    assert_eq!(limiter.stats().failures, 0);
}

#[tokio::test]
async fn what_is_idle_is_forgotten_by_the_server() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, Quota::per_second(1_000).fixed());
    assert!(limiter.decide(&Key::of("a"), 1).await.is_allowed());
    let key = server.cli(&["EVAL", "return redis.call('KEYS', '*')[1]", "0"]);
    let key = key.text();
    assert!(key.starts_with("tidegate:1:{test:"), "{key}");
    let left = server.cli(&["PTTL", &key]).integer();
    assert!((1..=6_000).contains(&left), "{left} ms");
    assert!(limiter.peek(&Key::of("b")).await.is_allowed());
    assert_eq!(server.cli(&["DBSIZE"]).integer(), 1);
}

#[tokio::test]
async fn a_limit_of_zero_denies_everything_whether_the_store_answers_or_not() {
    let server = RedisServer::start();
    let url = server.as_ref().map(RedisServer::url);
    for url in ["redis://127.0.0.1:1".to_owned()].into_iter().chain(url) {
        for quota in ["0/s", "0/min fixed", "0/h sliding", "0/h log", "0/month"] {
            let quota = quota.parse().expect("a quota");
            let closed = builder(&url, quota).on_failure(OnFailure::Allow);
            let closed = closed.build().expect("it denies everything");
            for _ in 0..3 {
                let denied = closed.decide(&Key::of("a"), 1).await;
                assert!(!denied.is_allowed(), "{quota}");
                assert_eq!(denied.retry_after(), None, "{quota}");
            }
        }
    }
}
