//! An attacker who makes up identifiers: 100 000 new ones a second for half a minute. What the table takes, and how
//! long the slowest decision was.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin flood          # two tables, a minute
//! cargo run --release -p tidegate-bench --bin flood -- 5     # five seconds each
//! ```
//!
//! A decision that is interrupted by another process takes as long as that runs: on a busy machine read the
//! percentile and not the longest.

use std::time::Duration;
use tidegate::time::{Clock, LocalTime};
use tidegate::{Key, Quota, RateLimiter};

const PER_MILLISECOND: u32 = 100;
const MILLISECOND: Duration = Duration::from_millis(1);

fn main() {
    let seconds = std::env::args().nth(1).map(|text| text.parse());
    let Ok(seconds) = seconds.unwrap_or(Ok(30)) else {
        eprintln!("write how many seconds each flood lasts, as in `flood 5`");
        std::process::exit(2);
    };
    println!(
        "{} identifiers a second for {seconds} s",
        PER_MILLISECOND * 1000
    );
    println!();
    println!(
        "| quota | keys | bytes a key | MB | passed | overflowed | 99.99 % µs | longest µs | above 1 ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    // Cells that are idle before the next thousand come, and cells that are being denied to the end.
    for quota in [Quota::per_second(10), Quota::per_hour(1)] {
        flood(quota, seconds);
    }
}

fn flood(quota: Quota, seconds: u32) {
    let clock = Clock::system();
    let limiter = RateLimiter::new(quota);
    let mut random = fastrand::Rng::with_seed(7);
    let mut took: Vec<Duration> = Vec::with_capacity((seconds * 1000 * PER_MILLISECOND) as usize);
    let mut passed = 0u32;
    let start = clock.now();
    for millisecond in 0..seconds * 1000 {
        wait_until(&clock, start.saturating_add(MILLISECOND * millisecond));
        for _ in 0..PER_MILLISECOND {
            let key = Key::of(&random.u64(..));
            let before = clock.now();
            let decision = limiter.check(&key, 1);
            took.push(clock.now().since(before));
            passed += u32::from(decision.is_allowed());
        }
    }
    took.sort_unstable();
    let stats = limiter.stats();
    let micros = |took: Duration| took.as_nanos() as f64 / 1000.0;
    let slow = took.iter().rev().take_while(|it| **it > MILLISECOND);
    println!(
        "| {quota} | {} | {:.1} | {:.1} | {passed} | {} | {:.1} | {:.1} | {} of {} |",
        stats.keys,
        stats.bytes as f64 / stats.keys.max(1) as f64,
        stats.bytes as f64 / 1e6,
        stats.overflowed,
        micros(
            took.get(took.len() / 10_000 * 9_999)
                .copied()
                .unwrap_or_default()
        ),
        micros(took.last().copied().unwrap_or_default()),
        slow.count(),
        took.len(),
    );
}

fn wait_until(clock: &Clock, at: LocalTime) {
    loop {
        let left = at.since(clock.now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}
