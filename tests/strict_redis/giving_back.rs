//! What goes back reaches the server once, whatever is lost on the way: reservations, refunds, and what was booked for
//! nobody.

use crate::{
    PAUSE, builder, kinds, left, limiter, on_a_manual_clock, so_many, until, until_down, until_up,
};
use std::time::Duration;
use tidegate::Key;
use tidegate::decision::Verdict;
use tidegate::strict::OnFailure;
use tidegate_test_support::{Data, Direction, RedisServer, TcpProxy};

/// The server hears of it, and the answer is lost: told again, it does not count again.
#[tokio::test]
async fn what_was_given_back_and_not_confirmed_goes_back_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let far = builder(&server.url_through(proxy.address()), quota);
        let (far, lever) = on_a_manual_clock(far.patience(Duration::from_secs(1)));
        let near = limiter(&server, quota);
        let [first, second] = [far.reserve(&key, 10).await, far.reserve(&key, 20).await];
        assert!(near.decide(&key, 30).await.is_allowed());
        proxy.hold_one_way(Direction::Responses);
        first.expect("room for it").commit(4).await;
        second.expect("room for it").cancel().await;
        let stats = far.stats();
        assert_eq!((stats.failures, stats.untold, stats.up), (2, 1, false));
        until(async || left(&near, key).await == 46).await;
        proxy.cut();
        proxy.heal();
        lever.advance(PAUSE);
        until_up(&far, &lever).await;
        for limiter in [&far, &near] {
            assert_eq!(left(limiter, key).await, 66, "{quota}");
        }
        assert_eq!(far.stats().untold, 0);
    }
}

/// What is lost is the message itself: nobody asks anything, and it goes back all the same.
#[tokio::test]
async fn what_the_server_did_not_hear_of_is_told_in_the_background() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let far = builder(&server.url_through(proxy.address()), quota);
        let far = far.patience(Duration::from_secs(2));
        let far = far.breaker(1, Duration::from_millis(10)).build().unwrap();
        let near = limiter(&server, quota);
        let reservation = far.reserve(&key, 10).await.expect("room for it");
        assert!(far.decide(&key, 5).await.is_allowed());
        proxy.refuse();
        far.refund(&key, 2).await;
        drop(reservation);
        until(async || far.stats().untold == 1 && !far.stats().up).await;
        assert_eq!(left(&near, key).await, 85, "{quota}");
        // Also when nobody has the limiter any more.
        drop(far);
        proxy.heal();
        until(async || left(&near, key).await == 97).await;
    }
}

#[tokio::test]
async fn a_server_that_was_away_hears_of_everything_that_goes_back_in_few_messages() {
    let Some(mut server) = RedisServer::builder().persistent().start() else {
        return;
    };
    let (limiter, lever) = on_a_manual_clock(builder(&server.url(), so_many(1_000).fixed()));
    let key = Key::of("a");
    let mut reservations = Vec::new();
    for _ in 0..200 {
        reservations.push(limiter.reserve(&key, 2).await.expect("room for it"));
    }
    server.kill();
    for reservation in reservations {
        reservation.commit(1).await;
    }
    assert_eq!(limiter.stats().untold, 1);
    server.restart(Data::Keep);
    lever.advance(PAUSE);
    until_up(&limiter, &lever).await;
    let before = limiter.stats().asked;
    assert_eq!(left(&limiter, key).await, 800);
    let messages = limiter.stats().asked - before;
    assert!((1..=6).contains(&messages), "{messages}");
    assert_eq!((limiter.stats().untold, limiter.stats().kept), (0, 0));
}

/// Refused, since no answer came in time; it came later, and said that it was booked.
#[tokio::test]
async fn what_was_booked_for_nobody_goes_back_when_the_answer_comes() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for policy in [OnFailure::Deny, OnFailure::local_share(2)] {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&format!("{policy:?}"));
        let far = builder(&server.url_through(proxy.address()), so_many(100));
        let far = far.patience(Duration::from_secs(1)).on_failure(policy);
        let (far, _lever) = on_a_manual_clock(far);
        let near = limiter(&server, so_many(100));
        assert!(far.decide(&key, 30).await.is_allowed());
        proxy.hold_one_way(Direction::Responses);
        // More than a share.
        let refused = far.decide(&key, 60).await;
        assert!(!refused.is_allowed(), "{refused:?}");
        until(async || left(&near, key).await == 10).await;
        proxy.heal();
        until(async || left(&near, key).await == 70).await;
        assert_eq!(far.stats().failures, 1);
    }
}

