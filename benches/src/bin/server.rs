//! Requests a second of a real axum server, with both layers and without.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin server            # 7 pairs of 10 s slices
//! cargo run --release -p tidegate-bench --bin server -- 3 21    # 21 pairs of 3 s slices
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
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const CONNECTIONS: usize = 64;
const BAR: f64 = 0.97;

fn main() -> io::Result<()> {
    let mut words = std::env::args()
        .skip(1)
        .map(|word| word.parse().expect("a number"));
    let seconds = words.next().unwrap_or(10);
    let pairs = words.next().unwrap_or(7);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(compare(Duration::from_secs(seconds), pairs))
}

async fn compare(slice: Duration, pairs: u64) -> io::Result<()> {
    let bare = Load::on(serve(router()).await?).await?;
    let layered = Load::on(serve(with_layers(router())).await?).await?;
    println!("| pair | without, 1/s | with, 1/s | ratio | ratio of answers a CPU second |");
    println!("|---|---:|---:|---:|---:|");
    let (mut ratios, mut of_work) = (Vec::new(), Vec::new());
    for pair in 1..=pairs {
        // In turns, also who comes first.
        let (without, with) = if pair % 2 == 0 {
            let with = layered.during(slice).await;
            (bare.during(slice).await, with)
        } else {
            let without = bare.during(slice).await;
            (without, layered.during(slice).await)
        };
        let ratio = with.rate / without.rate;
        let work = with.per_cpu / without.per_cpu;
        println!(
            "| {pair} | {:.0} | {:.0} | {ratio:.3} | {work:.3} |",
            without.rate, with.rate
        );
        ratios.push(ratio);
        of_work.push(work);
    }
    for (what, ratios) in [("a second", ratios), ("a CPU second", of_work)] {
        let ratio = median(ratios);
        let word = if ratio >= BAR { "met" } else { "MISSED" };
        println!("\nanswers {what}: median {ratio:.3}, bar {BAR}: {word}");
    }
    Ok(())
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn router() -> Router {
    Router::new().route("/", get(async || ()))
}

fn with_layers(router: Router) -> Router {
    let quota = Quota::per_second(1_000_000_000).burst(1_000_000_000);
    // Both at once: axum boxes what each call of `layer` adds.
    router.layer((
        RateLimitLayer::new(RateLimiter::new(quota)).key(key::peer()),
        ConcurrencyLayer::new(LocalGuard::new(Gradient2::default())),
    ))
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    Ok(address)
}

/// Connections that ask while they are told to.
struct Load {
    active: watch::Sender<bool>,
    answers: Arc<AtomicU64>,
}

impl Load {
    async fn on(server: SocketAddr) -> io::Result<Self> {
        let (active, told) = watch::channel(false);
        let answers = Arc::new(AtomicU64::new(0));
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            tokio::spawn(ask(stream, told.clone(), Arc::clone(&answers)));
        }
        let load = Self { active, answers };
        load.during(Duration::from_millis(500)).await;
        Ok(load)
    }

    /// What was answered during a slice.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    async fn during(&self, slice: Duration) -> Answered {
        self.active.send_replace(true);
        tokio::time::sleep(slice / 20).await;
        let (before, start, worked) = (self.count(), Instant::now(), cpu_seconds());
        tokio::time::sleep(slice).await;
        let answers = (self.count() - before) as f64;
        let answered = Answered {
            rate: answers / start.elapsed().as_secs_f64(),
            per_cpu: answers / (cpu_seconds() - worked),
        };
        self.active.send_replace(false);
        tokio::time::sleep(Duration::from_millis(20)).await;
        answered
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

async fn ask(
    mut stream: TcpStream,
    mut active: watch::Receiver<bool>,
    answers: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut answer = [0; 1024];
    while active.wait_for(|active| *active).await.is_ok() {
        while *active.borrow() {
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
    Ok(())
}
