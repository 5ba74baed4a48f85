//! Denials that are remembered: for a second a flood of what is denied anyway costs no round trips.

use crate::{builder, limiter, on_a_manual_clock, so_many, to_noon, until};
use std::pin::pin;
use std::time::Duration;
use tidegate::decision::Verdict;
use tidegate::quota::Calendar;
use tidegate::{Key, Quota};
use tidegate_test_support::{Direction, RedisServer, TcpProxy};

#[tokio::test]
async fn a_flood_of_denied_requests_costs_no_round_trips() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (limiter, lever) = on_a_manual_clock(builder(&server.url(), Quota::per_hour(1)));
    let key = Key::of("a");
    assert!(limiter.decide(&key, 1).await.is_allowed());
    let first = limiter.decide(&key, 1).await;
    let asked = limiter.stats().asked;
    let moment = Duration::from_millis(900);
    lever.advance(moment);
    for _ in 0..1_000 {
        let again = limiter.decide(&key, 1).await;
        assert_eq!(
            first.retry_after().unwrap() - again.retry_after().unwrap(),
            moment
        );
    }
    assert_eq!(limiter.stats().asked, asked);
    assert_eq!(limiter.stats().remembered, 1_000);
    // Another key, and a look at this one.
    assert!(limiter.decide(&Key::of("b"), 1).await.is_allowed());
    assert_eq!(limiter.peek(&key).await.remaining(), 0);
    lever.advance(Duration::from_secs(3_600));
    // The time of this process is over: the store is asked, whose is not.
    assert!(!limiter.decide(&key, 1).await.is_allowed());
    assert_eq!(limiter.stats().asked, asked + 3);
}

#[tokio::test]
async fn what_another_process_gives_back_is_seen_within_a_second() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::per_hour(1);
    let (limiter, lever) = on_a_manual_clock(builder(&server.url(), quota));
    let other = builder(&server.url(), quota).build().expect("a limiter");
    let key = Key::of("a");
    let reservation = other.reserve(&key, 1).await.expect("room for it");
    assert!(!limiter.decide(&key, 1).await.is_allowed());
    reservation.cancel().await;
    assert!(!limiter.decide(&key, 1).await.is_allowed());
    lever.advance(Duration::from_secs(1));
    assert!(limiter.decide(&key, 1).await.is_allowed());
}

/// Asked before it went back, and answered after.
#[tokio::test]
async fn a_denial_is_forgotten_when_it_is_heard_that_something_went_back() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let quota = Quota::per_hour(1);
    let (far, _lever) = on_a_manual_clock(builder(&server.url_through(proxy.address()), quota));
    let (near, key) = (limiter(&server, quota), Key::of("a"));
    let reservation = far.reserve(&key, 1).await.expect("room for it");
    proxy.hold_one_way(Direction::Responses);
    let mut decision = pin!(far.decide(&key, 1));
    assert!(futures_util::poll!(&mut decision).is_pending());
    let mut cancelled = pin!(reservation.cancel());
    assert!(futures_util::poll!(&mut cancelled).is_pending());
    until(async || near.peek(&key).await.remaining() == 1).await;
    proxy.heal();
    assert_eq!(decision.await.outcome(), Verdict::Deny);
    cancelled.await;
    // No time has passed here since it was denied.
    assert!(far.decide(&key, 1).await.is_allowed());
}

#[tokio::test]
async fn a_flood_of_larger_costs_costs_no_round_trips_either() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [
        Quota::per_hour(10),
        Quota::per_hour(10).fixed(),
        Quota::per_hour(10).sliding(),
        Quota::calendar(10, Calendar::MONTH.utc_offset(to_noon(&server))),
    ] {
        let limiter = builder(&server.url(), quota).build().expect("a limiter");
        let (key, other) = (Key::of(&quota.to_string()), Key::of("other"));
        assert!(limiter.decide(&key, 8).await.is_allowed());
        let first = limiter.decide(&key, 4).await;
        let asked = limiter.stats().asked;
        for cost in [4, 5, 10, 9, 6] {
            let denied = limiter.decide(&key, cost).await;
            assert_eq!(denied.outcome(), Verdict::Deny, "{quota}");
            // No less than the smaller cost, from a moment ago.
            let moment = Duration::from_secs(10);
            assert!(denied.retry_after().unwrap() + moment >= first.retry_after().unwrap());
            // As exact as if the store had been asked.
            let peer = builder(&server.url(), quota).build().expect("a limiter");
            let exact = peer.decide(&key, cost).await.retry_after().unwrap();
            assert!(
                denied.retry_after().unwrap().abs_diff(exact) < moment,
                "{quota}"
            );
        }
        assert_eq!(limiter.stats().asked, asked, "{quota}");
        // What could never fit is known without the store.
        for key in [key, other] {
            let never = limiter.decide(&key, 11).await;
            assert_eq!(never.outcome(), Verdict::TooLarge, "{quota}");
        }
        assert_eq!(limiter.stats().asked, asked, "{quota}");
        // And less may fit.
        assert!(limiter.decide(&key, 2).await.is_allowed(), "{quota}");
    }
}

/// Of a log it is not known here what a larger cost has to wait: each of them is asked about, once.
#[tokio::test]
async fn a_flood_of_several_costs_asks_once_about_each() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let log = Quota::per_hour(10).sliding_log();
    let (limiter, _lever) = on_a_manual_clock(builder(&server.url(), log));
    let key = Key::of("a");
    assert!(limiter.decide(&key, 10).await.is_allowed());
    let asked = limiter.stats().asked;
    for cost in [3, 1, 2].repeat(100) {
        assert_eq!(limiter.decide(&key, cost).await.outcome(), Verdict::Deny);
    }
    let stats = limiter.stats();
    assert_eq!((stats.asked - asked, stats.remembered), (3, 297));
}

#[tokio::test]
async fn past_the_hard_limit_of_a_soft_one_a_flood_costs_no_round_trips() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = so_many(10).soft(2);
    let limiter = limiter(&server, quota).clone();
    let key = Key::of("a");
    let mut allowed = 0;
    while allowed < 10 {
        let decision = limiter.decide(&key, 1).await;
        allowed += u32::from(decision.is_allowed());
        // Below the hard limit the next one may pass by chance.
        assert_eq!(limiter.stats().remembered, 0);
    }
    assert!(!limiter.decide(&key, 1).await.is_allowed());
    let asked = limiter.stats().asked;
    for cost in [1, 2, 1, 3] {
        assert!(!limiter.decide(&key, cost).await.is_allowed());
    }
    assert_eq!(limiter.stats().asked, asked);
}
