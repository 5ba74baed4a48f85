//! Limits that differ from route to route: `cargo run --release --example per_route`, then
//!
//! ```text
//! curl -i http://127.0.0.1:3000/search      5 a second and 1000 an hour for each client
//! curl -i http://127.0.0.1:3000/report      2 at once, whoever asks
//! curl -i http://127.0.0.1:3000/items/1     100 a second for each API key and template of the path
//! curl -i http://127.0.0.1:3000/health      no limit
//! ```

use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::time::Duration;
use tidegate::adaptive::LocalGuard;
use tidegate::tower::key::header;
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::key;

async fn report() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "a long report"
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let searches = RateLimiter::builder(Quota::per_second(5))
        .also("hourly", Quota::per_hour(1000).sliding())
        .build()
        .expect("two names");
    let reports = LocalGuard::fixed(2);
    let items = RateLimiter::new(Quota::per_second(100).burst(200));

    let app = Router::new()
        // `route_layer` leaves requests that match no route alone.
        .merge(
            Router::new()
                .route("/search", get(|| async { "found" }))
                .route_layer(RateLimitLayer::new(searches).key(key::peer())),
        )
        .merge(
            Router::new()
                .route("/report", get(report))
                .route_layer(ConcurrencyLayer::new(reports)),
        )
        .nest(
            "/items",
            Router::new()
                .route("/{id}", get(|| async { "an item" }))
                .route("/{id}/parts", get(|| async { "its parts" }))
                .route_layer(
                    RateLimitLayer::new(items).key((header("x-api-key"), key::matched_path())),
                ),
        )
        .route("/health", get(|| async { "well" }))
        .into_make_service_with_connect_info::<SocketAddr>();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
