//! Clients with limits of their own behind the tower layer: what they are told, and what becomes of a request while
//! nobody knows yet whose it is.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate::limiter::Count;
use tidegate::limits::{Limits, Plan};
use tidegate::tiers::{OnFailure, Tier, Tiers};
use tidegate::tower::{Headers, RateLimitLayer, key};
use tidegate::{Quota, Slot};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// Says with its status whether it saw a decision.
#[expect(clippy::needless_pass_by_value, reason = "a service takes its request")]
fn handler(request: Request<()>) -> std::future::Ready<Answer> {
    let mut response = Response::new(Full::default());
    if request.extensions().get::<Slot>().is_none() {
        *response.status_mut() = http::StatusCode::ACCEPTED;
    }
    if request.uri().path() == "/wrong" {
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    }
    ready(Ok(response))
}

fn plan() -> Plan {
    let plan = Plan::new().limit("strangers", Quota::per_hour(1)).unwrap();
    let plan = plan.limit("free", Quota::per_hour(2)).unwrap();
    plan.limit("pro", Quota::per_hour(3)).unwrap()
}

/// Tiers whose identities are their names; `contract` has a quota of its own, `error` has none that can be found.
/// Counts how often it looks up, each time with a permit.
fn tiers(permits: &Arc<Semaphore>, calls: &Arc<AtomicU32>, on_failure: OnFailure) -> Tiers {
    let (permits, calls) = (Arc::clone(permits), Arc::clone(calls));
    let look_up = move |identity: String| {
        let (permits, calls) = (Arc::clone(&permits), Arc::clone(&calls));
        async move {
            calls.fetch_add(1, Ordering::Relaxed);
            permits.acquire().await.expect("nobody closes it").forget();
            match &*identity {
                "contract" => Ok(Some(Tier::quota(Quota::per_hour(4)))),
                "free" | "pro" => Ok(Some(Tier::named(identity))),
                "error" => Err("nobody can say"),
                _ => Ok(None),
            }
        }
    };
    let tiers = Tiers::builder(Limits::new(&plan()), "strangers", look_up).on_failure(on_failure);
    let long = Duration::from_secs(3_600);
    tiers.cache(100, long).patience(long, long).build().unwrap()
}

/// A layer of tiers that answer at once.
fn layer(on_failure: OnFailure) -> (RateLimitLayer, Arc<AtomicU32>) {
    let calls = Arc::default();
    let permits = Arc::new(Semaphore::new(1_000));
    (layer_of(tiers(&permits, &calls, on_failure)), calls)
}

fn layer_of(tiers: Tiers) -> RateLimitLayer {
    RateLimitLayer::tiered(tiers, |request| {
        Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
    })
}

fn from(identity: &str) -> Request<()> {
    let request = Request::get("/").header("x-api-key", identity);
    request.body(()).unwrap()
}

async fn ask(layer: &RateLimitLayer, request: Request<()>) -> (u16, String) {
    let service = layer.layer(service_fn(handler));
    let response = service.oneshot(request).await.unwrap();
    let policy = response.headers().get("ratelimit-policy");
    let policy = policy.map_or("none", |it| it.to_str().unwrap());
    (response.status().as_u16(), policy.to_owned())
}

#[tokio::test]
async fn each_client_has_its_own_limit_and_count() {
    let (layer, calls) = layer(OnFailure::default());
    for (identity, limit, policy) in [
        ("free", 2, r#""free";q=2;w=3600"#),
        ("pro", 3, r#""pro";q=3;w=3600"#),
        ("contract", 4, r#""own";q=4;w=3600"#),
    ] {
        for _ in 0..limit {
            assert_eq!(ask(&layer, from(identity)).await, (200, policy.to_owned()));
        }
        assert_eq!(ask(&layer, from(identity)).await, (429, policy.to_owned()));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(layer.denied(), 3);
}

#[tokio::test]
async fn inventing_identities_gains_nothing() {
    let (layer, _) = layer(OnFailure::default());
    let mut passed = 0;
    for number in 0..100 {
        passed += u32::from(ask(&layer, from(&format!("made-up {number}"))).await.0 == 200);
    }
    passed += u32::from(ask(&layer, Request::new(())).await.0 == 200);
    assert_eq!(passed, 1);
    // By a key of the layer's they are told apart.
    let layer = layer.key(key::header("x-address"));
    for (address, status) in [("a", 200), ("b", 200), ("a", 429)] {
        let mut request = from("made-up");
        let address = http::HeaderValue::from_static(address);
        request.headers_mut().insert("x-address", address);
        assert_eq!(ask(&layer, request).await.0, status);
    }
}

#[tokio::test]
async fn without_an_answer_a_client_is_a_stranger_or_denied() {
    let (strangers, _) = layer(OnFailure::Stranger);
    assert_eq!(ask(&strangers, from("error")).await.0, 200);
    assert_eq!(ask(&strangers, from("error")).await.0, 429);

    let (deny, calls) = layer(OnFailure::Deny);
    for _ in 0..3 {
        let service = deny.layer(service_fn(handler));
        let response = service.oneshot(from("error")).await.unwrap();
        assert_eq!(response.status(), 503);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(headers.contains_key("retry-after") && !headers.contains_key("ratelimit"));
    }
    assert_eq!((deny.denied(), calls.load(Ordering::Relaxed)), (3, 1));
    assert_eq!(ask(&deny, from("free")).await.0, 200);
    // Who only watches lets everybody pass.
    assert_eq!(ask(&deny.shadow(true), from("error")).await.0, 200);
}

/// A service that may be called only where it was ready: a clone of it is not.
#[derive(Default)]
struct Careful {
    ready: bool,
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Careful {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        handler(request)
    }
}

#[tokio::test]
async fn a_request_waits_for_its_look_up_with_the_service_that_was_ready() {
    let (permits, calls) = (Arc::new(Semaphore::new(0)), Arc::default());
    let layer = layer_of(tiers(&permits, &calls, OnFailure::default()));
    let mut service = layer.layer(Careful::default());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        service.ready().await.unwrap();
        waiting.push(tokio::spawn(service.call(from("free"))));
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(waiting.iter().all(|it| !it.is_finished()));
    permits.add_permits(1);
    let mut statuses = Vec::new();
    for response in waiting {
        statuses.push(response.await.unwrap().unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn what_is_exempt_is_not_looked_up() {
    let (layer, calls) = layer(OnFailure::Deny);
    let layer = layer.exempt(|request| request.uri().path() == "/health");
    let health = || {
        let request = Request::get("/health").header("x-api-key", "free");
        request.body(()).unwrap()
    };
    for _ in 0..5 {
        assert_eq!(ask(&layer, health()).await, (202, "none".to_owned()));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn other_settings_hold_for_all_clients() {
    let (layer, _) = layer(OnFailure::default());
    let logins = layer
        .clone()
        .count(Count::Failures)
        .headers(Headers::Legacy);
    let wrong = || {
        let request = Request::get("/wrong").header("x-api-key", "free");
        request.body(()).unwrap()
    };
    for (request, status) in [
        (from("free"), 200),
        (wrong(), 401),
        (from("free"), 200),
        (wrong(), 401),
        (from("free"), 429),
    ] {
        assert_eq!(ask(&logins, request).await.0, status);
    }
    // In line for longer than the limit allows: denied at once.
    let patient = layer.wait(Duration::from_secs(1));
    assert_eq!(ask(&patient, from("pro")).await.0, 200);
    assert_eq!(ask(&patient, from("free")).await.0, 429);
}
