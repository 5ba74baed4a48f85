//! I4 over actix-web on loopback: whatever a request comes to, its slot is in use until then and free afterwards.

mod support;

use actix_web::dev::Payload;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, error};
use futures_util::stream::{self, StreamExt};
use std::future::{Ready, pending, ready};
use std::sync::Arc;
use support::{Client, Running, ask, keeps, settles};
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::{Concurrency, Slot};
use tokio::sync::Notify;

/// What a test lets happen at the moment it chooses.
type Go = Data<Arc<Notify>>;

type Chunk = Result<Bytes, error::Error>;

/// An argument that is never there.
struct Missing;

impl FromRequest for Missing {
    type Error = error::Error;
    type Future = Ready<Result<Self, error::Error>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Err(error::ErrorUnauthorized("who are you")))
    }
}

fn streaming(chunks: impl stream::Stream<Item = Chunk> + 'static) -> HttpResponse {
    HttpResponse::Ok().streaming(chunks)
}

fn first() -> impl stream::Stream<Item = Chunk> {
    stream::iter([Ok(Bytes::from_static(b"first"))])
}

fn endless() -> impl stream::Stream<Item = Chunk> {
    stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 4096])))
}

fn routes(app: &mut ServiceConfig) {
    app.route("/health", web::get().to(HttpResponse::Ok))
        .route("/ok", web::route().to(|| async { "hello" }))
        .route("/empty", web::get().to(HttpResponse::NoContent))
        .route("/fails", web::get().to(HttpResponse::InternalServerError))
        .route(
            "/error",
            web::get().to(|| async { Err::<&str, _>(error::ErrorBadGateway("upstream")) }),
        )
        .route(
            "/unauthorized",
            web::get().to(|_: Missing| async { "never" }),
        )
        .route(
            "/panics",
            web::get().to(|slot: Option<Slot>| async move {
                assert!(slot.is_none(), "a bug");
                "never"
            }),
        )
        .route("/hangs", web::get().to(pending::<&str>))
        .route(
            "/waits",
            web::get().to(|go: Go| async move {
                go.notified().await;
                "went"
            }),
        )
        .route(
            "/short",
            web::get().to(|| async { streaming(first().chain(first())) }),
        )
        .route(
            "/stalls",
            web::get().to(|| async { streaming(first().chain(stream::pending())) }),
        )
        .route(
            "/goes_on",
            web::get().to(|go: Go| async move {
                let wait = async move { go.notified().await };
                let more = stream::once(wait).flat_map(|()| endless());
                streaming(first().chain(more))
            }),
        )
        .route("/endless", web::get().to(|| async { streaming(endless()) }))
        .route(
            "/breaks",
            web::get().to(|| async {
                let broken = stream::iter([Err(error::ErrorInternalServerError("torn"))]);
                streaming(first().chain(broken))
            }),
        )
        .route(
            "/works_on",
            web::get().to(|slot: Slot, go: Go| async move {
                let hold = slot.hold().unwrap();
                actix_web::rt::spawn(async move {
                    go.notified().await;
                    hold.success();
                });
                "accepted"
            }),
        );
}

/// What becomes of a client that closes its side.
#[derive(Clone, Copy)]
enum HalfClosed {
    StillReads,
    IsGone,
}

fn serving_with(half_closed: HalfClosed) -> (LocalGuard, Arc<Notify>, Running) {
    let guard = LocalGuard::fixed(4);
    let go = Arc::new(Notify::new());
    let middleware = Concurrency::new(guard.clone()).exempt(|request| request.path() == "/health");
    let data = Data::new(Arc::clone(&go));
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .app_data(data.clone())
            .configure(routes)
    };
    let allow = matches!(half_closed, HalfClosed::StillReads);
    (guard, go, serve!(app, h1_allow_half_closed(allow)))
}

fn serving() -> (LocalGuard, Arc<Notify>, Running) {
    serving_with(HalfClosed::StillReads)
}

/// Reads the head of `path` and the first bytes of its body.
async fn begin(server: &Running, path: &str) -> Client {
    let mut client = Client::connect(server).await;
    client.send("GET", path, "").await;
    assert_eq!(client.head().await.0, 200);
    tokio::io::AsyncReadExt::read_u8(&mut client.0)
        .await
        .unwrap();
    client
}

