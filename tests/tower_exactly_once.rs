//! I4 over tower alone: whatever a request comes to, its slot is in use until then and free afterwards.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate::adaptive::LocalGuard;
use tidegate::slot::Hold;
use tidegate::tower::{ConcurrencyLayer, OnFull};
use tidegate::{ConcurrencyGuard, Criticality, Slot};
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Response<Script>;

/// A body that does what it is told, one step a poll.
#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    polls: Arc<AtomicU32>,
}

#[derive(Debug)]
enum Step {
    Data(&'static str),
    Trailers,
    Stall,
    Break,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            polls: Arc::default(),
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Data(text)) => Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))),
            Some(Step::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Step::Break) => Some(Err(std::io::ErrorKind::ConnectionReset.into())),
            Some(Step::Stall) => {
                self.steps.push_front(Step::Stall);
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.steps.len() as u64);
        hint
    }
}

fn request(method: Method) -> Request<()> {
    Request::builder().method(method).body(()).unwrap()
}

fn get() -> Request<()> {
    request(Method::GET)
}

fn answer(code: u16, steps: impl IntoIterator<Item = Step>) -> Answer {
    let mut response = Response::new(Script::new(steps));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A guard of one slot, and a service behind it that answers with what `respond` makes of the request.
fn guarded<F>(
    respond: F,
) -> (
    LocalGuard,
    impl Service<
        Request<()>,
        Response = Response<impl Body<Data = Bytes, Error = impl std::fmt::Debug>>,
        Error = &'static str,
    > + Clone,
)
where
    F: Fn(Request<()>) -> Result<Answer, &'static str> + Clone,
{
    let guard = LocalGuard::fixed(1);
    let service = ConcurrencyLayer::new(guard.clone())
        .layer(service_fn(move |request| ready(respond(request))));
    (guard, service)
}

#[tokio::test]
async fn i4_ok_failed_and_missing_answers_give_it_back_with_the_body() {
    for code in [200, 206, 301, 404, 500, 503] {
        let (guard, service) =
            guarded(move |_| Ok(answer(code, [Step::Data("a"), Step::Data("b")])));
        let mut response = service.oneshot(get()).await.unwrap();
        assert_eq!((response.status().as_u16(), guard.in_flight()), (code, 1));
        let body = response.body_mut();
        assert_eq!(body.size_hint().lower(), 2);
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(guard.in_flight(), 1);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.is_end_stream());
        assert_eq!(guard.in_flight(), 0);
        drop(response);
        assert_eq!(guard.in_flight(), 0);
    }
}

