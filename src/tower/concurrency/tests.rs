//! What the layer tells the guard, and the fence: seen from inside, through the gate's books.

use crate::adaptive::LocalGuard;
use crate::classify::{Classifier, Measure};
use crate::permit::{Shed, Totals};
use crate::reject::Denial;
use crate::tower::{BoxError, ConcurrencyLayer, OnFull};
use crate::{ConcurrencyGuard, Criticality};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::future::{pending, ready};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

fn totals(guard: &LocalGuard) -> Totals {
    let reader = guard.try_acquire(Criticality::Default).unwrap();
    reader.gate().totals()
}

/// Ends the lease period, as the driver of a fleet guard does at the fence.
fn fence(guard: &LocalGuard) {
    guard.gate().end_period();
}

fn end_grace(guard: &LocalGuard) {
    guard.gate().end_grace();
}

fn get() -> Request<()> {
    Request::get("/").body(()).unwrap()
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("text"));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// (successes, failures, overloads, ignored) after one request answered by `respond`.
async fn told<B>(
    layer: impl FnOnce(ConcurrencyLayer) -> ConcurrencyLayer,
    respond: impl Fn() -> Response<B> + Clone,
) -> [u64; 4]
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let guard = LocalGuard::fixed(8);
    let service =
        layer(ConcurrencyLayer::new(guard.clone())).layer(service_fn(move |_: Request<()>| {
            ready(Ok::<_, Infallible>(respond()))
        }));
    let response = service.oneshot(get()).await.unwrap();
    let _ = response.into_body().collect().await;
    assert_eq!(guard.in_flight(), 0);
    counts(&totals(&guard))
}

fn counts(totals: &Totals) -> [u64; 4] {
    [
        totals.successes,
        totals.failures,
        totals.overloads,
        totals.ignored,
    ]
}

#[tokio::test]
async fn answers_are_told_to_the_guard() {
    for (code, counts) in [
        (200, [1, 0, 0, 0]),
        (500, [0, 1, 0, 0]),
        (503, [0, 0, 1, 0]),
        (404, [0, 0, 0, 1]),
        (429, [0, 0, 0, 1]),
    ] {
        assert_eq!(told(|it| it, || status(code)).await, counts, "{code}");
        let to_the_end = |it: ConcurrencyLayer| it.measure(Measure::End);
        assert_eq!(told(to_the_end, || status(code)).await, counts, "{code}");
    }
    let upstream = |it: ConcurrencyLayer| it.classifier(Classifier::upstream());
    assert_eq!(told(upstream, || status(429)).await, [0, 0, 1, 0]);
}

#[tokio::test]
async fn an_inner_layers_denial_is_not_the_backends_answer() {
    let closed = LocalGuard::fixed(0);
    let guard = LocalGuard::fixed(8);
    let inside = ConcurrencyLayer::new(closed).layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(status(200)))
    }));
    let response = ConcurrencyLayer::new(guard.clone())
        .layer(inside)
        .oneshot(get())
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    drop(response);
    assert_eq!(counts(&totals(&guard)), [0, 0, 0, 1]);
}

#[tokio::test]
async fn grpc_is_told_by_its_trailers() {
    for (code, counts) in [
        ("0", [1, 0, 0, 0]),
        ("14", [0, 0, 1, 0]),
        ("13", [0, 1, 0, 0]),
    ] {
        let respond = move || {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            let frames = [
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"message"))),
                Ok(Frame::trailers(trailers)),
            ];
            let body = StreamBody::new(futures_util::stream::iter(frames));
            Response::builder()
                .header("content-type", "application/grpc+proto")
                .body(body)
                .unwrap()
        };
        assert_eq!(told(|it| it, respond).await, counts, "grpc-status {code}");
    }
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let guard = LocalGuard::fixed(8);
    let panics = ConcurrencyLayer::new(guard.clone()).layer(service_fn(|_: Request<()>| async {
        let panics = true;
        assert!(!panics, "a bug");
        Ok::<_, Infallible>(status(200))
    }));
    tokio::spawn(panics.oneshot(get())).await.unwrap_err();
    assert_eq!(
        (guard.in_flight(), counts(&totals(&guard))),
        (0, [0, 1, 0, 0])
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_says_nothing() {
    let guard = LocalGuard::fixed(8);
    let mut hangs = ConcurrencyLayer::new(guard.clone()).layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<Full<Bytes>>, Infallible>>()
    }));
    let call = hangs.ready().await.unwrap().call(get());
    assert!(futures_util::FutureExt::now_or_never(call).is_none());
    assert_eq!(
        (guard.in_flight(), counts(&totals(&guard))),
        (0, [0, 0, 0, 1])
    );
}

