//! However axum clones a layer (per route, method or connection), it is one limit.

mod support;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, get};
use http::Version;
use std::net::SocketAddr;
use std::sync::Arc;
use support::{Client, serve, serve_plain, settles};
use tidegate::adaptive::LocalGuard;
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{Quota, RateLimiter};
use tidegate_axum::tidegate;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Twenty connections, a request each to alternating `paths`, all held in the handler until everybody is answered
/// or in: how many got in.
async fn admitted(
    address: SocketAddr,
    paths: [&'static str; 2],
    guard: &LocalGuard,
    gate: &Semaphore,
) -> usize {
    let mut calls = JoinSet::new();
    for at in 0..20 {
        calls.spawn(async move {
            let mut client = Client::connect(address, Version::HTTP_11).await;
            client.get(paths[at % 2]).await.unwrap().status().as_u16()
        });
    }
    let mut answers = Vec::new();
    while answers.len() < 18 {
        answers.push(calls.join_next().await.unwrap().unwrap());
    }
    assert_eq!(answers, [503; 18]);
    settles(guard, 2).await;
    gate.add_permits(2);
    let admitted = calls.join_all().await;
    settles(guard, 0).await;
    admitted.into_iter().filter(|status| *status == 200).count()
}

#[tokio::test]
async fn twenty_connections_and_a_limit_of_two_let_two_in() {
    type Shape = fn(MethodRouter, ConcurrencyLayer) -> Router;
    let shapes: [(&str, Shape); 5] = [
        ("Router::layer", |held, layer| {
            Router::new()
                .route("/a", held.clone())
                .route("/b", held)
                .layer(layer)
        }),
        ("Router::route_layer", |held, layer| {
            Router::new()
                .route("/a", held.clone())
                .route("/b", held)
                .route_layer(layer)
        }),
        ("MethodRouter::layer", |held, layer| {
            Router::new()
                .route("/a", held.clone().layer(layer.clone()))
                .route("/b", held.layer(layer))
        }),
        ("Router::nest", |held, layer| {
            let nested = |path| Router::new().route(path, held.clone()).layer(layer.clone());
            Router::new()
                .nest("/a", nested("/"))
                .nest("/b", nested("/"))
        }),
        ("merged routers", |held, layer| {
            let one = |path| Router::new().route(path, held.clone()).layer(layer.clone());
            one("/a").merge(one("/b"))
        }),
    ];
    for (name, shape) in shapes {
        for plain in [true, false] {
            let guard = LocalGuard::fixed(2);
            let gate = Arc::new(Semaphore::new(0));
            let inside = Arc::clone(&gate);
            let held = get(move || async move { inside.acquire().await.unwrap().forget() });
            let app = shape(held, ConcurrencyLayer::new(guard.clone()));
            let address = if plain {
                serve_plain(app).await
            } else {
                serve(app).await
            };
            let admitted = admitted(address, ["/a", "/b"], &guard, &gate).await;
            assert_eq!(admitted, 2, "{name}, plain: {plain}");
        }
    }
}

#[tokio::test]
async fn a_handler_with_a_layer_of_its_own() {
    let guard = LocalGuard::fixed(2);
    let gate = Arc::new(Semaphore::new(0));
    let inside = Arc::clone(&gate);
    let held = move || async move { inside.acquire().await.unwrap().forget() };
    let held = held.layer(ConcurrencyLayer::new(guard.clone()));
    let app = Router::new().route("/", get(held));
    let address = serve_plain(app).await;
    assert_eq!(admitted(address, ["/", "/"], &guard, &gate).await, 2);
}

#[tokio::test]
async fn a_rate_limit_counts_over_routes_methods_and_connections() {
    let layer = RateLimitLayer::new(RateLimiter::new(Quota::per_hour(5)));
    let app = Router::new()
        .route("/a", get(async || "a").post(async || "a"))
        .route("/b", get(async || "b"))
        .layer(layer.clone());
    let address = serve_plain(app).await;
    let mut passed = 0;
    for (method, path) in [("GET", "/a"), ("POST", "/a"), ("GET", "/b")].repeat(5) {
        let mut client = Client::connect(address, Version::HTTP_11).await;
        let response = client.send(client.request(method, path)).await.unwrap();
        passed += u32::from(response.status() == 200);
    }
    assert_eq!((passed, layer.denied()), (5, 10));
}
