//! At the fence work in progress stops: handlers are answered with 503, bodies are torn, and the slots come back.
//!
//! A fleet of one over memory. Its driver runs on a runtime of its own whose only thread is blocked for longer than
//! the lease, as a stopped process is; what it finds when it goes on is the fence.

mod support;

use actix_web::web::{self, Bytes, Payload};
use actix_web::{App, Error, HttpRequest, HttpResponse};
use futures_util::stream::{self, StreamExt};
use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;
use support::{Client, Running, ask, comes_true};
use tidegate_actix_web::tidegate::fleet::{DistributedGuard, Estimate};
use tidegate_actix_web::tidegate::store::MemoryStore;
use tidegate_actix_web::{Concurrency, Slot};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::unbounded_channel;

struct Fleet {
    guard: DistributedGuard,
    driver: Option<Runtime>,
}

impl Fleet {
    async fn start() -> Self {
        let driver = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = DistributedGuard::builder(MemoryStore::new(), "backend")
            .node("one")
            .estimate(Estimate::Fixed(8))
            .heartbeat(Duration::from_millis(20))
            .ttl(Duration::from_millis(200))
            .margin(Duration::from_millis(20))
            .runtime(driver.handle().clone())
            .build()
            .unwrap();
        guard.ready().await.unwrap();
        Self {
            guard,
            driver: Some(driver),
        }
    }

    /// Stops the driver until the lease is over, and waits until it has seen that.
    async fn fence(&self) {
        let fences = self.guard.stats().fences;
        let (go, stopped) = mpsc::channel::<()>();
        let driver = self.driver.as_ref().expect("taken only by the drop");
        driver.spawn(async move { stopped.recv() });
        assert!(comes_true(|| is_refused(&self.guard)).await, "still open");
        drop(go);
        assert!(comes_true(|| self.guard.stats().fences > fences).await);
    }

    async fn drains(&self) {
        let empty = || self.guard.stats().in_flight == 0;
        assert!(comes_true(empty).await, "{:?}", self.guard.stats());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A runtime must not be dropped where waiting is forbidden.
        if let Some(driver) = self.driver.take() {
            driver.shutdown_background();
        }
    }
}

fn is_refused(guard: &DistributedGuard) -> bool {
    use tidegate_actix_web::tidegate::{ConcurrencyGuard, Criticality, Shed};
    matches!(guard.try_acquire(Criticality::Default), Err(Shed::Fenced))
}

fn chunks(chunk: &'static [u8]) -> impl stream::Stream<Item = Result<Bytes, Error>> {
    stream::repeat_with(move || Ok(Bytes::from_static(chunk)))
}

fn serve(middleware: Concurrency) -> Running {
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .route("/hangs", web::get().to(pending::<&str>))
            .route("/ok", web::get().to(HttpResponse::Ok))
            .route(
                "/stalls",
                web::get().to(|| async {
                    let stream = chunks(b"first").take(1).chain(stream::pending());
                    HttpResponse::Ok().streaming(stream)
                }),
            )
            .route(
                "/endless",
                web::get()
                    .to(|| async { HttpResponse::Ok().streaming(chunks(&[b'x'; 16 * 1024])) }),
            )
            .route(
                "/sees_it",
                web::get().to(|slot: Slot| async move {
                    slot.token().cancelled().await;
                    HttpResponse::NoContent().finish()
                }),
            )
    };
    serve!(app)
}

async fn begin(server: &Running, path: &str) -> Client {
    let mut client = Client::connect(server).await;
    client.send("GET", path, "connection: close\r\n").await;
    client
}

#[actix_web::test]
async fn a_handler_is_dropped_and_answered_with_503() {
    let fleet = Fleet::start().await;
    let server = serve(Concurrency::new(fleet.guard.clone()));
    let mut client = begin(&server, "/hangs").await;
    assert!(comes_true(|| fleet.guard.stats().in_flight == 1).await);
    fleet.fence().await;
    let (status, head) = client.head().await;
    assert_eq!(status, 503);
    assert!(head.contains("\r\nretry-after: "), "{head}");
    assert!(head.contains("application/problem+json"), "{head}");
    fleet.drains().await;
    fleet.guard.ready().await.unwrap();
    assert!(comes_true(|| !is_refused(&fleet.guard)).await);
    assert_eq!(ask(&server, "GET", "/ok").await.0, 200);
    fleet.drains().await;
}

#[actix_web::test]
async fn a_body_is_torn_whether_it_waits_or_always_has_more() {
    for path in ["/stalls", "/endless"] {
        let fleet = Fleet::start().await;
        let server = serve(Concurrency::new(fleet.guard.clone()));
        let mut client = begin(&server, path).await;
        assert_eq!(client.head().await.0, 200);
        client.0.read_u8().await.unwrap();
        fleet.fence().await;
        let rest = client.rest().await;
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "{path} ended as if it were whole"
        );
        fleet.drains().await;
    }
}

#[actix_web::test]
async fn i4_a_socket_is_torn_its_task_is_told_and_its_slot_comes_back() {
    let fleet = Fleet::start().await;
    let (tell, mut told) = unbounded_channel();
    let middleware = Concurrency::new(fleet.guard.clone());
    let app = move || {
        let tell = tell.clone();
        let socket = move |request: HttpRequest, body: Payload, slot: Slot| {
            let tell = tell.clone();
            async move {
                let (response, session, messages) = actix_ws::handle(&request, body)?;
                actix_web::rt::spawn(async move {
                    // Kept, so that only the fence can close the socket and give the slot back.
                    let _open = (session, messages);
                    let hold = slot.hold().expect("the handler still runs");
                    hold.token().cancelled().await;
                    let _ = tell.send(());
                    drop(hold);
                    pending::<()>().await;
                });
                Ok::<_, Error>(response)
            }
        };
        App::new()
            .wrap(middleware.clone())
            .route("/", web::get().to(socket))
    };
    let server = serve!(app);
    let mut client = support::dial(&server, "/").await;
    assert_eq!(fleet.guard.stats().in_flight, 1);
    assert!(told.try_recv().is_err(), "stopped for nothing");
    fleet.fence().await;
    let rest = client.rest().await;
    assert!(rest.is_empty(), "torn, without a close frame");
    let stopped = tokio::time::timeout(support::PATIENCE, told.recv()).await;
    assert_eq!(stopped.expect("the task goes on"), Some(()));
    fleet.drains().await;
}

#[actix_web::test]
async fn work_that_must_not_stop_sees_it_in_its_token() {
    let fleet = Fleet::start().await;
    let server = serve(Concurrency::new(fleet.guard.clone()).cancel_at_fence(false));
    let mut client = begin(&server, "/sees_it").await;
    assert!(comes_true(|| fleet.guard.stats().in_flight == 1).await);
    fleet.fence().await;
    assert_eq!(client.head().await.0, 204);
    fleet.drains().await;
}
