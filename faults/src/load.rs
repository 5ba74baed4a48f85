//! More clients than the backend can take, and when they were served.

use crate::clock::now;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_test_support::Client;
use tokio::runtime::{Builder, Runtime};

/// Clients that each have one request on the way at any time, until dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    // Dropped last: its tasks end with it.
    _runtime: Runtime,
}

#[derive(Debug)]
struct Shared {
    targets: Mutex<Vec<SocketAddr>>,
    started: Instant,
    /// Requests served, by the tenth of a second since `started`.
    served: Mutex<Vec<u32>>,
    over: AtomicBool,
}

/// How long a client waits for its answer before it hangs up.
const WAIT: Duration = Duration::from_millis(500);
/// How long it waits when it was refused.
const REFUSED: Duration = Duration::from_millis(40);
/// The resolution of what is recorded.
const SLOT: Duration = Duration::from_millis(100);

impl Load {
    /// So many clients, divided among `targets`.
    ///
    /// # Panics
    /// If there are no threads to be had.
    #[must_use]
    pub fn start(clients: usize, targets: Vec<SocketAddr>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let shared = Arc::new(Shared {
            targets: Mutex::new(targets),
            started: now(),
            served: Mutex::default(),
            over: AtomicBool::new(false),
        });
        for number in 0..clients {
            runtime.spawn(run(number, Arc::clone(&shared)));
        }
        Self {
            shared,
            _runtime: runtime,
        }
    }

    /// From now on requests go to these.
    pub fn send_to(&self, targets: Vec<SocketAddr>) {
        *lock(&self.shared.targets) = targets;
    }

    /// How long it has been going on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Requests served a second between two ages; 0 of no time.
    #[must_use]
    pub fn goodput(&self, from: Duration, to: Duration) -> f64 {
        let served = lock(&self.shared.served);
        let (from, to) = (slot(from), slot(to));
        let count: u32 = served.iter().take(to).skip(from).sum();
        let time = SLOT * u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        if time.is_zero() {
            0.0
        } else {
            f64::from(count) / time.as_secs_f64()
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

async fn run(number: usize, shared: Arc<Shared>) {
    let mut client: Option<Client> = None;
    while !shared.over.load(Ordering::Relaxed) {
        let target = {
            let targets = lock(&shared.targets);
            targets[number % targets.len()]
        };
        let asked = client.take().filter(|client| client.target() == target);
        let mut asked = asked.unwrap_or_else(|| Client::new(target));
        match tokio::time::timeout(WAIT, asked.get("/")).await {
            Ok(Ok(200)) => {
                let at = slot(shared.started.elapsed());
                let mut served = lock(&shared.served);
                if served.len() <= at {
                    served.resize(at + 1, 0);
                }
                served[at] += 1;
            }
            Ok(Ok(_)) => tokio::time::sleep(REFUSED).await,
            // It was stopped or killed.
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        }
        client = Some(asked);
    }
}

fn slot(age: Duration) -> usize {
    usize::try_from(age.as_millis() / SLOT.as_millis()).unwrap_or(usize::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
