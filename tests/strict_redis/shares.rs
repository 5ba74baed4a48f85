//! What was admitted without the store counts once, however late it is told and whatever is lost on the way.

use crate::{
    PAUSE, builder, kinds, left, limiter, on_a_manual_clock, so_many, until, until_down,
    until_told, until_up,
};
use std::time::Duration;
use tidegate::decision::Verdict;
use tidegate::strict::OnFailure;
use tidegate::{Key, Quota};
use tidegate_test_support::{Direction, RedisServer, TcpProxy};

#[tokio::test]
async fn a_local_share_is_kept_and_told_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let share = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(5));
        let (limiter, lever) = on_a_manual_clock(share);
        assert!(limiter.decide(&key, 30).await.is_allowed());
        proxy.refuse();
        let mut allowed = 0;
        for _ in 0..50 {
            allowed += u32::from(limiter.decide(&key, 1).await.is_allowed());
        }
        assert_eq!(allowed, 20, "{quota}");
        assert_eq!(limiter.stats().untold, 1);
        proxy.heal();
        until_up(&limiter, &lever).await;
        let left = limiter.peek(&key).await.remaining();
        assert_eq!((left, limiter.stats().untold), (50, 0), "{quota}");
        assert_eq!(limiter.peek(&key).await.remaining(), 50);
    }
}

/// Its share would be half of the quota once more.
#[tokio::test]
async fn who_had_spent_the_quota_has_no_share_of_it_until_the_store_would_let_it_in() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let [key, other] = ["spent", "new"].map(|name| Key::of(&(name, quota.to_string())));
        let share = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(2));
        let (limiter, lever) = on_a_manual_clock(share);
        assert!(limiter.decide(&key, 100).await.is_allowed());
        let told = limiter.decide(&key, 1).await.retry_after();
        let told = told.expect("it comes back");
        // The store is asked again, about more: that is no word against what it said of less.
        lever.advance(Duration::from_secs(2));
        assert!(!limiter.decide(&key, 5).await.is_allowed(), "{quota}");
        proxy.refuse();
        until_down(&limiter).await;
        // Longer than a denial is remembered of a store that can be asked.
        lever.advance(Duration::from_secs(3));
        for cost in [1, 2, 50] {
            let denied = limiter.decide(&key, cost).await;
            assert_eq!(denied.outcome(), Verdict::Deny, "{quota} of {cost}");
            let left = denied.retry_after().expect("it comes back");
            assert!(left + Duration::from_secs(60) > told, "{quota} of {cost}");
        }
        assert!(limiter.decide(&other, 50).await.is_allowed(), "{quota}");
        assert!(!limiter.decide(&other, 1).await.is_allowed(), "{quota}");
        lever.advance(told);
        assert!(limiter.decide(&key, 1).await.is_allowed(), "{quota}");
    }
}

/// Told of while it was held, and before.
#[tokio::test]
async fn what_a_share_admitted_goes_back_wherever_it_counts_by_then() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let share = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(2));
        let (far, lever) = on_a_manual_clock(share);
        let near = limiter(&server, quota);
        assert!(far.decide(&key, 20).await.is_allowed());
        proxy.refuse();
        until_down(&far).await;
        let [told, untold] = [10, 8].map(|cost| far.reserve(&key, cost));
        let told = told.await.expect("within the share");
        untold.await.expect("within the share").commit(3).await;
        // Of 13 that the store does not know of, and of 20 that it does.
        far.refund(&key, 5).await;
        proxy.heal();
        until_told(&far, &lever).await;
        assert_eq!(left(&near, key).await, 72, "{quota}");
        told.cancel().await;
        assert_eq!(left(&near, key).await, 82, "{quota}");
        proxy.refuse();
        until_down(&far).await;
        assert!(far.decide(&key, 4).await.is_allowed());
        far.refund(&key, 9).await;
        proxy.heal();
        until_told(&far, &lever).await;
        assert_eq!(left(&near, key).await, 87, "{quota}");
    }
}