#[actix_web::test]
async fn i4_answers_of_every_kind() {
    for (method, path, status, ends_with) in [
        ("GET", "/ok", 200, "hello"),
        ("HEAD", "/ok", 200, "\r\n\r\n"),
        ("GET", "/empty", 204, "\r\n\r\n"),
        ("GET", "/fails", 500, "\r\n\r\n"),
        ("GET", "/error", 502, "upstream"),
        ("GET", "/unauthorized", 401, "who are you"),
        ("GET", "/no-such", 404, "\r\n\r\n"),
        ("GET", "/short", 200, "0\r\n\r\n"),
        // Torn before the head was flushed.
        ("GET", "/breaks", 0, ""),
        ("GET", "/panics", 0, ""),
    ] {
        let (guard, _, server) = serving();
        for _ in 0..6 {
            let (told, answer) = ask(&server, method, path).await;
            assert_eq!(told, status, "{method} {path}: {answer}");
            assert!(answer.ends_with(ends_with), "{method} {path}: {answer}");
            settles(&guard, 0).await;
        }
    }
}

#[actix_web::test]
async fn i4_many_requests_over_one_connection() {
    let (guard, _, server) = serving();
    let mut client = Client::connect(&server).await;
    for _ in 0..50 {
        client.send("GET", "/empty", "").await;
        assert_eq!(client.head().await.0, 204);
    }
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_client_gone_while_the_handler_runs_is_noticed_if_the_server_looks() {
    let (guard, _, server) = serving_with(HalfClosed::IsGone);
    let mut client = Client::connect(&server).await;
    client.send("GET", "/hangs", "").await;
    settles(&guard, 1).await;
    drop(client);
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_client_gone_while_the_handler_runs_leaves_the_slot_with_the_handler() {
    let (guard, go, server) = serving();
    let mut client = Client::connect(&server).await;
    client.send("GET", "/waits", "").await;
    settles(&guard, 1).await;
    drop(client);
    assert!(keeps(&server, &guard, 1).await);
    go.notify_one();
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_stream_dropped_half_read() {
    for half_closed in [HalfClosed::StillReads, HalfClosed::IsGone] {
        let (guard, _, server) = serving_with(half_closed);
        let client = begin(&server, "/endless").await;
        settles(&guard, 1).await;
        drop(client);
        settles(&guard, 0).await;
    }
}

#[actix_web::test]
async fn i4_a_stream_that_stalls_before_a_client_that_went() {
    let (guard, _, server) = serving_with(HalfClosed::IsGone);
    let client = begin(&server, "/stalls").await;
    assert_eq!(guard.in_flight(), 1);
    drop(client);
    settles(&guard, 0).await;

    let (guard, go, server) = serving();
    let mut client = begin(&server, "/goes_on").await;
    // All of the first chunk, so that closing is a FIN and not a reset.
    let mut rest = [0; 9];
    tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut rest)
        .await
        .unwrap();
    drop(client);
    assert!(keeps(&server, &guard, 1).await);
    go.notify_one();
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_work_that_holds_on_outlives_its_response() {
    let (guard, go, server) = serving();
    assert_eq!(ask(&server, "GET", "/works_on").await.0, 200);
    assert!(keeps(&server, &guard, 1).await);
    go.notify_one();
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_guard_closed_meanwhile() {
    let (guard, _, server) = serving_with(HalfClosed::IsGone);
    let client = begin(&server, "/stalls").await;
    guard.close();
    assert_eq!(guard.in_flight(), 1);
    assert_eq!(ask(&server, "GET", "/ok").await.0, 503);
    assert_eq!(ask(&server, "GET", "/health").await.0, 200);
    drop(client);
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_streaming_bodies_count_until_they_end() {
    let (guard, _, server) = serving_with(HalfClosed::IsGone);
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..10 {
        let mut client = Client::connect(&server).await;
        client.send("GET", "/stalls", "").await;
        refused += u32::from(client.head().await.0 == 503);
        clients.push(client);
    }
    assert_eq!((refused, guard.in_flight()), (6, 4));
    drop(clients);
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_server_stopped_in_the_middle() {
    let (guard, _, server) = serving();
    let _stalled = begin(&server, "/stalls").await;
    let mut hung = Client::connect(&server).await;
    hung.send("GET", "/hangs", "").await;
    settles(&guard, 2).await;
    drop(server);
    settles(&guard, 0).await;
}

#[test]
fn the_middlewares_are_shared_between_workers() {
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Concurrency>();
    shared::<tidegate_actix_web::RateLimit>();
    shared::<tidegate_actix_web::key::RequestKey>();
}
