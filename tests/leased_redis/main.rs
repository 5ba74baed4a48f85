//! Leased limits on a real Redis: never above the limit over handles that stand for processes, and nothing is lost when
//! they end, the store ends, or scripts are forgotten.
#![cfg(feature = "redis")]

mod clock;
mod exact;
mod failures;
mod units;
mod waiting;

use std::time::Duration;
use tidegate::leased::{LeasedLimiter, LeasedLimiterBuilder};
use tidegate::store::RedisStore;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

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
