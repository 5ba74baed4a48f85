//! A WebSocket's slot: kept until the socket closes if somebody holds it, else given back at the head and counted.

mod support;

use axum::Router;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use http::Version;
use std::future::pending;
use std::net::SocketAddr;
use support::{VERSIONS, open, serve, settles, talk};
use tidegate::adaptive::LocalGuard;
use tidegate::tower::ConcurrencyLayer;
use tidegate_axum::{Slot, on_upgrade, tidegate};
use tokio::io::AsyncReadExt;

async fn server() -> (LocalGuard, ConcurrencyLayer, SocketAddr) {
    let guard = LocalGuard::fixed(2);
    let layer = ConcurrencyLayer::new(guard.clone());
    let app = Router::new()
        .route("/held", any(held))
        .route("/by_hand", any(by_hand))
        .route("/panics", any(panics))
        .route("/hangs", any(hangs))
        .route("/closes", any(closes))
        .route("/forgotten", any(forgotten))
        .layer(layer.clone());
    let address = serve(app).await;
    (guard, layer, address)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

async fn held(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    on_upgrade(upgrade, &slot, echo)
}

async fn by_hand(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    let hold = slot.hold().expect("the handler still runs");
    upgrade.on_upgrade(async move |socket| {
        echo(socket).await;
        hold.ignore();
    })
}

async fn panics(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    on_upgrade(upgrade, &slot, |socket| async move {
        assert!(socket.protocol().is_some(), "a bug in a socket's task");
    })
}

async fn hangs(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    on_upgrade(upgrade, &slot, |_socket| pending())
}

async fn closes(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
    on_upgrade(upgrade, &slot, async |_socket| ())
}

async fn forgotten(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo)
}

#[tokio::test]
async fn i4_a_held_socket_counts_until_the_client_closes_it() {
    for (path, version) in both_versions(["/held", "/by_hand"]) {
        let (guard, layer, address) = server().await;
        let mut first = open(address, path, version).await;
        let mut second = open(address, path, version).await;
        talk(&mut first).await;
        talk(&mut second).await;
        assert_eq!(guard.in_flight(), 2);
        drop(first);
        settles(&guard, 1).await;
        talk(&mut second).await;
        drop(second);
        settles(&guard, 0).await;
        assert_eq!(layer.unheld_upgrades(), 0);
    }
}

#[tokio::test]
async fn i4_a_socket_whose_task_ends_panics_or_is_closed_by_the_server() {
    for (path, version) in both_versions(["/closes", "/panics"]) {
        let (guard, _, address) = server().await;
        let mut socket = open(address, path, version).await;
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest).await;
        // Over HTTP/2 the stream may be reset.
        assert!(ended.is_ok() || version == Version::HTTP_2, "{ended:?}");
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_socket_whose_task_does_not_listen_keeps_its_slot() {
    for (path, version) in both_versions(["/hangs"]) {
        let (guard, _, address) = server().await;
        let socket = open(address, path, version).await;
        drop(socket);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            guard.in_flight(),
            1,
            "the task still works, and the slot says so"
        );
    }
}

#[tokio::test]
async fn i4_a_socket_nobody_holds_is_counted_and_runs_without_a_slot() {
    for (path, version) in both_versions(["/forgotten"]) {
        let (guard, layer, address) = server().await;
        let mut socket = open(address, path, version).await;
        settles(&guard, 0).await;
        talk(&mut socket).await;
        assert_eq!((guard.in_flight(), layer.unheld_upgrades()), (0, 1));
    }
}

fn both_versions<const N: usize>(
    paths: [&'static str; N],
) -> impl Iterator<Item = (&'static str, Version)> {
    let of_path = |path| VERSIONS.map(|version| (path, version));
    paths.into_iter().flat_map(of_path)
}
