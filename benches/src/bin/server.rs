//! Requests a second of a real axum server, with both layers and without.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin server            # 6 pairs of 10 s slices
//! cargo run --release -p tidegate-bench --bin server -- 3 20    # 20 pairs of 3 s slices
//! ```
//!
//! An empty handler, 64 connections that stay open, one request at a time on each, over the loopback. Client and
//! servers share the processors, so what the client costs is in both figures.

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
    let pairs = words.next().unwrap_or(6);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(compare(Duration::from_secs(seconds), pairs))
}

async fn compare(slice: Duration, pairs: u64) -> io::Result<()> {
    let bare = Load::on(serve(router()).await?).await?;
    let layered = Load::on(serve(with_layers(router())).await?).await?;
    println!("| pair | without, 1/s | with, 1/s | ratio |\n|---|---:|---:|---:|");
    let mut ratios = Vec::new();
    for pair in 1..=pairs {
        // In turns, also who comes first.
        let (without, with) = if pair % 2 == 0 {
            let with = layered.during(slice).await;
            (bare.during(slice).await, with)
        } else {
            let without = bare.during(slice).await;
            (without, layered.during(slice).await)
        };
        println!(
            "| {pair} | {without:.0} | {with:.0} | {:.3} |",
            with / without
        );
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    let word = if median >= BAR { "met" } else { "MISSED" };
    println!("\nmedian {median:.3}, bar {BAR}: {word}");
    Ok(())
}

fn router() -> Router {
    Router::new().route("/", get(async || ()))
}

fn with_layers(router: Router) -> Router {
    let quota = Quota::per_second(1_000_000_000).burst(1_000_000_000);
    router
        .layer(ConcurrencyLayer::new(LocalGuard::new(Gradient2::default())))
        .layer(RateLimitLayer::new(RateLimiter::new(quota)).key(key::peer()))
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

    /// Answers a second during a slice.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    async fn during(&self, slice: Duration) -> f64 {
        self.active.send_replace(true);
        tokio::time::sleep(slice / 20).await;
        let (before, start) = (self.answers.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(slice).await;
        let answers = self.answers.load(Ordering::Relaxed) - before;
        let rate = answers as f64 / start.elapsed().as_secs_f64();
        self.active.send_replace(false);
        tokio::time::sleep(Duration::from_millis(20)).await;
        rate
    }
}

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
