//! Strict limits against a real Redis: exact over all handles, and what happens when the store fails, forgets its
//! scripts, is slow or comes back.
#![cfg(feature = "redis")]

mod bookings;
mod clock;
mod exact;
mod failures;
mod floods;
mod giving_back;
mod shares;

use std::time::Duration;
use tidegate::decision::Verdict;
use tidegate::store::RedisStore;
use tidegate::strict::{OnFailure, StrictLimiter, StrictLimiterBuilder};
use tidegate::time::{Clock, ManualClock};
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

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

/// A plain count of each kind of which what is given back can be seen.
fn kinds() -> [Quota; 4] {
    [
        so_many(100),
        so_many(100).fixed(),
        so_many(100).sliding(),
        so_many(100).sliding_log(),
    ]
}

async fn left(limiter: &StrictLimiter, key: Key) -> u32 {
    limiter.peek(&key).await.remaining()
}

/// Minutes from UTC to where it is noon on the server's clock: no day and no month ends there for twelve hours.
fn to_noon(server: &RedisServer) -> i16 {
    let script = "return redis.call('TIME')[1] % 86400";
    let minute = server.cli(&["EVAL", script, "0"]).integer() / 60;
    i16::try_from(12 * 60 - minute).expect("a day has 1440 minutes")
}

/// Peeks until the store is left alone.
async fn until_down(limiter: &StrictLimiter) {
    while limiter.stats().up {
        let _ = limiter.peek(&Key::EVERYONE).await;
    }
}

/// As [`until_up`], and until the store has heard everything.
async fn until_told(limiter: &StrictLimiter, lever: &ManualClock) {
    until_up(limiter, lever).await;
    until(async || limiter.stats().untold == 0).await;
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
