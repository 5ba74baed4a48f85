//! An attacker who makes up identifiers: 100 000 new ones a second for half a minute, at every kind of limiter that decides
//! in this process. What the table takes, and how long the slowest decision was.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin flood          # four floods, two minutes
//! cargo run --release -p tidegate-bench --bin flood -- 5     # five seconds each
//! ```
//!
//! A decision that is interrupted by another process takes as long as that runs, and the task and the Redis of a limiter
//! over a store share these processors: `worked` is what the thread itself did. What the host of a virtual machine takes
//! counts as work too, so the same is told of as much arithmetic, in turn with the decisions.

use std::hint::black_box;
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::leased::LeasedLimiter;
use tidegate::store::RedisStore;
use tidegate::time::{Clock, LocalTime};
use tidegate::{Key, Quota, RateLimiter};
use tidegate_bench::work::own_time;
use tidegate_test_support::RedisServer;

const PER_MILLISECOND: u32 = 100;
/// Steps that take about as long as a decision.
const ARITHMETIC: u128 = 300;
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
    println!("{}", Row::HEAD);
    let mut seen = Seen::new(seconds);
    // Cells that are idle before the next thousand come, and cells that are being denied to the end.
    for quota in [Quota::per_second(10), Quota::per_hour(1)] {
        let limiter = RateLimiter::new(quota);
        seen.flood(|key| limiter.check(&key, 1).is_allowed());
        let stats = limiter.stats();
        let row = Row {
            what: format!("local, {quota}"),
            keys: stats.keys,
            bytes: stats.bytes,
            besides: format!("{} shared a cell", stats.overflowed),
        };
        row.print(&seen);
    }
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let store = || RedisStore::new(redis.url()).expect("an address");
    // What the store knows of a key may go, and nothing comes back by itself within the flood.
    let quota = Quota::per_hour(10);
    let limiter = LayeredLimiter::builder(store(), "flood", quota).build();
    let limiter = limiter.expect("settings that work");
    seen.flood(|key| limiter.check(&key, 1).is_allowed());
    let stats = limiter.stats();
    let row = Row {
        what: format!("layered, {quota}"),
        keys: stats.keys,
        bytes: stats.bytes,
        besides: format!(
            "{} shared a cell, {} evicted, {} told, {} failures, Redis {}",
            stats.overflowed,
            stats.evicted,
            stats.writes,
            stats.failures,
            used(&redis)
        ),
    };
    row.print(&seen);
    drop(limiter);
    redis.cli(&["FLUSHALL"]);
    let before = resident();
    let limiter = LeasedLimiter::builder(store(), "flood", quota).build();
    let limiter = limiter.expect("settings that work");
    seen.flood(|key| limiter.check(&key, 1).is_allowed());
    let stats = limiter.stats();
    let row = Row {
        what: format!("leased, {quota}"),
        keys: stats.keys,
        bytes: resident().saturating_sub(before),
        besides: format!(
            "{} asked, {} evicted, {} failures, Redis {}",
            stats.asked,
            stats.evicted,
            stats.failures,
            used(&redis)
        ),
    };
    row.print(&seen);
}

/// What a flood found.
struct Seen {
    seconds: u32,
    took: Vec<Duration>,
    /// In decisions.
    work: Work,
    /// In as much arithmetic, in turn with them.
    arithmetic: Work,
    passed: u32,
}

impl Seen {
    fn new(seconds: u32) -> Self {
        Self {
            seconds,
            took: Vec::with_capacity((seconds * 1000 * PER_MILLISECOND) as usize),
            work: Work::default(),
            arithmetic: Work::default(),
            passed: 0,
        }
    }

    /// One flood; what was found before is forgotten.
    fn flood(&mut self, decide: impl Fn(Key) -> bool) {
        let clock = Clock::system();
        let mut random = fastrand::Rng::with_seed(7);
        self.took.clear();
        (self.work, self.arithmetic, self.passed) = (Work::default(), Work::default(), 0);
        let start = clock.now();
        for millisecond in 0..self.seconds * 1000 {
            wait_until(&clock, start.saturating_add(MILLISECOND * millisecond));
            for _ in 0..PER_MILLISECOND {
                let key = Key::of(&random.u64(..));
                let (began, before) = (own_time(), clock.now());
                let allowed = decide(key);
                let (after, ended) = (clock.now(), own_time());
                black_box((0..ARITHMETIC).fold(1, |x, y| black_box(x * y)));
                let then = own_time();
                self.took.push(after.since(before));
                self.work.add(ended.saturating_sub(began));
                self.arithmetic.add(then.saturating_sub(ended));
                self.passed += u32::from(allowed);
            }
            if millisecond % 1000 == 999 {
                eprint!("\r{} s ", millisecond / 1000 + 1);
            }
        }
        eprint!("\r");
        self.took.sort_unstable();
    }
}

/// What a thread has worked in so many goes.
#[derive(Clone, Copy, Default)]
struct Work {
    all: Duration,
    most: Duration,
    long: u32,
}

impl Work {
    fn add(&mut self, worked: Duration) {
        self.all += worked;
        self.most = self.most.max(worked);
        self.long += u32::from(worked > MILLISECOND);
    }

    /// The mean in nanoseconds, the most in microseconds, and how many took more than one millisecond.
    fn cells(&self, goes: usize) -> String {
        let mean = self.all.as_nanos() / goes.max(1) as u128;
        let most = self.most.as_nanos() as f64 / 1000.0;
        format!("{mean} | {most:.1} | {}", self.long)
    }
}

struct Row {
    what: String,
    keys: usize,
    bytes: usize,
    besides: String,
}

impl Row {
    const HEAD: &str = "| limit | keys | bytes a key | MB | passed | 99.99 % µs | longest µs | above 1 ms \
                        | worked: mean ns | longest µs | above 1 ms | arithmetic: mean ns | longest µs | above 1 ms | |\n\
                        |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|";

    fn print(&self, seen: &Seen) {
        let Seen { took, .. } = seen;
        let micros = |took: Duration| took.as_nanos() as f64 / 1000.0;
        let at = |index: usize| micros(took.get(index).copied().unwrap_or_default());
        let slow = took.iter().rev().take_while(|it| **it > MILLISECOND);
        println!(
            "| {} | {} | {:.1} | {:.1} | {} | {:.1} | {:.1} | {} | {} | {} | {} |",
            self.what,
            self.keys,
            self.bytes as f64 / self.keys.max(1) as f64,
            self.bytes as f64 / 1e6,
            seen.passed,
            at(took.len() / 10_000 * 9_999),
            at(took.len().saturating_sub(1)),
            slow.count(),
            seen.work.cells(took.len()),
            seen.arithmetic.cells(took.len()),
            self.besides,
        );
    }
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

/// What the server takes, as it says itself.
fn used(redis: &RedisServer) -> String {
    let info = redis.cli(&["INFO", "memory"]).text();
    let lines = info.lines();
    let mut used = lines.filter_map(|line| line.strip_prefix("used_memory_human:"));
    used.next_back().unwrap_or("?").trim().to_owned()
}

/// Bytes of memory that this process has, as Linux counts them; nothing elsewhere.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let kilobytes = lines.find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
    kilobytes.and_then(|text| text.parse().ok()).unwrap_or(0) * 1024
}
