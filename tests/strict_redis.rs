//! Strict limits against a real Redis: exact over all handles, and what happens when the store fails, forgets its
//! scripts, is slow or comes back.
#![cfg(feature = "redis")]

use std::io::Write;
use std::time::Duration;
use tidegate::decision::Verdict;
use tidegate::limiter::BatchError;
use tidegate::quota::Calendar;
use tidegate::store::RedisStore;
use tidegate::strict::{OnFailure, StrictLimiter, StrictLimiterBuilder};
use tidegate::time::{Clock, ManualClock};
use tidegate::{Key, Quota};
use tidegate_test_support::{Data, Direction, RedisBuilder, RedisServer, TcpProxy};

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(5);

fn builder(url: &str, quota: Quota) -> StrictLimiterBuilder {
    let store = RedisStore::new(url).expect("an address");
    StrictLimiter::builder(store, "test", quota).patience(PATIENCE)
}

fn limiter(server: &RedisServer, quota: Quota) -> StrictLimiter {
    builder(&server.url(), quota).build().expect("a limiter")
}

/// On a clock that is moved by hand, so that only the test ends a pause.
fn on_a_manual_clock(builder: StrictLimiterBuilder) -> (StrictLimiter, ManualClock) {
    let (clock, lever) = Clock::manual();
    let limiter = builder.clock(clock).breaker(2, PAUSE).build();
    (limiter.expect("a limiter"), lever)
}

/// Units of this come back in years: within a test it is a plain count.
fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

/// Minutes from UTC to where it is noon on the server's clock: no day and no month ends there for twelve hours.
fn to_noon(server: &RedisServer) -> i16 {
    let script = "return redis.call('TIME')[1] % 86400";
    let minute = server.cli(&["EVAL", script, "0"]).integer() / 60;
    i16::try_from(12 * 60 - minute).expect("a day has 1440 minutes")
}

/// A real server's clock, where libfaketime is installed; what may be said of any hour is in the unit tests.
#[tokio::test]
async fn nobody_waits_an_hour_because_the_servers_clock_was_put_back_by_one() {
    if !RedisBuilder::can_have_own_clock() {
        // To the stream itself: what a passing test prints through macros is swallowed.
        let _ = writeln!(std::io::stderr(), "SKIPPED, libfaketime is not installed");
        return;
    }
    let Some(server) = RedisServer::builder().own_clock().start() else {
        return;
    };
    let second = Quota::per_second(5);
    let quotas = [
        second,
        second.fixed(),
        second.sliding(),
        second.sliding_log(),
    ];
    for (number, quota) in quotas.into_iter().enumerate() {
        let limiter = limiter(&server, quota);
        let key = Key::of(&(number as u64));
        for ahead in [0, -3_600, 3_600, 0] {
            server.set_clock(ahead);
            let admitted = limiter.until_ready(&key, 1, PATIENCE).await;
            assert!(admitted.is_allowed(), "{quota:?} keeps out at {ahead} s");
            while limiter.decide(&key, 1).await.is_allowed() {}
        }
    }
}

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

/// Peeks until the store answers, over connections that are yet to be found broken.
async fn until_up(limiter: &StrictLimiter, lever: &ManualClock) {
    for _ in 0..100 {
        if limiter.peek(&Key::EVERYONE).await.outcome() == Verdict::Allow && limiter.stats().up {
            return;
        }
        lever.advance(40 * PAUSE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", limiter.stats());
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
async fn a_local_share_is_kept_and_told_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for quota in [
        so_many(100),
        so_many(100).fixed(),
        so_many(100).sliding(),
        so_many(100).sliding_log(),
    ] {
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
    for quota in [
        so_many(100),
        so_many(100).fixed(),
        so_many(100).sliding(),
        so_many(100).sliding_log(),
    ] {
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
    let left = self::limiter(&server, quota)
        .peek(&Key::EVERYONE)
        .await
        .remaining();
    assert!((997..=999).contains(&left), "{left}");
}

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
    lever.advance(Duration::from_secs(60));
    for _ in 0..1_000 {
        let again = limiter.decide(&key, 1).await;
        assert_eq!(
            first.retry_after().unwrap() - again.retry_after().unwrap(),
            Duration::from_secs(60)
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
    let limiter = self::limiter(&server, so_many(3).fixed());
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
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let quota = so_many(10).fixed();
    let near = limiter(&server, quota);
    let far = builder(&server.url_through(proxy.address()), quota);
    let far = far.build().expect("a limiter");
    let [a, b] = ["a", "b"].map(Key::of);
    assert!(far.peek(&a).await.is_allowed());
    proxy.hold_one_way(Direction::Responses);
    let checks = [(a, 4), (b, 5)];
    let batch = far.decide_all(&checks);
    let dropped = tokio::time::timeout(Duration::from_millis(200), batch).await;
    assert!(dropped.is_err());
    let booked = async |key| 10 - near.peek(&key).await.remaining();
    until(async || (booked(a).await, booked(b).await) == (4, 5)).await;
    proxy.heal();
    until(async || (booked(a).await, booked(b).await) == (0, 0)).await;
}

/// Asks again until it is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it has not become so");
}

#[test]
fn the_builder_refuses_what_cannot_work() {
    let builder = || builder("redis://127.0.0.1:1", Quota::per_second(10));
    let says = |builder: StrictLimiterBuilder| builder.build().unwrap_err().to_string();
    assert!(says(builder().on_failure(OnFailure::local_share(11))).contains("1/11 of 10/s"));
    assert!(says(builder().patience(Duration::ZERO)).contains("patience"));
    assert!(says(builder().breaker(0, PAUSE)).contains("circuit breaker"));
    assert!(says(builder().also("default", Quota::per_hour(1))).contains("default"));
    let odd = Quota::new(5, Duration::from_nanos(1_000_001)).unwrap();
    assert!(says(builder().also("odd", odd.fixed())).contains("microseconds"));
    let store = RedisStore::new("redis://127.0.0.1:1").unwrap();
    assert!(says(StrictLimiter::builder(store, "{a}", odd)).contains("namespace"));
}