/// Also before the breaker has opened: of a key of which something passed uncounted, that is what is refunded first.
#[tokio::test]
async fn where_everything_passes_nothing_goes_back_that_was_never_booked() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let far = builder(&server.url_through(proxy.address()), quota);
        let (far, lever) = on_a_manual_clock(far.on_failure(OnFailure::Allow));
        assert!(far.decide(&key, 50).await.is_allowed());
        proxy.refuse();
        assert_eq!(far.decide(&key, 10).await.outcome(), Verdict::Allow);
        assert!(far.stats().up && far.stats().failures == 1);
        far.refund(&key, 4).await;
        assert_eq!(far.stats().untold, 0, "{quota}");
        proxy.heal();
        until_up(&far, &lever).await;
        assert_eq!(left(&far, key).await, 50, "{quota}");
        far.refund(&key, 9).await;
        assert_eq!(left(&far, key).await, 53, "{quota}");
        proxy.refuse();
        while far.stats().up {
            assert_eq!(far.decide(&key, 10).await.outcome(), Verdict::Allow);
        }
        let passed = far.reserve(&key, 10).await.expect("it passes");
        passed.cancel().await;
        assert_eq!(far.stats().untold, 0, "{quota}");
        proxy.heal();
        until_up(&far, &lever).await;
        assert_eq!(left(&far, key).await, 53, "{quota}");
    }
}

/// It was let pass, and the store says later that it has booked it: before it is settled, and after.
#[tokio::test]
async fn what_was_let_pass_and_counted_after_all_goes_back_as_any_reservation() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in kinds() {
        let proxy = TcpProxy::start(server.address());
        let key = Key::of(&quota.to_string());
        let far = builder(&server.url_through(proxy.address()), quota);
        let far = far.patience(Duration::from_secs(1));
        let (far, lever) = on_a_manual_clock(far.on_failure(OnFailure::Allow));
        let near = limiter(&server, quota);
        until_up(&far, &lever).await;
        proxy.hold_one_way(Direction::Responses);
        let [first, second] = [10, 20].map(|cost| far.reserve(&key, cost));
        let (first, second) = tokio::join!(first, second);
        let [first, second] = [first, second].map(|it| it.expect("it passes"));
        until(async || left(&near, key).await == 70).await;
        first.cancel().await;
        proxy.heal();
        until_up(&far, &lever).await;
        until(async || left(&near, key).await == 80).await;
        second.commit(15).await;
        until(async || left(&near, key).await == 85).await;
        // What the store has counted is refunded there.
        far.refund(&key, 5).await;
        until(async || left(&near, key).await == 90).await;
        // And what it has not is not, whoever was settled before the store was heard.
        proxy.hold_one_way(Direction::Responses);
        let counted = far.reserve(&key, 10).await.expect("it passes");
        until(async || left(&near, key).await == 80).await;
        counted.cancel().await;
        until_down(&far).await;
        assert!(far.decide(&key, 10).await.is_allowed());
        proxy.heal();
        until_up(&far, &lever).await;
        until(async || left(&near, key).await == 90).await;
        far.refund(&key, 10).await;
        assert_eq!(
            (far.stats().untold, left(&near, key).await),
            (0, 90),
            "{quota}"
        );
    }
}

/// Something else is where the server keeps the numbers of messages: what goes back cannot be told, and all else can.
#[tokio::test]
async fn a_server_that_refuses_what_goes_back_decides_all_the_same() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, so_many(100).fixed());
    let key = Key::of("a");
    let reservation = limiter.reserve(&key, 10).await.expect("room for it");
    let rates = server.cli(&["EVAL", "return redis.call('KEYS', '*')[1]", "0"]);
    let heard = rates.text().replace(":rates", ":heard");
    server.cli(&["LPUSH", &heard, "a stranger"]);
    reservation.cancel().await;
    for left in (85..90).rev() {
        let decision = limiter.decide(&key, 1).await;
        assert_eq!((decision.is_allowed(), decision.remaining()), (true, left));
    }
    server.cli(&["DEL", &heard]);
    assert_eq!(left(&limiter, key).await, 95);
}