#[tokio::test]
async fn i4_an_error_of_the_service_gives_it_back_and_is_passed_on() {
    let (guard, service) = guarded(|_| Err("connection refused"));
    let outcome = service.oneshot(get()).await;
    assert_eq!(outcome.err(), Some("connection refused"));
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_a_panic_in_the_handler_or_in_the_call_gives_it_back() {
    let guard = LocalGuard::fixed(1);
    let layer = ConcurrencyLayer::new(guard.clone());
    let in_the_future = layer.layer(service_fn(|_: Request<()>| async {
        std::panic::panic_any("a bug");
        #[expect(unreachable_code, reason = "says what the future would answer")]
        Ok::<Answer, Infallible>(answer(200, []))
    }));
    let outcome = AssertUnwindSafe(in_the_future.oneshot(get()))
        .catch_unwind()
        .await;
    assert!(outcome.is_err());
    assert_eq!(guard.in_flight(), 0);

    let mut in_the_call = layer.layer(service_fn(|_: Request<()>| {
        std::panic::panic_any("a bug");
        #[expect(unreachable_code, reason = "says what the service would answer")]
        ready(Ok::<Answer, Infallible>(answer(200, [])))
    }));
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| in_the_call.call(get())));
    assert!(outcome.is_err());
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_cancelled_before_the_first_poll_or_during_the_handler() {
    let guard = LocalGuard::fixed(1);
    let mut service = ConcurrencyLayer::new(guard.clone()).layer(service_fn(|_: Request<()>| {
        pending::<Result<Answer, Infallible>>()
    }));
    let call = service.ready().await.unwrap().call(get());
    assert_eq!(guard.in_flight(), 1);
    drop(call);
    assert_eq!(guard.in_flight(), 0);

    let mut call = Box::pin(service.ready().await.unwrap().call(get()));
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(guard.in_flight(), 1);
    drop(call);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_a_body_dropped_unread_half_read_or_while_it_stalls() {
    for reads in 0..=2 {
        let (guard, service) = guarded(|_| Ok(answer(200, [Step::Data("a"), Step::Stall])));
        let mut response = service.oneshot(get()).await.unwrap();
        for _ in 0..reads {
            let _ = response.body_mut().frame().now_or_never();
        }
        assert_eq!(guard.in_flight(), 1, "{reads} reads");
        drop(response);
        assert_eq!(guard.in_flight(), 0, "{reads} reads");
    }
}

#[tokio::test]
async fn i4_a_body_that_breaks_gives_it_back_with_the_error() {
    let (guard, service) = guarded(|_| Ok(answer(200, [Step::Data("a"), Step::Break])));
    let mut response = service.oneshot(get()).await.unwrap();
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    assert!(response.body_mut().frame().await.unwrap().is_err());
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_trailers_pass_and_end_it() {
    let (guard, service) = guarded(|_| Ok(answer(200, [Step::Data("a"), Step::Trailers])));
    let mut response = service.oneshot(get()).await.unwrap();
    assert!(
        response
            .body_mut()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .is_data()
    );
    assert_eq!(guard.in_flight(), 1);
    assert!(
        response
            .body_mut()
            .frame()
            .await
            .unwrap()
            .unwrap()
            .is_trailers()
    );
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_answers_without_a_body_give_it_back_with_the_head() {
    let (guard, service) = guarded(|_| Ok(answer(204, [])));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), guard.in_flight()), (204, 0));

    let (guard, service) = guarded(|_| Ok(answer(200, [Step::Data("never sent")])));
    let response = service.oneshot(request(Method::HEAD)).await.unwrap();
    assert_eq!((response.status().as_u16(), guard.in_flight()), (200, 0));
}

#[tokio::test]
async fn i4_an_upgrade_nobody_holds_gives_it_back_and_is_counted() {
    let guard = LocalGuard::fixed(1);
    let layer = ConcurrencyLayer::new(guard.clone());
    for (upgrade, code) in [(get(), 101), (request(Method::CONNECT), 200)] {
        let service = layer.layer(service_fn(move |_: Request<()>| {
            ready(Ok::<_, Infallible>(answer(code, [])))
        }));
        let response = service.oneshot(upgrade).await.unwrap();
        assert_eq!(guard.in_flight(), 0);
        drop(response);
        assert_eq!(guard.in_flight(), 0);
    }
    assert_eq!(layer.unheld_upgrades(), 2);
}

#[tokio::test]
async fn i4_an_upgrade_that_is_held_gives_it_back_when_the_socket_closes() {
    let guard = LocalGuard::fixed(1);
    let layer = ConcurrencyLayer::new(guard.clone());
    let (sockets, mut opened) = mpsc::unbounded_channel::<Hold>();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let slot = request.extensions().get::<Slot>().unwrap();
        sockets.send(slot.hold().unwrap()).unwrap();
        ready(Ok::<_, Infallible>(answer(101, [])))
    }));
    drop(service.oneshot(get()).await.unwrap());
    assert_eq!(guard.in_flight(), 1);
    drop(opened.recv().await.unwrap());
    assert_eq!((guard.in_flight(), layer.unheld_upgrades()), (0, 0));
}

