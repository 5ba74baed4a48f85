//! Two nodes that share one limit, in one process and without any server: the whole path in one command.
//!
//! `cargo run --release --example quickstart`, then follow what it prints. Addresses other than 127.0.0.1:3000 and
//! :3001 can be given as arguments.

use axum::body::Body;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tidegate::fleet::{DistributedGuard, Estimate};
use tidegate::store::MemoryStore;
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{Quota, RateLimiter, Shed};
use tidegate_axum::{Slot, key, on_upgrade};
use tokio::net::TcpListener;

/// What both nodes together may have in flight.
const LIMIT: u32 = 8;
/// What each client may ask for, on either node.
const QUOTA: Quota = Quota::per_second(20).burst(40);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.is_empty() {
        addresses = ["127.0.0.1:3000", "127.0.0.1:3001"].map(Into::into).into();
    }
    let store = MemoryStore::new();
    let limiter = RateLimiter::new(QUOTA);

    let mut nodes = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let guard = DistributedGuard::builder(store.clone(), "quickstart")
            .node(format!("node-{}", number + 1))
            .estimate(Estimate::Fixed(LIMIT))
            .build()?;
        guard.ready().await?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("{address}: {error}; give other addresses as arguments"))?;
        nodes.push((guard, listener));
    }
    let guards: Vec<_> = nodes.iter().map(|(guard, _)| guard.clone()).collect();
    let urls: Vec<_> = nodes
        .iter()
        .map(|(_, listener)| Ok(format!("http://{}", listener.local_addr()?)))
        .collect::<std::io::Result<_>>()?;
    for (guard, listener) in nodes {
        let app = app(guard, limiter.clone(), guards.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    tokio::select! {
        // Listens for Ctrl-C before it tells of it.
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = invite(&urls) => {}
    }
    for guard in guards {
        if let Err(draining) = guard.close().await {
            println!("{draining}");
        }
    }
    Ok(())
}

fn app(
    guard: DistributedGuard,
    limiter: RateLimiter,
    guards: Vec<DistributedGuard>,
) -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/slow", get(slow))
        .route("/stream", get(stream_lines))
        .route("/ws", get(socket))
        .layer(ConcurrencyLayer::new(guard))
        .layer(RateLimitLayer::new(limiter).key(key::peer()))
        // Below the layers, so outside of both limits.
        .route("/stats", get(async move || Json(stats(&guards))))
        .into_make_service_with_connect_info()
}

/// Keeps its slot for a second.
async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "at last\n"
}

/// Keeps its slot until the last line is sent, or the client hangs up.
async fn stream_lines() -> Body {
    Body::from_stream(stream::unfold(1, async |line| {
        if line > 10 {
            return None;
        }
        if line > 1 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Some((
            Ok::<_, std::io::Error>(format!("line {line} of 10\n")),
            line + 1,
        ))
    }))
}

/// Keeps its slot until the socket closes.
async fn socket(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    on_upgrade(upgrade, &slot, async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

fn stats(guards: &[DistributedGuard]) -> Value {
    let nodes = guards.iter().map(|guard| {
        let stats = guard.stats();
        let sheds: serde_json::Map<_, _> = Shed::ALL
            .iter()
            .zip(stats.sheds)
            .map(|(reason, count)| (reason.as_str().to_owned(), count.into()))
            .collect();
        json!({
            "node": *stats.node,
            "limit": stats.limit,
            "share": stats.share,
            "in_flight": stats.in_flight,
            "served": stats.successes,
            "shed": sheds,
        })
    });
    nodes.collect()
}

async fn invite(urls: &[String]) {
    println!("{}", what_to_try(urls));
    std::future::pending().await
}

fn what_to_try(urls: &[String]) -> String {
    let [first, .., last] = urls else {
        return format!("listening on {}", urls.concat());
    };
    format!(
        "\
{count} nodes of one fleet, {LIMIT} slots between them; {limit} requests a second for each client, {burst} at once.
listening on {all}

Too many of one client's requests: 429, with what to wait for.
  for i in $(seq 100); do curl -s -o /dev/null -w '%{{http_code}} ' {first}/; done; echo; curl -si {first}/

More at once than the node's share: 503. Again a second later, and the share has followed the demand.
  seq 12 | xargs -P 12 -I{{}} curl -s -o /dev/null -w '%{{http_code}} ' {first}/slow; echo
  curl -s {last}/stats

A stream and a WebSocket keep their slot to the end: look at /stats meanwhile.
  curl -N {first}/stream
  websocat {ws}/ws

Ctrl-C drains both nodes and leaves.",
        count = urls.len(),
        limit = QUOTA.limit(),
        burst = QUOTA.burst_size(),
        all = urls.join(" and "),
        ws = first.replacen("http", "ws", 1),
    )
}
