//! Clients that each have one request on the way at any time, over connections that they keep.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidegate_test_support::Client;

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) took: Duration,
    /// How long each 200 took, in microseconds.
    pub(crate) served: Vec<u32>,
    denied: Vec<u32>,
    /// All other statuses.
    pub(crate) others: BTreeMap<u16, u64>,
    /// Connections that broke instead of an answer.
    pub(crate) broken: u64,
}

impl Told {
    pub(crate) fn all(&self) -> u64 {
        self.served.len() as u64 + self.others.values().sum::<u64>() + self.broken
    }

    pub(crate) fn a_second(&self) -> f64 {
        self.all() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn percentile(&self, percent: usize) -> u32 {
        percentile(&self.served, percent)
    }

    pub(crate) fn percentile_denied(&self, percent: usize) -> u32 {
        percentile(&self.denied, percent)
    }

    fn add(&mut self, other: Self) {
        self.served.extend(other.served);
        self.denied.extend(other.denied);
        for (status, count) in other.others {
            *self.others.entry(status).or_default() += count;
        }
        self.broken += other.broken;
    }
}

/// Sends `requests` to `targets` over `clients` connections, which are divided among them. A client that was denied
/// waits for `pause`.
pub(crate) fn load(targets: &[SocketAddr], clients: usize, requests: u64, pause: Duration) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let begun = Arc::new(AtomicU64::new(0));
    let started = now();
    let mut told = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..clients {
            let target = targets[number % targets.len()];
            tasks.spawn(run(target, Arc::clone(&begun), requests, pause));
        }
        let mut told = Told::default();
        for other in tasks.join_all().await {
            told.add(other);
        }
        told
    });
    told.took = started.elapsed();
    told.served.sort_unstable();
    told.denied.sort_unstable();
    told
}

/// The body of a GET, over a connection of its own.
pub(crate) fn get(target: SocketAddr, path: &str) -> String {
    let ask = || -> io::Result<String> {
        let mut stream = Blocking::connect(target)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().expect("the gateway is there");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    body.to_owned()
}

async fn run(target: SocketAddr, begun: Arc<AtomicU64>, requests: u64, pause: Duration) -> Told {
    let mut told = Told::default();
    let mut client = Client::new(target);
    while begun.fetch_add(1, Ordering::Relaxed) < requests {
        let started = now();
        match client.get("/work").await {
            Ok(200) => told.served.push(micros(started)),
            Ok(status) => {
                told.denied.push(micros(started));
                *told.others.entry(status).or_default() += 1;
                tokio::time::sleep(pause).await;
            }
            Err(_) => told.broken += 1,
        }
    }
    told
}

fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}