/// Somebody else has what came back meanwhile: in the share, and in what the store is to be told.
#[tokio::test]
async fn what_has_come_back_by_itself_is_not_given_back_as_well() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (window, hour) = (Duration::from_secs(3_600), Quota::per_hour(10));
    for quota in [hour, hour.fixed(), hour.sliding_log()] {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let share = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(1));
        let (far, lever) = on_a_manual_clock(share);
        proxy.refuse();
        until_down(&far).await;
        let first = far.reserve(&key, 10).await.expect("within the share");
        lever.advance(window);
        assert!(far.decide(&key, 10).await.is_allowed(), "{quota}");
        first.cancel().await;
        assert!(!far.decide(&key, 1).await.is_allowed(), "{quota}");
        assert_eq!(far.stats().untold, 1, "{quota}");
    }
}

#[tokio::test]
async fn what_was_counted_though_its_answer_came_too_late_is_not_told_again() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let key = Key::EVERYONE;
    let share = builder(&server.url_through(proxy.address()), so_many(100))
        .patience(Duration::from_secs(2))
        .on_failure(OnFailure::local_share(2));
    let (limiter, _lever) = on_a_manual_clock(share);
    assert!(limiter.decide(&key, 30).await.is_allowed());
    proxy.hold_one_way(Direction::Responses);
    assert!(limiter.decide(&key, 7).await.is_allowed());
    assert_eq!((limiter.stats().failures, limiter.stats().untold), (1, 1));
    proxy.heal();
    for _ in 0..2_000 {
        if limiter.stats().untold == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(limiter.peek(&key).await.remaining(), 63);
    assert_eq!(limiter.stats().failures, 1);
}

/// The server books what it is told, and the answer is lost: told again, it does not count again.
#[tokio::test]
async fn what_was_told_and_not_confirmed_counts_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let far = builder(&server.url_through(proxy.address()), quota);
        let (far, lever) = on_a_manual_clock(far.patience(Duration::from_secs(1)));
        let near = limiter(&server, quota);
        let reservation = far.reserve(&key, 10).await.expect("room for it");
        proxy.hold_one_way(Direction::Responses);
        reservation.commit(30).await;
        for _ in 0..3 {
            let answer = far.peek(&key).await;
            assert_eq!(answer.outcome(), Verdict::Unavailable, "{quota}");
        }
        assert_eq!((far.stats().failures, far.stats().untold), (2, 1));
        proxy.cut();
        proxy.heal();
        lever.advance(PAUSE);
        until_up(&far, &lever).await;
        let left = [&far, &near].map(|limiter| limiter.peek(&key));
        for left in futures_util::future::join_all(left).await {
            assert_eq!(left.remaining(), 70, "{quota}");
        }
        assert_eq!(far.stats().untold, 0);
    }
}

/// Of each decision under way the server has booked it, and its answer is lost for good with the connection.
#[tokio::test]
async fn what_was_under_way_when_the_connection_broke_counts_twice_at_most_and_once_at_least() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [so_many(100), so_many(100).fixed(), so_many(100).sliding()] {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let share = builder(&server.url_through(proxy.address()), quota)
            .on_failure(OnFailure::local_share(2));
        let (far, lever) = on_a_manual_clock(share);
        let near = limiter(&server, quota);
        assert!(far.decide(&key, 10).await.is_allowed());
        proxy.hold_one_way(Direction::Responses);
        let under_way: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let far = far.clone();
                    async move { far.decide(&key, 5).await.is_allowed() }
                })
            })
            .collect();
        until(async || near.peek(&key).await.remaining() == 75).await;
        proxy.refuse();
        for decision in under_way {
            assert!(decision.await.expect("no panic"), "within the share");
        }
        // The breaker is open: nothing of these is under way.
        until_down(&far).await;
        assert!(far.decide(&key, 6).await.is_allowed());
        proxy.heal();
        until_told(&far, &lever).await;
        let counted = 100 - near.peek(&key).await.remaining();
        let (once, twice) = (10 + 3 * 5 + 6, 3 * 5);
        assert!(
            (once..=once + twice).contains(&counted),
            "{quota}: {counted}"
        );
    }
}
