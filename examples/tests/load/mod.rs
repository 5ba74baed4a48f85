//! More requests than a backend can take, from clients that do not wait to be asked twice.

use crate::support::{Gateway, PAUSE};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How long a client waits for its answer before it hangs up.
const WAIT: Duration = Duration::from_millis(250);
/// The most that one client sends, so that a test that hangs ends.
const MOST: usize = 100_000;

/// Clients that send requests until told to stop.
pub(crate) struct Load {
    runtime: Runtime,
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    targets: Mutex<Vec<hyper::Uri>>,
    over: AtomicBool,
    served: AtomicU64,
    refused: AtomicU64,
}

/// What became of all requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) served: u64,
    /// 503.
    pub(crate) refused: u64,
}

impl Load {
    /// So many clients, each with one request at a time and nowhere to send it yet.
    pub(crate) fn start(clients: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        let client = Client::builder(TokioExecutor::new()).build_http();
        for number in 0..clients {
            let (shared, client) = (Arc::clone(&shared), client.clone());
            tasks.spawn_on(run(number, shared, client), runtime.handle());
        }
        Self {
            runtime,
            clients: tasks,
            shared,
        }
    }

    /// From now on requests go to these in turn.
    pub(crate) fn send_to(&self, gateways: &[&Gateway]) {
        let uri = |gateway: &&Gateway| format!("http://{}/", gateway.address).parse().unwrap();
        *self.shared.targets.lock().unwrap() = gateways.iter().map(uri).collect();
    }

    /// Waits for the last answers.
    pub(crate) fn stop(self) -> Sent {
        self.shared.over.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.clients.join_all());
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Sent {
            served: count(&self.shared.served),
            refused: count(&self.shared.refused),
        }
    }
}

async fn run(
    number: usize,
    shared: Arc<Shared>,
    client: Client<HttpConnector, Empty<bytes::Bytes>>,
) {
    for turn in number..number + MOST {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let target = {
            let targets = shared.targets.lock().unwrap();
            let at = turn % targets.len().max(1);
            targets.get(at).cloned()
        };
        let Some(target) = target else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answer = tokio::time::timeout(WAIT, async {
            let answer = client.get(target).await.ok()?;
            let status = answer.status();
            answer.into_body().collect().await.ok()?;
            Some(status.as_u16())
        });
        match answer.await {
            Ok(Some(200)) => {
                shared.served.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok(Some(503)) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some(status)) => panic!("status {status}"),
            // Of a gateway that was killed or stopped.
            Ok(None) | Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
