//! Leased limits on a real Redis: never above the limit over handles that stand for processes, and nothing is lost when
//! they end, the store ends, or scripts are forgotten.
#![cfg(feature = "redis")]

use std::time::Duration;
use tidegate::classify::Answer;
use tidegate::leased::{LeasedLimiter, LeasedLimiterBuilder};
use tidegate::limiter::{AnyLimiter, Asking, Count, Deciding};
use tidegate::quota::Calendar;
use tidegate::store::RedisStore;
use tidegate::strict::OnFailure;
use tidegate::time::Clock;
use tidegate::{Key, Quota, Verdict};
use tidegate_test_support::{Data, RedisServer, TcpProxy};

/// A busy machine is no dead store.
const PATIENCE: Duration = Duration::from_secs(10);

fn builder(url: &str, quota: Quota) -> LeasedLimiterBuilder {
    let store = RedisStore::new(url).expect("an address");
    LeasedLimiter::builder(store, "test", quota).patience(PATIENCE)
}

/// With a connection of its own, as a process has.
fn limiter(server: &RedisServer, quota: Quota) -> LeasedLimiter {
    builder(&server.url(), quota).build().expect("a limiter")
}

/// On a clock that stands still: what is in hand stays there, and what is remembered is.
fn standing_still(server: &RedisServer, quota: Quota) -> LeasedLimiter {
    let (clock, _) = Clock::manual();
    let builder = builder(&server.url(), quota).clock(clock);
    builder.build().expect("a limiter")
}

/// Units of this come back in years: within a test it is a plain count.
fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

/// Microseconds on the server's clock.
fn micros(server: &RedisServer) -> u64 {
    let script = "local t = redis.call('TIME') return t[1] * 1000000 + t[2]";
    server.cli(&["EVAL", script, "0"]).integer().unsigned_abs()
}

/// Decides until it is denied, or `most` times; answers how often it was allowed.
async fn spend(limiter: &LeasedLimiter, key: Key, most: u32) -> u32 {
    let mut allowed = 0;
    while allowed < most && limiter.decide(&key, 1).await.is_allowed() {
        allowed += 1;
    }
    allowed
}

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
    let last = self::limiter(&server, quota);
    spent += spend(&last, key, 9_999).await;
    assert_eq!(spent, 5_000);
    server.restart(Data::Lose);
    drop(last);
    let anew = self::limiter(&server, quota);
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
    let second = self::limiter(&server, quota);
    assert_eq!(spend(&second, key, 100).await, 50);
}

#[tokio::test]
async fn callers_that_wait_get_their_turn() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, Quota::per_second(1).burst(1));
    let any = AnyLimiter::from(limiter.clone());
    let key = Key::of("a");
    assert!(any.decide(&key, 1).await.is_allowed());
    assert!(!any.decide(&key, 1).await.is_allowed());
    let ready = limiter.until_ready(&key, 1, Duration::from_secs(60)).await;
    assert!(ready.is_allowed(), "{ready:?}");
    let denied = limiter.until_ready(&key, 1, Duration::from_micros(1)).await;
    assert!(!denied.is_allowed(), "{denied:?}");
}

#[tokio::test]
async fn what_has_no_point_is_denied_before_it_is_its_turn() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, so_many(5).fixed());
    let key = Key::of("a");
    assert!(limiter.decide(&key, 4).await.is_allowed());
    let mut first = Box::pin(limiter.until_ready(&key, 2, Quota::MAX_WINDOW));
    assert!(poll_once(first.as_mut()).is_none(), "it waits");
    let soon = Duration::from_secs(60);
    let ready = |cost| poll_once(std::pin::pin!(limiter.until_ready(&key, cost, soon)));
    assert_eq!(ready(9).expect("it is clear").outcome(), Verdict::TooLarge);
    assert_eq!(ready(3).expect("it is clear").outcome(), Verdict::Deny);
    assert!(ready(1).is_none(), "one is left, for whoever comes first");
}

/// Whether it is ready now.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn what_comes_for_a_caller_that_has_gone_is_there_for_the_next() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, so_many(1).fixed());
    // The answer may be there at once.
    let mut number = 0_u64;
    let key = loop {
        let key = Key::of(&number);
        let mut deciding = Box::pin(limiter.decide(&key, 1));
        number += 1;
        if poll_once(deciding.as_mut()).is_none() {
            while limiter.stats().asked < number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            break key;
        }
    };
    while limiter.stats().held == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(limiter.check(&key, 1).is_allowed());
    assert!(!limiter.decide(&key, 1).await.is_allowed());
}

#[tokio::test]
async fn a_layer_waits_only_for_what_is_not_in_hand() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let any = AnyLimiter::from(standing_still(&server, so_many(2).fixed()));
    let AnyLimiter::Leased(limiter) = &any else {
        unreachable!("made of one");
    };
    let key = Key::of("a");
    let ask = |count| Asking {
        count,
        each: false,
        max_wait: Duration::ZERO,
    };
    let Deciding::Later(later) = any.decide_for(key, 1, ask(Count::Failures)) else {
        panic!("nothing is in hand");
    };
    let counting = later.await.counting.expect("it is reserved");
    let _ = counting.answered(Answer::Status(200), false);
    // It did not count, so it is in hand.
    assert_eq!(limiter.stats().held, 1);
    let Deciding::Now(now) = any.decide_for(key, 1, ask(Count::Failures)) else {
        panic!("it is in hand");
    };
    let counting = now.counting.expect("it is reserved");
    let _ = counting.answered(Answer::Status(404), false);
    assert_eq!(limiter.stats().held, 0);
    assert!(any.decide(&key, 1).await.is_allowed());
    assert!(!any.decide(&key, 1).await.is_allowed());
    // Remembered, so not waited for either.
    let Deciding::Now(now) = any.decide_for(key, 1, ask(Count::All)) else {
        panic!("it is remembered");
    };
    assert!(now.decisions.binding().retry_after().is_some());
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

#[test]
fn the_builder_refuses_what_cannot_work() {
    let builder = || builder("redis://127.0.0.1:1", Quota::per_second(10));
    let says = |builder: LeasedLimiterBuilder| builder.build().unwrap_err().to_string();
    let log = Quota::per_second(10).sliding_log();
    assert!(says(builder().also("log", log)).contains("10/s log: write one with .sliding()"));
    let soft = Quota::per_second(10).soft(5);
    assert!(says(builder().also("soft", soft)).contains("StrictLimiter"));
    assert!(says(builder().max_batch(0)).contains("batch"));
    assert!(says(builder().max_batch(9).late(9)).contains("below max_batch"));
    assert!(says(builder().max_keys(0)).contains("max_keys"));
    assert!(says(builder().patience(Duration::ZERO)).contains("patience"));
    assert!(says(builder().also("default", Quota::per_hour(1))).contains("default"));
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