#[tokio::test]
async fn i4_work_that_holds_on_outlives_a_client_that_hangs_up() {
    let guard = LocalGuard::fixed(1);
    let (tasks, mut started) = mpsc::unbounded_channel::<Hold>();
    let mut service =
        ConcurrencyLayer::new(guard.clone()).layer(service_fn(move |request: Request<()>| {
            let slot = request.extensions().get::<Slot>().unwrap();
            tasks.send(slot.hold().unwrap()).unwrap();
            pending::<Result<Answer, Infallible>>()
        }));
    let call = service.ready().await.unwrap().call(get());
    drop(call);
    assert_eq!(guard.in_flight(), 1);
    started.recv().await.unwrap().success();
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn i4_a_guard_closed_meanwhile_gets_its_slots_back() {
    let (guard, service) = guarded(|_| Ok(answer(200, [Step::Data("a"), Step::Data("b")])));
    let mut response = service.clone().oneshot(get()).await.unwrap();
    guard.close();
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    assert_eq!(guard.in_flight(), 1);
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    assert_eq!(guard.in_flight(), 0);
    let refused = service.oneshot(get()).await.unwrap();
    assert_eq!((refused.status().as_u16(), guard.in_flight()), (503, 0));
}

#[tokio::test]
async fn a_refused_request_takes_nothing_and_does_not_reach_the_service() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let (guard, service) = guarded(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(answer(200, [Step::Data("a")]))
    });
    let first = service.clone().oneshot(get()).await.unwrap();
    let refused = service.oneshot(get()).await.unwrap();
    assert_eq!((refused.status().as_u16(), guard.in_flight()), (503, 1));
    let body = refused.into_body();
    assert!(body.size_hint().exact().unwrap() > 0);
    assert!(!body.collect().await.unwrap().to_bytes().is_empty());
    drop(first);
    assert_eq!((guard.in_flight(), calls.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test]
async fn the_body_is_polled_no_further_than_its_reader_asks() {
    let polls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&polls);
    let (_, service) = guarded(move |_| {
        let mut response = answer(200, [Step::Data("a"), Step::Data("b"), Step::Data("c")]);
        response.body_mut().polls = Arc::clone(&counted);
        Ok(response)
    });
    let mut response = service.oneshot(get()).await.unwrap();
    assert_eq!(polls.load(Ordering::Relaxed), 0);
    let _ = response.body_mut().frame().await;
    assert_eq!(polls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_layer_is_one_limit_however_often_it_is_applied() {
    let guard = LocalGuard::fixed(2);
    let layer = ConcurrencyLayer::new(guard.clone());
    let mut calls: Vec<_> = (0..20)
        .map(|_| {
            let mut service = layer.clone().layer(service_fn(|_: Request<()>| {
                pending::<Result<Answer, Infallible>>()
            }));
            Box::pin(service.call(get()))
        })
        .collect();
    let refused = calls
        .iter_mut()
        .filter_map(|call| call.now_or_never())
        .filter(|answer| answer.as_ref().unwrap().status() == 503)
        .count();
    assert_eq!((refused, guard.in_flight()), (18, 2));
    drop(calls);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_served_or_refused_in_time_and_leaves_no_trace() {
    let guard = LocalGuard::fixed(1);
    let mut service = ConcurrencyLayer::new(guard.clone())
        .on_full(OnFull::Wait(Duration::from_secs(1)))
        .layer(service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(
                "text",
            ))))
        }));
    let taken = guard.try_acquire(Criticality::Default).unwrap();
    let mut left = Box::pin(service.call(get()));
    assert!(left.as_mut().now_or_never().is_none());
    drop(left);

    let began = tokio::time::Instant::now();
    assert_eq!(service.call(get()).await.unwrap().status(), 503);
    assert_eq!(began.elapsed().as_millis() / 10, 100);

    let served = tokio::spawn(service.call(get()));
    tokio::task::yield_now().await;
    drop(taken);
    let response = served.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), guard.in_flight()), (200, 1));
    drop(response);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_micro_queue_runs_who_finds_a_slot_at_once_and_holds_others_back_for_a_moment() {
    let guard = LocalGuard::fixed(1);
    let mut service = ConcurrencyLayer::new(guard.clone())
        .on_full(OnFull::micro_queue())
        .layer(service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(
                "text",
            ))))
        }));
    let running = service.call(get());
    assert_eq!(guard.in_flight(), 1, "the slot is taken in the call");
    let mut waiting = Box::pin(service.call(get()));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(running.await.unwrap());
    let response = waiting.await.unwrap();
    assert_eq!((response.status().as_u16(), guard.in_flight()), (200, 1));

    let mut left = Box::pin(service.call(get()));
    assert!(left.as_mut().now_or_never().is_none());
    drop(left);
    let began = tokio::time::Instant::now();
    assert_eq!(service.call(get()).await.unwrap().status(), 503);
    assert_eq!(began.elapsed().as_millis(), 20);
    drop(response);
    assert_eq!((guard.in_flight(), guard.stats().waits()), (0, 1));
}

