//! The shortest axum server with a quota for each client and a limit found from latency.

use axum::{Router, routing::get};
use std::net::SocketAddr;
use tidegate::adaptive::{Gradient2, LocalGuard};
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::key;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let guard = LocalGuard::new(Gradient2::default());
    let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .layer(ConcurrencyLayer::new(guard))
        .layer(RateLimitLayer::new(limiter).key(key::peer()))
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}
