//! Requests a second of a real axum server, with both layers and without.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin server            # 7 rounds of 10 s slices
//! cargo run --release -p tidegate-bench --bin server -- 2 15    # 15 rounds of 2 s slices
//! ```
//!
//! An empty handler, 64 connections that stay open, one request at a time on each, over the loopback. Client and
//! servers share the processors, so what the client costs is in both figures. Where other programs run beside, look
//! at the second ratio: it counts the time for which this one ran.

use axum::Router;
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidegate::adaptive::{Gradient2, LocalGuard};
use tidegate::tower::{ConcurrencyLayer, Headers, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 64;
const BAR: f64 = 0.97;

fn main() -> io::Result<()> {
    let mut words = std::env::args()
        .skip(1)
        .map(|word| word.parse().expect("a number"));
    let slice = Duration::from_secs(words.next().unwrap_or(10));
    let rounds = words.next().map_or(7, |rounds| rounds as usize);
    println!("| round | {} |", NAMES.join(", 1/s | "));
    println!("|---|---:|---:|---:|---:|");
    let mut answered: [Vec<Answered>; NAMES.len()] = Default::default();
    for round in 0..rounds {
        // In turns, also who comes first.
        for turn in 0..NAMES.len() {
            let which = (round + turn) % NAMES.len();
            answered[which].push(during(server(which), slice)?);
        }
        let rates = answered.iter().map(|it| format!("{:.0}", it[round].rate));
        println!(
            "| {} | {} |",
            round + 1,
            rates.collect::<Vec<_>>().join(" | ")
        );
    }
    println!(
        "\n| against `{}` | answers a second | answers a CPU second |",
        NAMES[0]
    );
    println!("|---|---:|---:|");
    for which in 1..NAMES.len() {
        let ratio = |of: fn(&Answered) -> f64| {
            let pairs = answered[which].iter().zip(&answered[0]);
            median(pairs.map(|(it, bare)| of(it) / of(bare)).collect())
        };
        let (rate, work) = (ratio(|it| it.rate), ratio(|it| it.per_cpu));
        println!("| {} | {rate:.3} | {work:.3} |", NAMES[which]);
    }
    println!("\nThe bar is {BAR}; what `{}` is off 1 is noise.", NAMES[1]);
    Ok(())
}

/// What is compared: the first with all others, of which the second is the first again.
const NAMES: [&str; 4] = [
    "no layers",
    "no layers again",
    "both layers, silent",
    "both layers, defaults",
];

fn server(which: usize) -> Router {
    let quota = Quota::per_second(1_000_000_000).burst(1_000_000_000);
    let rate = RateLimitLayer::new(RateLimiter::new(quota)).key(key::peer());
    let guard = ConcurrencyLayer::new(LocalGuard::new(Gradient2::default()));
    let router = Router::new().route("/", get(async || ()));
    // Both at once: axum boxes what each call of `layer` adds.
    match which {
        0 | 1 => router,
        2 => router.layer((
            rate.headers(Headers::Off).extensions(false),
            guard.extensions(false),
        )),
        _ => router.layer((rate, guard)),
    }
}

/// What `router` answers in a slice, on a runtime and connections of its own: no server finds what another has left.
fn during(router: Router, slice: Duration) -> io::Result<Answered> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let answered = runtime.block_on(async {
        let load = Load::on(serve(router).await?).await?;
        io::Result::Ok(load.during(slice).await)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    answered
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    Ok(address)
}

/// Connections that ask one request after the other.
struct Load {
    answers: Arc<AtomicU64>,
}

impl Load {
    async fn on(server: SocketAddr) -> io::Result<Self> {
        let answers = Arc::new(AtomicU64::new(0));
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            tokio::spawn(ask(stream, Arc::clone(&answers)));
        }
        Ok(Self { answers })
    }

    /// What was answered during a slice.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    async fn during(&self, slice: Duration) -> Answered {
        tokio::time::sleep(slice / 10).await;
        let (before, start, worked) = (self.count(), Instant::now(), cpu_seconds());
        tokio::time::sleep(slice).await;
        let answers = (self.count() - before) as f64;
        Answered {
            rate: answers / start.elapsed().as_secs_f64(),
            per_cpu: answers / (cpu_seconds() - worked),
        }
    }

    fn count(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// Answers a second, of the clock and of the processors.
struct Answered {
    rate: f64,
    per_cpu: f64,
}

/// For how long this process has run, where Linux tells.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: eleven words, then the ticks of user and of system.
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// What every Linux tells it in.
const TICKS_A_SECOND: f64 = 100.0;

async fn ask(mut stream: TcpStream, answers: Arc<AtomicU64>) -> io::Result<()> {
    let mut answer = [0; 1024];
    loop {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
            .await?;
        let mut length = 0;
        // The answer has no body.
        while !answer[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut answer[length..]).await?;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "refused");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}
