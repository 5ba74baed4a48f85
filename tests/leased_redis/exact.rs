//! One limit over all handles: never above what its rules say.

use crate::{builder, limiter, micros, so_many, spend};
use std::time::Duration;
use tidegate::quota::Calendar;
use tidegate::{Key, Quota, Verdict};
use tidegate_test_support::RedisServer;

#[tokio::test]
async fn handles_that_hammer_one_key_get_exactly_the_limit_together() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for (number, quota) in [
        so_many(2_997),
        so_many(2_997).fixed(),
        so_many(2_997).sliding(),
        Quota::calendar(2_997, Calendar::MONTH),
    ]
    .into_iter()
    .enumerate()
    {
        let key = Key::of(&(number as u64));
        let limiters = [(); 4].map(|()| limiter(&server, quota));
        let mut callers = tokio::task::JoinSet::new();
        for limiter in &limiters {
            for _ in 0..20 {
                let limiter = limiter.clone();
                callers.spawn(async move { spend(&limiter, key, 60).await });
            }
        }
        let mut allowed: u32 = callers.join_all().await.into_iter().sum();
        assert!(allowed <= 2_997, "{quota}: {allowed}");
        for limiter in limiters {
            limiter.close().await.expect("the store has heard all");
        }
        // What was in hand at the end.
        let last = limiter(&server, quota);
        allowed += spend(&last, key, 5_000).await;
        assert_eq!(allowed, 2_997, "{quota}");
        assert_eq!(last.overshoot_bound(4), 0);
    }
}

#[tokio::test]
async fn no_window_of_the_servers_clock_sees_more_than_the_limit() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    const WINDOW: u64 = 200_000;
    for quota in ["300/200ms fixed", "300/200ms sliding"] {
        let quota: Quota = quota.parse().expect("a quota");
        let limiters = [(); 3].map(|()| limiter(&server, quota));
        let key = Key::of(&quota.to_string());
        let before = micros(&server);
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..12 {
            let limiter = limiters[number % 3].clone();
            callers.spawn(async move {
                let mut allowed = 0_u64;
                for _ in 0..4_000 {
                    let decision = limiter.decide(&key, 1).await;
                    allowed += u64::from(decision.is_allowed());
                    if let Some(wait) = decision.retry_after() {
                        tokio::time::sleep(wait.min(Duration::from_millis(1))).await;
                    }
                }
                allowed
            });
        }
        let allowed: u64 = callers.join_all().await.into_iter().sum();
        let windows = micros(&server) / WINDOW - before / WINDOW + 1;
        assert!(
            windows > 2 && allowed > 300,
            "{quota}: {windows} windows, {allowed}"
        );
        assert!(
            allowed <= 300 * windows,
            "{quota}: {allowed} in {windows} windows"
        );
    }
}

#[tokio::test]
async fn a_bucket_gives_no_more_than_came_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiters = [(); 3].map(|()| limiter(&server, Quota::per_second(2_000).burst(100)));
    let before = micros(&server);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let limiter = limiters[number % 3].clone();
        callers.spawn(async move {
            let mut allowed = 0;
            for _ in 0..2_000 {
                let decision = limiter.decide(&Key::EVERYONE, 1).await;
                allowed += u64::from(decision.is_allowed());
                if !decision.is_allowed() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            allowed
        });
    }
    let allowed: u64 = callers.join_all().await.into_iter().sum();
    let passed = micros(&server) - before;
    let most = 100 + passed * 2_000 / 1_000_000 + 1;
    assert!(
        allowed >= 100 && allowed <= most,
        "{allowed} in {passed} us"
    );
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_still_counts_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, so_many(100).fixed());
    for left in (0..100).rev() {
        if left % 3 == 0 {
            server.cli(&["SCRIPT", "FLUSH"]);
        }
        let decision = limiter.decide(&Key::EVERYONE, 1).await;
        assert!(decision.is_allowed(), "{left}: {decision:?}");
    }
    assert!(!limiter.decide(&Key::EVERYONE, 1).await.is_allowed());
    assert_eq!(limiter.stats().failures, 0);
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
    assert!(denied.binding().retry_after().is_some());
    assert_eq!(denied.each()[1].remaining(), 3);
    assert_eq!(limiter.decide(&key, 6).await.outcome(), Verdict::TooLarge);
    assert_eq!(limiter.peek_each(&key).each()[1].remaining(), 3);
    assert_eq!(limiter.stats().asked, 2);
}

#[tokio::test]
async fn a_limit_of_zero_denies_everything_whether_the_store_answers_or_not() {
    let server = RedisServer::start();
    let url = server.as_ref().map(RedisServer::url);
    for url in ["redis://127.0.0.1:1".to_owned()].into_iter().chain(url) {
        for quota in ["0/s", "0/min fixed", "0/h sliding", "0/month"] {
            let closed = builder(&url, quota.parse().expect("a quota"));
            let closed = closed.build().expect("it denies everything");
            assert!(!closed.check(&Key::of("a"), 1).is_allowed(), "{quota}");
            let denied = closed.decide(&Key::of("a"), 1).await;
            assert_eq!(denied.outcome(), Verdict::Deny, "{quota}");
            assert_eq!(denied.retry_after(), None, "{quota}");
        }
    }
}

#[tokio::test]
async fn the_bound_is_what_was_allowed_to_be_late() {
    let build = |quota| {
        builder("redis://127.0.0.1:1", quota)
            .late(7)
            .build()
            .unwrap()
    };
    assert_eq!(build(Quota::per_second(10)).overshoot_bound(5), 35);
    assert_eq!(build(Quota::per_second(10).sliding()).overshoot_bound(5), 0);
}

#[tokio::test]
async fn what_was_spent_stays_spent_under_another_limit() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for kind in [|quota| quota, Quota::fixed, Quota::sliding] {
        for (from, spent, to, left) in
            [(100, 100, 1_000, 900), (100, 30, 40, 10), (100, 100, 40, 0)]
        {
            let (before, after) = (kind(so_many(from)), kind(so_many(to)));
            let key = Key::of(&(before.to_string(), spent, to));
            let first = limiter(&server, before);
            assert_eq!(spend(&first, key, spent).await, spent, "{before}");
            first.close().await.expect("the store has heard all");
            let second = limiter(&server, after);
            assert_eq!(
                spend(&second, key, 9_999).await,
                left,
                "{before} to {after}"
            );
        }
    }
}
