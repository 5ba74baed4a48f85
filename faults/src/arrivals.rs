//! Requests that arrive when they arrive, whether or not those before them were answered.

use crate::clock::now;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_test_support::Client;
use tokio::runtime::{Builder, Runtime};

/// Poisson arrivals at several targets, until dropped.
#[derive(Debug)]
pub struct Arrivals {
    shared: Arc<Shared>,
    // Dropped last: its tasks end with it.
    _runtime: Runtime,
}

#[derive(Debug)]
struct Shared {
    /// Idle connections of each target, and its part of all requests, added up.
    targets: Vec<(Mutex<Vec<Client>>, SocketAddr, f64)>,
    /// Requests a second.
    rate: AtomicU32,
    told: Mutex<Told>,
    over: AtomicBool,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How long each 200 took, from when it was due until it was there, in microseconds.
    pub served: Vec<u32>,
    /// 503.
    pub refused: u32,
    /// Other statuses, broken connections, and answers that did not come.
    pub broken: u32,
    /// Requests that were not sent, because whoever sends them came too late for them.
    pub missed: u32,
}

/// How long a client waits for its answer.
const WAIT: Duration = Duration::from_secs(5);
/// What is due longer than this is not sent any more.
const LATE: Duration = Duration::from_millis(100);

impl Told {
    /// All that were to be sent.
    #[must_use]
    pub fn offered(&self) -> u32 {
        u32::try_from(self.served.len()).unwrap_or(u32::MAX)
            + self.refused
            + self.broken
            + self.missed
    }

    /// In milliseconds; 0 if nothing was served.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut served = self.served.clone();
        served.sort_unstable();
        let at = (served.len() * percent / 100).min(served.len().saturating_sub(1));
        f64::from(served.get(at).copied().unwrap_or(0)) / 1000.0
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.served.extend(&other.served);
        self.refused += other.refused;
        self.broken += other.broken;
        self.missed += other.missed;
    }
}

impl Arrivals {
    /// None yet. Each target gets its weight's part of them.
    ///
    /// # Panics
    /// If there are no threads to be had.
    #[must_use]
    pub fn start(targets: &[(SocketAddr, f64)]) -> Self {
        let sum: f64 = targets.iter().map(|(_, weight)| weight).sum();
        let mut up_to = 0.0;
        let targets = targets.iter().map(|(target, weight)| {
            up_to += weight / sum;
            (Mutex::default(), *target, up_to)
        });
        let shared = Arc::new(Shared {
            targets: targets.collect(),
            rate: AtomicU32::new(0),
            told: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.spawn(run(Arc::clone(&shared)));
        Self {
            shared,
            _runtime: runtime,
        }
    }

    /// From now on so many a second.
    pub fn set_rate(&self, rate: u32) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// What became of those that have ended since this was asked last.
    #[must_use]
    pub fn take(&self) -> Told {
        std::mem::take(&mut *lock(&self.shared.told))
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

async fn run(shared: Arc<Shared>) {
    let mut random = fastrand::Rng::with_seed(8);
    let mut due = now();
    while !shared.over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let rate = shared.rate.load(Ordering::Relaxed);
        if rate == 0 {
            due = now();
            continue;
        }
        while due <= now() {
            if due.elapsed() > LATE {
                lock(&shared.told).missed += 1;
            } else {
                let at = random.f64();
                let up_to = |it: &(_, _, f64)| at < it.2;
                let target = shared.targets.iter().position(up_to).unwrap_or(0);
                tokio::spawn(ask(Arc::clone(&shared), target, due));
            }
            let gap = -(1.0 - random.f64()).ln() / f64::from(rate);
            due += Duration::from_secs_f64(gap);
        }
    }
}

async fn ask(shared: Arc<Shared>, target: usize, due: Instant) {
    let (idle, address, _) = &shared.targets[target];
    let kept = lock(idle).pop();
    let mut client = kept.unwrap_or_else(|| Client::new(*address));
    let mut answer = tokio::time::timeout(WAIT, client.get("/")).await;
    if let Ok(Err(_)) = answer {
        // The server may have closed a connection that nobody used for long.
        answer = tokio::time::timeout(WAIT, client.get("/")).await;
    }
    let took = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
    let mut told = lock(&shared.told);
    match answer {
        Ok(Ok(200)) => told.served.push(took),
        Ok(Ok(503)) => told.refused += 1,
        Ok(Ok(_) | Err(_)) | Err(_) => {
            told.broken += 1;
            return;
        }
    }
    drop(told);
    lock(idle).push(client);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
