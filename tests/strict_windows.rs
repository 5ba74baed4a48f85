//! Strict limits over short windows on a real Redis: whatever the moment, no window gets more than its rule says.
//!
//! The server's clock is this machine's. A decision that began and ended in one window was made in it; what cannot be
//! told apart counts in the sum alone.
#![cfg(feature = "redis")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use tidegate::store::RedisStore;
use tidegate::strict::StrictLimiter;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;
use tokio::task::JoinSet;

const WINDOW: Duration = Duration::from_secs(1);
const LIMIT: u32 = 150;
/// Each of these has a connection of its own, as processes have.
const HANDLES: usize = 3;
const CALLERS: usize = 4;

fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().expect("after 1970")
}

/// When each of those who were admitted began to ask, and when they knew.
async fn admitted(server: &RedisServer, quota: Quota) -> Vec<(Duration, Duration)> {
    let key = Key::of(&quota.to_string());
    let end = since_1970() + 3 * WINDOW + WINDOW / 3;
    let mut callers = JoinSet::new();
    for _ in 0..HANDLES {
        let store = RedisStore::new(server.url()).expect("an address");
        let limiter = StrictLimiter::builder(store, "windows", quota)
            .patience(Duration::from_secs(20))
            // Every decision is the store's.
            .denied_keys(0)
            .build()
            .expect("a limiter");
        for _ in 0..CALLERS {
            let limiter = limiter.clone();
            callers.spawn(async move {
                let mut admitted = Vec::new();
                while since_1970() < end {
                    let began = since_1970();
                    if limiter.decide(&key, 1).await.is_allowed() {
                        admitted.push((began, since_1970()));
                    } else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                admitted
            });
        }
    }
    callers.join_all().await.concat()
}

fn window(at: Duration) -> u64 {
    at.as_secs() / WINDOW.as_secs()
}

/// Holds each window of the clock to the limit, and all together; answers what each got.
fn assert_windows(admitted: &[(Duration, Duration)], quota: Quota) -> BTreeMap<u64, u32> {
    let mut windows = BTreeMap::<u64, u32>::new();
    for (began, ended) in admitted {
        if window(*began) == window(*ended) {
            *windows.entry(window(*began)).or_default() += 1;
        }
    }
    for count in windows.values() {
        assert!(*count <= LIMIT, "{quota}: {windows:?}");
    }
    let first = admitted.iter().map(|(began, _)| window(*began)).min();
    let last = admitted.iter().map(|(_, ended)| window(*ended)).max();
    let number = last.zip(first).map_or(0, |(last, first)| last - first + 1);
    assert!(
        admitted.len() as u64 <= u64::from(LIMIT) * number,
        "{quota}"
    );
    // Windows ended, and more than one was given.
    assert!(
        number >= 3 && admitted.len() > LIMIT as usize,
        "{quota}: {windows:?}"
    );
    windows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fixed_window_of_the_servers_clock_gets_more_than_the_limit() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(LIMIT, WINDOW).expect("a window").fixed();
    assert_windows(&admitted(&server, quota).await, quota);
}

/// Certainly within the stretch of a window's length that begins when this one asked.
fn inside(admitted: &[(Duration, Duration)], from: Duration) -> u64 {
    let inside = |(began, ended): &&(Duration, Duration)| *began >= from && *ended < from + WINDOW;
    admitted.iter().filter(inside).count() as u64
}

/// Also across the windows of the clock: exactly the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stretch_of_a_sliding_log_gets_more_than_the_limit() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(LIMIT, WINDOW).expect("a window").sliding_log();
    let admitted = admitted(&server, quota).await;
    assert_windows(&admitted, quota);
    for (from, _) in &admitted {
        let inside = inside(&admitted, *from);
        assert!(inside <= u64::from(LIMIT), "{inside} from {from:?} on");
    }
}

/// The burst, and what comes back meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stretch_of_a_token_bucket_gets_more_than_its_burst_and_its_rate() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(LIMIT, WINDOW)
        .expect("a window")
        .burst(LIMIT / 3);
    let admitted = admitted(&server, quota).await;
    assert!(admitted.len() as u32 > 2 * LIMIT, "{}", admitted.len());
    for (from, _) in &admitted {
        let inside = inside(&admitted, *from);
        assert!(
            inside <= u64::from(LIMIT + LIMIT / 3),
            "{inside} from {from:?} on"
        );
    }
}

/// Of any stretch of a window's length, of which `late` is in the later window: see `SlidingWindow`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stretch_of_a_sliding_window_gets_more_than_its_rule_says() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(LIMIT, WINDOW).expect("a window").sliding();
    let admitted = admitted(&server, quota).await;
    assert_windows(&admitted, quota);
    for (from, _) in &admitted {
        let (from, to) = (*from, *from + WINDOW);
        let inside = inside(&admitted, from);
        // Certainly or perhaps in the window in which it begins.
        let earlier = window(from);
        let perhaps = |(began, ended): &&(Duration, Duration)| {
            window(*began) <= earlier && earlier <= window(*ended)
        };
        let previous = admitted.iter().filter(perhaps).count().min(LIMIT as usize) as u64;
        let late = (to - Duration::from_secs(earlier + 1)).as_micros() as u64 + 1;
        let span = WINDOW.as_micros() as u64;
        let most = u64::from(LIMIT) + previous - previous * span.saturating_sub(late) / span;
        assert!(inside <= most, "{inside} of {most}, {late} us late");
    }
}
