//! Denial floods with request bodies that nobody reads: the server lives, slots come back, and clients are told.

mod support;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse};
use futures_util::future::join_all;
use support::{Client, Running, ask, settles};
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::tidegate::{ConcurrencyGuard, Criticality, Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit};
use tokio::io::AsyncWriteExt;

const BODY: usize = 1 << 20;

/// Posts a body, goes on sending whatever the server says, and reads the answer; none if the connection was reset
/// before it was read.
async fn post(server: &Running, fields: &str) -> Option<u16> {
    let mut client = Client::connect(server).await;
    let fields = format!("content-length: {BODY}\r\n{fields}");
    client.send("POST", "/", &fields).await;
    let (mut reader, mut writer) = client.0.split();
    let chunk = [b'x'; 16 * 1024];
    let send = async {
        for _ in 0..BODY / chunk.len() {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
    let _ = tokio::join!(send, read);
    let answer = String::from_utf8_lossy(&answer);
    Some(answer.strip_prefix("HTTP/1.1 ")?[..3].parse().unwrap())
}

async fn flood(server: &Running, expected: u16) {
    let answers = join_all((0..200).map(|_| post(server, "connection: close\r\n"))).await;
    let told: Vec<u16> = answers.into_iter().flatten().collect();
    assert!(told.iter().all(|status| *status == expected), "{told:?}");
    assert!(told.len() >= 100, "only {} of 200 were told", told.len());
    assert_eq!(ask(server, "GET", "/health").await.0, 200);
}

async fn upload(body: Bytes) -> HttpResponse {
    HttpResponse::Ok().body(body.len().to_string())
}

#[actix_web::test]
async fn a_full_guard_survives_bodies_that_nobody_reads() {
    let guard = LocalGuard::fixed(1);
    let middleware = Concurrency::new(guard.clone()).exempt(|it| it.path() == "/health");
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .app_data(web::PayloadConfig::new(BODY))
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/", web::post().to(upload))
    };
    let server = serve!(app);
    let taken = guard.try_acquire(Criticality::Default).unwrap();
    flood(&server, 503).await;
    assert_eq!(guard.in_flight(), 1);
    drop(taken);
    assert_eq!(post(&server, "connection: close\r\n").await, Some(200));
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn a_spent_quota_survives_bodies_that_nobody_reads() {
    let middleware =
        RateLimit::new(RateLimiter::new(Quota::DENY_ALL)).exempt(|it| it.path() == "/health");
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/", web::post().to(upload))
    };
    let server = serve!(app);
    flood(&server, 429).await;
}

#[actix_web::test]
async fn a_slot_comes_back_when_the_body_is_not_read_or_never_ends() {
    let guard = LocalGuard::fixed(4);
    let middleware = Concurrency::new(guard.clone());
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .route("/unread", web::post().to(HttpResponse::Accepted))
            .route("/read", web::post().to(upload))
    };
    let server = serve!(app, h1_allow_half_closed(false));
    for path in ["/unread", "/read"] {
        let mut client = Client::connect(&server).await;
        client
            .send("POST", path, "content-length: 100000\r\n")
            .await;
        client.0.write_all(&[b'x'; 1000]).await.unwrap();
        if path == "/unread" {
            assert_eq!(client.head().await.0, 202);
        } else {
            settles(&guard, 1).await;
        }
        drop(client);
        settles(&guard, 0).await;
    }
}