#[tokio::test]
async fn the_fence_cancels_the_handler_and_answers_503() {
    let guard = LocalGuard::fixed(8);
    let (dropped, mut handler_dropped) = tokio::sync::mpsc::channel::<()>(1);
    let mut service =
        ConcurrencyLayer::new(guard.clone()).layer(service_fn(move |_: Request<()>| {
            let dropped = dropped.clone();
            async move {
                let _dropped = dropped;
                pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            }
        }));
    let call = tokio::spawn(service.ready().await.unwrap().call(get()));
    tokio::task::yield_now().await;
    assert_eq!(guard.in_flight(), 1);
    fence(&guard);
    let response = call.await.unwrap().unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let denial = response.extensions().get::<Denial>().unwrap();
    assert_eq!(
        denial.reason(),
        crate::reject::Reason::Overload(Shed::Fenced)
    );
    // What was cancelled may still run at the backend: the slot comes back after the grace.
    assert_eq!(guard.in_flight(), 1);
    end_grace(&guard);
    assert_eq!(guard.in_flight(), 0);
    drop(service);
    assert_eq!(handler_dropped.recv().await, None);
}

#[tokio::test]
async fn the_fence_ends_the_body_with_an_error() {
    let guard = LocalGuard::fixed(8);
    let service = ConcurrencyLayer::new(guard.clone()).layer(service_fn(|_: Request<()>| {
        let first = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"first")));
        let frames = futures_util::stream::StreamExt::chain(
            futures_util::stream::iter([first]),
            futures_util::stream::pending(),
        );
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    }));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let rest = tokio::spawn(async move { (body.frame().await, body) });
    tokio::task::yield_now().await;
    assert_eq!(guard.in_flight(), 1);
    fence(&guard);
    let (frame, body) = rest.await.unwrap();
    let error = frame.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Shed>(), Some(&Shed::Fenced));
    assert_eq!(guard.in_flight(), 1);
    end_grace(&guard);
    assert_eq!(guard.in_flight(), 0);
    assert!(http_body::Body::is_end_stream(&body));
}

#[tokio::test]
async fn the_fence_ends_a_body_that_never_has_to_wait() {
    let guard = LocalGuard::fixed(8);
    let service = ConcurrencyLayer::new(guard.clone()).layer(service_fn(|_: Request<()>| {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"more")))
        });
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    }));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_ok());
    }
    fence(&guard);
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Shed>(), Some(&Shed::Fenced));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_layer_told_not_to_cancel_lets_work_outlive_the_fence() {
    let guard = LocalGuard::fixed(8);
    let answer = std::sync::Arc::new(tokio::sync::Notify::new());
    let answered = std::sync::Arc::clone(&answer);
    let mut service = ConcurrencyLayer::new(guard.clone())
        .cancel_at_fence(false)
        .layer(service_fn(move |_: Request<()>| {
            let answered = std::sync::Arc::clone(&answered);
            async move {
                answered.notified().await;
                Ok::<_, Infallible>(status(200))
            }
        }));
    let call = tokio::spawn(service.ready().await.unwrap().call(get()));
    tokio::task::yield_now().await;
    fence(&guard);
    tokio::task::yield_now().await;
    assert_eq!(guard.in_flight(), 1);
    answer.notify_one();
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    end_grace(&guard);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_fence_in_its_token() {
    let guard = LocalGuard::fixed(8);
    let mut service = ConcurrencyLayer::new(guard.clone())
        .cancel_at_fence(false)
        .on_full(OnFull::Wait(Duration::from_secs(1)))
        .layer(service_fn(|request: Request<()>| async move {
            let slot = request.extensions().get::<crate::Slot>().unwrap();
            slot.token().cancelled().await;
            Ok::<_, Infallible>(status(204))
        }));
    let call = tokio::spawn(service.ready().await.unwrap().call(get()));
    tokio::task::yield_now().await;
    fence(&guard);
    assert_eq!(call.await.unwrap().unwrap().status(), 204);
}
