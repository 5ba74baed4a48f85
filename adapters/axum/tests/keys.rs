//! Keys from what axum knows: peers and templates, and what happens where it knows nothing.

mod support;

use axum::Router;
use axum::routing::get;
use http::Version;
use support::{Client, serve, serve_plain};
use tidegate::tower::RateLimitLayer;
use tidegate::{Quota, RateLimiter};
use tidegate_axum::{key, tidegate};

fn app(key: tidegate::tower::key::RequestKey) -> (Router, RateLimiter) {
    let limiter = RateLimiter::new(Quota::per_hour(2));
    let layer = RateLimitLayer::new(limiter.clone()).key(key);
    let app = Router::new()
        .route("/items/{id}", get(async || "item"))
        .route("/users/{id}", get(async || "user"))
        .layer(layer);
    (app, limiter)
}

async fn statuses(address: std::net::SocketAddr, paths: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in paths {
        let mut client = Client::connect(address, Version::HTTP_11).await;
        statuses.push(client.get(path).await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn connections_from_one_address_share_its_quota() {
    let (app, limiter) = app(key::peer());
    let address = serve(app).await;
    assert_eq!(statuses(address, &["/items/1"; 3]).await, [200, 200, 429]);
    let peer = tidegate::Key::of(&address.ip());
    assert_eq!(limiter.peek(&peer).remaining(), 0);
}

#[tokio::test]
async fn without_connect_info_all_share_one_quota_and_nobody_gets_a_500() {
    let (app, limiter) = app(key::peer());
    let address = serve_plain(app).await;
    assert_eq!(statuses(address, &["/items/1"; 3]).await, [200, 200, 429]);
    let unknown = tidegate::Key::of("<unknown peer>");
    assert_eq!(limiter.peek(&unknown).remaining(), 0);
}

#[tokio::test]
async fn paths_count_by_their_template() {
    let (app, limiter) = app(key::matched_path());
    let address = serve_plain(app).await;
    let paths = ["/items/1", "/items/2", "/items/3", "/users/1", "/made/up"];
    assert_eq!(statuses(address, &paths).await, [200, 200, 429, 200, 404]);
    let unmatched = tidegate::Key::of("<unmatched>");
    assert_eq!(limiter.peek(&unmatched).remaining(), 1);
}
