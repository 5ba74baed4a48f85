//! A million keys of 24 bytes, all of them in use: what a table takes for each, how long a decision on a new and on a known
//! key takes, and the longest of them, beside governor's keyed store.
//!
//! ```text
//! cargo run --release -p tidegate-bench --features peers --bin memory
//! cargo run --release -p tidegate-bench --features peers --bin memory -- 100000    # fewer keys
//! ```
//!
//! Bytes are those that the allocator was asked for and not given back, once all keys are known; times are of other
//! tables, on which nothing is counted. `longest` is by the clock, `of work` by what the thread worked, the kernel's work
//! for it included: on a busy machine the first has waits for a processor in it. Rounds alternate, and medians are told.
//! governor's store forgets nothing by itself: to do so it is swept, which is told too; tidegate's is bounded, and a
//! decision looks at a few cells for one that is over.

use allocation_counter::measure;
use std::hint::black_box;
use std::time::Duration;
use tidegate::time::Clock;
use tidegate::{Key, Quota, RateLimiter};
use tidegate_bench::work::own_time;

const ROUNDS: usize = 5;

/// Decides on a key, whether it is known or not.
type Ask = Box<dyn Fn(&String)>;
/// A table, and what is to be done to forget what is over.
type Made = (Ask, Option<Box<dyn Fn()>>);

struct Candidate {
    name: &'static str,
    make: fn(usize) -> Made,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    /// Bytes and nanoseconds, for a key.
    bytes: f64,
    new: f64,
    known: f64,
    longest: Duration,
    /// What the one that worked longest worked.
    hardest: Duration,
    sweep: Option<Duration>,
}

fn main() {
    let keys = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse());
    let Ok(keys @ 1..) = keys else {
        eprintln!("write how many keys, as in `memory 100000`");
        std::process::exit(2);
    };
    let names: Vec<String> = (0..keys).map(|key| format!("customer-{key:015}")).collect();
    let clock = Clock::system();
    let mut candidates = candidates();
    for _ in 0..ROUNDS {
        for candidate in &mut candidates {
            candidate.seen.push(round(&clock, &names, candidate.make));
        }
    }
    println!(
        "| {keys} keys | bytes a key | ratio | ns, new | ratio | ns, known | ratio | longest µs | of work | sweep ms |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let base = candidates.last().map(medians).expect("a candidate");
    for candidate in &candidates {
        let seen = medians(candidate);
        let sweep = seen.sweep.map_or_else(String::new, |took| {
            format!("{:.0}", took.as_secs_f64() * 1e3)
        });
        println!(
            "| {} | {:.1} | {:.2} | {:.0} | {:.2} | {:.0} | {:.2} | {:.0} | {:.0} | {sweep} |",
            candidate.name,
            seen.bytes,
            seen.bytes / base.bytes,
            seen.new,
            seen.new / base.new,
            seen.known,
            seen.known / base.known,
            seen.longest.as_secs_f64() * 1e6,
            seen.hardest.as_secs_f64() * 1e6,
        );
    }
}

/// tidegate's, and last what it is held against.
fn candidates() -> Vec<Candidate> {
    let candidate = |name, make| Candidate {
        name,
        make,
        seen: Vec::new(),
    };
    vec![
        candidate("tidegate", ours),
        #[cfg(feature = "peers")]
        candidate("governor", governors),
    ]
}

/// With room for twice as many keys as there are, as its documentation says.
fn ours(keys: usize) -> Made {
    let limiter = RateLimiter::builder(Quota::per_hour(1_000)).max_keys(2 * keys);
    let limiter = limiter.build().expect("a limiter");
    let ask = move |name: &String| {
        let _ = black_box(limiter.check(&Key::of(name.as_str()), 1));
    };
    (Box::new(ask), None)
}

#[cfg(feature = "peers")]
fn governors(_: usize) -> Made {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    let thousand = NonZeroU32::new(1_000).expect("not zero");
    let limiter = Arc::new(governor::RateLimiter::<String, _, _>::keyed(
        governor::Quota::per_hour(thousand),
    ));
    let swept = Arc::clone(&limiter);
    let ask = move |name: &String| {
        let _ = black_box(limiter.check_key(name));
    };
    (Box::new(ask), Some(Box::new(move || swept.retain_recent())))
}

fn round(clock: &Clock, names: &[String], make: fn(usize) -> Made) -> Seen {
    let mut kept = None;
    let counted = measure(|| {
        let made = make(names.len());
        names.iter().for_each(|name| made.0(name));
        kept = Some(made);
    });
    drop(kept);
    let (ask, sweep) = make(names.len());
    let each = |took: Duration| took.as_nanos() as f64 / names.len() as f64;
    let all = |names: &mut dyn Iterator<Item = &String>| {
        let begun = clock.now();
        names.for_each(&ask);
        each(clock.now().since(begun))
    };
    let new = all(&mut names.iter());
    // Far from the order in which they came: a step that has no factor in common with most numbers of keys.
    let far = |at: usize| &names[at * 618_033 % names.len()];
    let known = all(&mut (0..names.len()).map(far));
    let sweep = sweep.map(|sweep| {
        let begun = clock.now();
        sweep();
        clock.now().since(begun)
    });
    let (ask, _) = make(names.len());
    let (mut longest, mut hardest) = (Duration::ZERO, Duration::ZERO);
    for name in names {
        let (begun, before) = (clock.now(), own_time());
        ask(name);
        hardest = hardest.max(own_time().saturating_sub(before));
        longest = longest.max(clock.now().since(begun));
    }
    Seen {
        bytes: counted.bytes_current as f64 / names.len() as f64,
        new,
        known,
        longest,
        hardest,
        sweep,
    }
}

/// Of each figure by itself.
fn medians(candidate: &Candidate) -> Seen {
    let number = |of: fn(&Seen) -> f64| {
        let mut numbers: Vec<f64> = candidate.seen.iter().map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    let time = |of: fn(&Seen) -> Duration| {
        let mut times: Vec<Duration> = candidate.seen.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    let sweeps = candidate.seen.iter().any(|seen| seen.sweep.is_some());
    Seen {
        bytes: number(|seen| seen.bytes),
        new: number(|seen| seen.new),
        known: number(|seen| seen.known),
        longest: time(|seen| seen.longest),
        hardest: time(|seen| seen.hardest),
        sweep: sweeps.then(|| time(|seen| seen.sweep.unwrap_or_default())),
    }
}
