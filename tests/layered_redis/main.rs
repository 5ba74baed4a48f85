//! The layered limit over real Redis servers, through the public API: what is counted, and everything that can go wrong
//! with an origin, a global store and a clock.
//!
//! Windows are so long that none of them ends in a test, but for those of `away`; how well windows are kept is shown in
//! virtual time.

#![cfg(feature = "redis")]

mod away;
mod converging;
mod failures;
mod policies;
mod regions;
mod successions;

use std::time::Duration;
use tidegate::layered::{LayeredLimiter, LayeredLimiterBuilder};
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};
use tidegate_test_support::{PATIENCE, RedisServer};

const LIMIT: u32 = 1_000;

fn store(url: &str) -> RedisStore {
    RedisStore::new(url).expect("an address")
}

/// In ten years, of which the present ones end with the decade.
fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

/// In a window of half that length.
fn half_as_long(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW / 2).expect("a window within bounds")
}

fn builder(url: &str) -> LayeredLimiterBuilder {
    LayeredLimiter::builder(store(url), "test", so_many(LIMIT))
        .flush_every(Duration::from_millis(5))
        .patience(Duration::from_millis(500))
}

fn limiter(url: &str) -> LayeredLimiter {
    builder(url).build().expect("settings that work")
}

/// Asks `times` times in turn; answers how often it was allowed.
async fn ask(limiters: &[LayeredLimiter], key: &Key, times: u32) -> u32 {
    let mut allowed = 0;
    for turn in 0..times as usize {
        let decision = limiters[turn % limiters.len()].decide(key, 1).await;
        allowed += u32::from(decision.is_allowed());
    }
    allowed
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let polls = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, polls).await.is_ok(),
        "{what}: not within {PATIENCE:?}"
    );
}

/// What origin counts, over all cells.
fn counted(redis: &RedisServer) -> i64 {
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            sum = sum + redis.call('HGET', key, '#')
        end
        return sum";
    redis.cli(&["EVAL", script, "0"]).integer()
}

async fn caught_up(redis: &RedisServer, count: u32) {
    until("origin knows everything", || {
        counted(redis) == i64::from(count)
    })
    .await;
}

/// At least the limit; at most what three nodes may be ahead of origin more.
fn assert_about_the_limit(allowed: u32) {
    assert!(
        (LIMIT..=LIMIT + 3 * LIMIT / 32).contains(&allowed),
        "{allowed}"
    );
}
