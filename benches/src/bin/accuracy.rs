//! How much layered and leased limits admit, beside one exact counter of the same requests: real Redis servers, real windows of
//! ten seconds, links with a round trip. And what a warm decision costs, and the longest of many cold ones.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin accuracy
//! cargo run --release -p tidegate-bench --bin accuracy -- costs    # the latter alone, in seconds
//! ```
//!
//! All cases run at the same time, in about a minute. On a busy machine links are slower than they say.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::leased::LeasedLimiter;
use tidegate::limiter::AnyLimiter;
use tidegate::store::RedisStore;
use tidegate::time::Clock;
use tidegate::{Key, Quota};
use tidegate_test_support::{Load, Offered, RedisServer, TcpProxy};

const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS: u32 = 4;
const MILLISECOND: Duration = Duration::from_millis(1);

/// One line of the table.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    bar: &'static str,
    nodes: usize,
    regions: usize,
    limit: u32,
    /// Times the limit.
    load: u32,
    /// Milliseconds to origin and back.
    round_trip: u64,
    /// What is shown.
    show: Show,
}

#[derive(Clone, Copy)]
enum Show {
    Accuracy,
    Reads,
    Writes,
}

const fn case(nodes: usize, limit: u32, load: u32, round_trip: u64) -> Case {
    Case {
        what: "admitted / exact",
        bar: ".95 to 1.05",
        nodes,
        regions: 1,
        limit,
        load,
        round_trip,
        show: Show::Accuracy,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for nodes in [1, 3, 5, 9] {
        for round_trip in [0, 20] {
            cases.push(case(nodes, 1_000, 2, round_trip));
        }
    }
    cases.extend(
        [(1_000, "<= 1.05"), (10_000, "<= 1.06")].map(|(limit, bar)| Case {
            bar,
            ..case(5, limit, 2, 300)
        }),
    );
    cases.push(Case {
        what: "reads / request",
        bar: "<= .05",
        show: Show::Reads,
        ..case(5, 1_000, 10, 0)
    });
    cases.push(Case {
        what: "writes / accept",
        bar: "<= .05",
        show: Show::Writes,
        ..case(5, 20_000, 2, 0)
    });
    cases.push(Case {
        what: "two regions, last windows",
        bar: "<= 1.05",
        regions: 2,
        ..case(3, 1_000, 2, 0)
    });
    cases
}

/// Servers and links for all cases.
struct Bed {
    origins: Vec<RedisServer>,
    global: RedisServer,
    links: Mutex<HashMap<(usize, u64), TcpProxy>>,
}

impl Bed {
    fn start() -> Option<Self> {
        Some(Self {
            origins: vec![RedisServer::start()?, RedisServer::start()?],
            global: RedisServer::start()?,
            links: Mutex::default(),
        })
    }

    /// A connection of its own to the origin of `region`.
    fn origin(&self, region: usize, round_trip: u64) -> RedisStore {
        let server = &self.origins[region];
        let mut links = self.links.lock().expect("nothing panics under this lock");
        let link = links.entry((region, round_trip)).or_insert_with(|| {
            let link = TcpProxy::start(server.address());
            link.delay(Duration::from_millis(round_trip) / 2);
            link
        });
        RedisStore::new(server.url_through(link.address())).expect("an address")
    }

    fn leased_nodes(&self, case: &Case) -> Vec<LeasedLimiter> {
        let quota = Quota::new(case.limit, WINDOW).expect("a window").sliding();
        let name = format!("{}-{}-{}", case.limit, case.load, case.round_trip);
        let node = |_| {
            let store = self.origin(0, case.round_trip);
            let builder = LeasedLimiter::builder(store, &name, quota);
            let builder = builder.patience(Duration::from_secs(2));
            builder.build().expect("settings that work")
        };
        (0..case.nodes).map(node).collect()
    }

    fn nodes(&self, name: &str, case: &Case) -> Vec<LayeredLimiter> {
        let quota = Quota::new(case.limit, WINDOW).expect("a window");
        (0..case.nodes * case.regions)
            .map(|number| {
                let region = number % case.regions;
                let origin = self.origin(region, case.round_trip);
                let mut builder = LayeredLimiter::builder(origin, name, quota);
                if case.regions > 1 {
                    let store = RedisStore::new(self.global.url()).expect("an address");
                    builder = builder.global(store, ["eu", "us"][region]);
                }
                builder.build().expect("settings that work")
            })
            .collect()
    }
}

/// The requests of one case, each on a node of its own choosing.
async fn run(nodes: Vec<AnyLimiter>, case: Case) -> Offered {
    let load = Load {
        limit: case.limit,
        window: WINDOW,
        requests: case.limit * case.load,
        windows: WINDOWS,
        // Two regions are compared once they know of each other.
        skip: if case.regions > 1 { 2 } else { 0 },
        nodes: nodes.len(),
    };
    let ask = |node: usize| {
        let node = nodes[node].clone();
        async move { node.decide(&Key::of("hot"), 1).await.is_allowed() }
    };
    load.offer(ask).await
}

#[tokio::main]
async fn main() {
    let Some(bed) = Bed::start() else {
        return;
    };
    if std::env::args().nth(1).as_deref() == Some("costs") {
        return costs(&bed).await;
    }
    let progress = tokio::spawn(async {
        let mut timer = tokio::time::interval(Duration::from_secs(1));
        let whole = u64::from(WINDOWS) * WINDOW.as_secs() + 1;
        for second in 0..=whole {
            timer.tick().await;
            eprint!("\r{second:3} of {whole} s ");
            let _ = std::io::stderr().flush();
        }
        eprintln!();
    });
    let running: Vec<_> = cases()
        .into_iter()
        .enumerate()
        .map(|(number, case)| {
            let nodes = bed.nodes(&number.to_string(), &case);
            tokio::spawn(async move {
                let any = nodes.iter().cloned().map(AnyLimiter::from).collect();
                (case, run(any, case).await, sums(&nodes))
            })
        })
        .collect();
    let leased: Vec<_> = leased_cases()
        .map(|case| {
            let nodes = bed.leased_nodes(&case);
            tokio::spawn(async move { leased_line(&nodes, case).await })
        })
        .collect();
    let mut lines = Vec::new();
    for case in running {
        let (case, seen, (reads, writes)) = case.await.expect("no panic");
        let (of, by) = match case.show {
            Show::Accuracy => (u64::from(seen.admitted), seen.exact),
            Show::Reads => (reads, seen.requests),
            Show::Writes => (writes, seen.admitted),
        };
        let nodes = format!("{} x {}", case.regions, case.nodes);
        lines.push(format!(
            "{:26} {nodes:>6} {:>7} {:>5}x {:>5} ms   {:>6.3}   {}",
            case.what,
            case.limit,
            case.load,
            case.round_trip,
            of as f64 / f64::from(by),
            case.bar,
        ));
    }
    for line in leased {
        lines.push(line.await.expect("no panic"));
    }
    let _ = progress.await;
    println!("what                        nodes   limit   load round trip  value   bar");
    for line in lines {
        println!("{line}");
    }
    burst(&bed).await;
    costs(&bed).await;
}

fn leased_cases() -> impl Iterator<Item = Case> {
    let case = |(limit, load, round_trip)| Case {
        what: "leased, admitted / exact",
        bar: "<= 1",
        ..case(5, limit, load, round_trip)
    };
    let cases = [
        (1_000, 2, 0),
        (1_000, 2, 20),
        (10_000, 2, 20),
        (10_000, 1, 20),
        (10_000, 2, 300),
    ];
    cases.into_iter().map(case)
}

/// What leased limits admit, by how much they may be above, and how often they ask.
async fn leased_line(nodes: &[LeasedLimiter], case: Case) -> String {
    let any = nodes.iter().cloned().map(AnyLimiter::from).collect();
    let seen = run(any, case).await;
    let asked: u64 = nodes.iter().map(|node| node.stats().asked).sum();
    format!(
        "{:26} {:>6} {:>7} {:>5}x {:>5} ms   {:>6.3}   {}, bound + {}; {:.3} round trips / request",
        case.what,
        format!("1 x {}", nodes.len()),
        case.limit,
        case.load,
        case.round_trip,
        f64::from(seen.admitted) / f64::from(seen.exact),
        case.bar,
        nodes[0].overshoot_bound(nodes.len() as u32),
        asked as f64 / f64::from(seen.requests),
    )
}

fn sums(nodes: &[LayeredLimiter]) -> (u64, u64) {
    let stats = nodes.iter().map(LayeredLimiter::stats);
    stats.fold((0, 0), |(reads, writes), stats| {
        (reads + stats.reads, writes + stats.writes)
    })
}

/// Five cold nodes are asked for twice the limit each, at once.
async fn burst(bed: &Bed) {
    let case = case(5, 162_000, 2, 20);
    let spent = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for node in bed.nodes("burst", &case) {
        callers.extend((0..216).map(|_| {
            let (node, spent) = (node.clone(), Arc::clone(&spent));
            tokio::spawn(async move {
                if node.decide(&Key::of("bulk"), 1_500).await.is_allowed() {
                    spent.fetch_add(1_500, Ordering::Relaxed);
                }
            })
        }));
    }
    for caller in callers {
        caller.await.expect("no panic");
    }
    let spent = spent.load(Ordering::Relaxed) as f64 / f64::from(case.limit);
    println!(
        "{:26} {:>6} {:>7} {:>6} {:>5} ms   {spent:>6.3}   <= 1.2",
        "a burst of 1500, cold", "1 x 5", case.limit, "", 20
    );
}

/// A warm decision, and the longest of a million random keys. On a busy machine a thread waits for a processor, which is
/// told apart.
async fn costs(bed: &Bed) {
    const WARM: u32 = 2_000_000;
    const RANDOM: u64 = 1_000_000;
    let quota = Quota::per_hour(u32::MAX);
    let build = |name| {
        let builder = LayeredLimiter::builder(bed.origin(0, 0), name, quota);
        builder.build().expect("settings that work")
    };
    let clock = Clock::system();
    let warm = build("warm");
    let key = Key::of("warm");
    let _ = warm.decide(&key, 1).await;
    let begun = clock.now();
    for _ in 0..WARM {
        let _ = std::hint::black_box(warm.decide(&key, 1).await);
    }
    let each = clock.now().since(begun).as_nanos() / u128::from(WARM);
    println!("a warm decision: {each} ns, with the clock it reads");

    // From what is known at once, so that the time is the limiter's own and not origin's.
    let flooded = build("flooded");
    let (mut longest, mut above) = (Duration::ZERO, 0);
    let (mut longest_own, mut unexplained) = (Duration::ZERO, 0);
    let mut waited = waited_for_a_processor();
    for number in 0..RANDOM {
        if number % 100 == 0 {
            waited = waited_for_a_processor();
        }
        let (begun, own) = (clock.now(), own_time());
        let _ = std::hint::black_box(flooded.check(&Key::of(&number), 1));
        let (took, own) = (clock.now().since(begun), own_time().saturating_sub(own));
        longest = longest.max(took);
        longest_own = longest_own.max(own);
        if took > MILLISECOND {
            let before = std::mem::replace(&mut waited, waited_for_a_processor());
            above += 1;
            unexplained += u32::from(took.saturating_sub(waited - before) > MILLISECOND);
        }
    }
    let stats = flooded.stats();
    println!(
        "{RANDOM} random keys: longest {longest:?} ({longest_own:?} of work), {above} above 1 ms, {unexplained} of them not \
         for want of a processor; {} keys in {} kB, {} evicted, {} decided on a shared cell",
        stats.keys,
        stats.bytes / 1_000,
        stats.evicted,
        stats.overflowed
    );
}

/// What this thread has worked.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// How long this thread was ready to work while others did, as Linux counts it; nothing elsewhere.
fn waited_for_a_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split(' ').nth(1).and_then(|text| text.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}
