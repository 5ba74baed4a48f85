//! The guard on the caller's side: a hyper client that keeps the queue at its partner short, and its own callers in
//! line.
//!
//! The partner here is a server in this program that works on 8 requests at once, 20 ms each; more than that wait
//! there. 64 callers share the client, which starts with no idea of it and finds a limit from the latencies. Without
//! the layer 64 would be at the partner.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::adaptive::{LocalGuard, Vegas};
use tidegate::classify::Classifier;
use tidegate::tower::{ConcurrencyLayer, OnFull};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};

const PARTNER_TAKES: usize = 8;
const CALLERS: usize = 64;
const CALLS: usize = 25;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let partner = Arc::new(Partner::default());
    let url = start(Arc::clone(&partner)).await?;
    let guard = LocalGuard::new(Vegas::default());
    let client = ServiceBuilder::new()
        .layer(
            ConcurrencyLayer::new(guard.clone())
                // A caller would rather wait a little here than be refused by its own side.
                .on_full(OnFull::Wait(Duration::from_secs(1)))
                // From here a 429 or a failed connection means that the partner is overloaded.
                .classifier(Classifier::upstream()),
        )
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

    for round in 1..=5 {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let client = client.clone();
            let url = url.clone();
            callers.spawn(async move {
                let mut served = 0;
                for _ in 0..CALLS {
                    let request = Request::get(&url).body(Empty::new())?;
                    let response = client.clone().oneshot(request).await?;
                    served += usize::from(response.status() == StatusCode::OK);
                    response.into_body().collect().await?;
                }
                Ok::<_, Error>(served)
            });
        }
        let mut served = 0;
        while let Some(caller) = callers.join_next().await {
            served += caller??;
        }
        println!(
            "round {round}: {served} of {} calls served in {:.1} s; limit {}, most at the partner {}",
            CALLERS * CALLS,
            began.elapsed().as_secs_f64(),
            guard.limit(),
            partner.most.swap(0, Ordering::Relaxed),
        );
    }
    Ok(())
}

#[derive(Debug)]
struct Partner {
    servers: Semaphore,
    present: AtomicUsize,
    most: AtomicUsize,
}

impl Default for Partner {
    fn default() -> Self {
        Self {
            servers: Semaphore::new(PARTNER_TAKES),
            present: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }
}

async fn serve(State(partner): State<Arc<Partner>>) -> StatusCode {
    let present = partner.present.fetch_add(1, Ordering::Relaxed) + 1;
    partner.most.fetch_max(present, Ordering::Relaxed);
    let server = partner.servers.acquire().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(server);
    partner.present.fetch_sub(1, Ordering::Relaxed);
    StatusCode::OK
}

async fn start(partner: Arc<Partner>) -> std::io::Result<String> {
    let app = Router::new().route("/", get(serve)).with_state(partner);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
