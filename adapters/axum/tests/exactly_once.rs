//! I4 over axum and real sockets, HTTP/1 and HTTP/2: whatever a request comes to, its slot is free afterwards.

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use http_body_util::BodyExt;
use std::future::pending;
use std::net::SocketAddr;
use support::{Client, VERSIONS, serve, settles, stalling};
use tidegate::adaptive::LocalGuard;
use tidegate::tower::ConcurrencyLayer;
use tidegate_axum::tidegate;

async fn server() -> (LocalGuard, SocketAddr) {
    let guard = LocalGuard::fixed(4);
    let app = Router::new()
        .route("/ok", get(|| async { "hello" }))
        .route(
            "/fails",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/panics", get(panics))
        .route("/hangs", any(hangs))
        .route("/stalls", get(|| async { stalling() }))
        .route("/endless", get(|| async { support::endless() }))
        .route("/breaks", get(breaks))
        .layer(ConcurrencyLayer::new(guard.clone()));
    (guard, serve(app).await)
}

async fn panics() -> StatusCode {
    let bug = true;
    assert!(!bug, "a bug in a handler");
    StatusCode::OK
}

async fn hangs() -> StatusCode {
    pending().await
}

async fn breaks() -> Response {
    let frames = [Ok("first"), Err(std::io::Error::other("the source broke"))];
    Response::new(Body::from_stream(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn i4_complete_answers() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, version).await;
        for (path, status) in [
            ("/ok", 200),
            ("/fails", 500),
            ("/empty", 204),
            ("/none", 404),
        ] {
            let response = client.get(path).await.unwrap();
            assert_eq!(response.status(), status, "{path} over {version:?}");
            response.into_body().collect().await.unwrap();
            settles(&guard, 0).await;
        }
        let head = client
            .send(client.request("HEAD", "/stalls"))
            .await
            .unwrap();
        assert_eq!(head.status(), 200);
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_panic_in_the_handler() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, version).await;
        assert!(client.get("/panics").await.is_err());
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_body_that_breaks() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, version).await;
        // Over HTTP/1 the head may not have been sent when the body breaks.
        let whole = async { client.get("/breaks").await?.into_body().collect().await };
        assert!(whole.await.is_err());
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_client_gone_while_the_handler_runs() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, version).await;
        {
            let call = client.get("/hangs");
            tokio::pin!(call);
            tokio::select! {
                _ = &mut call => unreachable!("the handler hangs"),
                () = settles(&guard, 1) => {}
            }
        }
        client.vanish();
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_stream_reset_while_the_handler_runs() {
    let (guard, address) = server().await;
    let mut client = Client::connect(address, http::Version::HTTP_2).await;
    {
        let call = client.get("/hangs");
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => unreachable!("the handler hangs"),
            () = settles(&guard, 1) => {}
        }
    }
    settles(&guard, 0).await;
    let response = client.get("/ok").await.unwrap();
    assert_eq!(response.status(), 200, "the connection lives on");
}

#[tokio::test]
async fn i4_a_client_gone_in_the_middle_of_the_body() {
    for version in VERSIONS {
        for path in ["/stalls", "/endless"] {
            let (guard, address) = server().await;
            let mut client = Client::connect(address, version).await;
            let mut response = client.get(path).await.unwrap();
            response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(guard.in_flight(), 1);
            client.vanish();
            settles(&guard, 0).await;
        }
    }
}

#[tokio::test]
async fn i4_a_stream_dropped_half_read() {
    for path in ["/stalls", "/endless"] {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, http::Version::HTTP_2).await;
        let mut response = client.get(path).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(guard.in_flight(), 1);
        drop(response);
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_a_guard_closed_meanwhile() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut client = Client::connect(address, version).await;
        let mut response = client.get("/stalls").await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
        guard.close();
        assert_eq!(guard.in_flight(), 1);
        let mut other = Client::connect(address, version).await;
        assert_eq!(other.get("/ok").await.unwrap().status(), 503);
        client.vanish();
        settles(&guard, 0).await;
    }
}

#[tokio::test]
async fn i4_streaming_bodies_count_until_they_end() {
    for version in VERSIONS {
        let (guard, address) = server().await;
        let mut clients = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..10 {
            let mut client = Client::connect(address, version).await;
            answers.push(client.get("/stalls").await.unwrap());
            clients.push(client);
        }
        let admitted = answers.iter().filter(|it| it.status() == 200).count();
        let refused = answers.iter().filter(|it| it.status() == 503).count();
        assert_eq!((admitted, refused, guard.in_flight()), (4, 6, 4));
        drop(answers);
        for client in clients {
            client.vanish();
        }
        settles(&guard, 0).await;
    }
}