#[tokio::test]
async fn exempt_and_shadowed_requests_pass_without_a_slot() {
    use tidegate::slot::Admission;
    let guard = LocalGuard::fixed(0);
    let layer = ConcurrencyLayer::new(guard.clone());
    let handler = service_fn(|request: Request<()>| {
        let slot = request.extensions().get::<Slot>().unwrap();
        let mut response = Response::new(Empty::<Bytes>::new());
        response.extensions_mut().insert(slot.decision());
        ready(Ok::<_, Infallible>(response))
    });
    let decision = |response: &Response<_>| *response.extensions().get::<Admission>().unwrap();

    let exempt = layer
        .clone()
        .exempt(|request| request.uri().path() == "/health");
    let health = Request::get("/health").body(()).unwrap();
    let response = exempt.layer(handler).oneshot(health).await.unwrap();
    assert_eq!(decision(&response), Admission::Exempt);
    assert_eq!(
        exempt.layer(handler).oneshot(get()).await.unwrap().status(),
        503
    );

    let shadow = layer
        .shadow(true)
        .layer(handler)
        .oneshot(get())
        .await
        .unwrap();
    assert_eq!(decision(&shadow), Admission::Shadowed(tidegate::Shed::Full));
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn less_critical_requests_are_refused_first() {
    let guard = LocalGuard::fixed(2);
    let mut service = ConcurrencyLayer::new(guard.clone())
        .criticality(|request| match request.uri().path() {
            "/batch" => Criticality::Bulk,
            _ => Criticality::Default,
        })
        .layer(service_fn(|_: Request<()>| {
            pending::<Result<Answer, Infallible>>()
        }));
    let batch = || Request::get("/batch").body(()).unwrap();
    let _first = service.call(batch());
    let refused = service.call(batch()).now_or_never().unwrap().unwrap();
    assert_eq!(refused.status(), 503);
    let _second = service.call(get());
    assert_eq!(guard.in_flight(), 2);
}

/// What axum asks of a layer and its service, and hyper of a future and a body.
#[test]
fn everything_can_be_named_and_sent_to_other_threads() {
    use tidegate::tower::{RateLimitLayer, concurrency, rate_limit};
    type Inner = tower::util::BoxCloneSyncService<Request<()>, Response<Full<Bytes>>, Infallible>;
    const fn shared<T: Clone + Send + Sync + 'static>() {}
    const fn sent<T: Send>() {}
    const fn movable<T: Unpin>() {}
    shared::<ConcurrencyLayer>();
    shared::<RateLimitLayer>();
    shared::<concurrency::Concurrency<Inner>>();
    shared::<rate_limit::RateLimit<Inner>>();
    sent::<concurrency::ResponseFuture<Inner, ()>>();
    sent::<rate_limit::ResponseFuture<Inner, ()>>();
    sent::<concurrency::ResponseBody<Full<Bytes>>>();
    movable::<concurrency::ResponseBody<Full<Bytes>>>();
    movable::<rate_limit::ResponseBody<Full<Bytes>>>();
}
