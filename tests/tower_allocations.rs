//! Admitted requests cost no allocation with extensions and headers off, and one with extensions on: the box that
//! `http::Extensions` makes for any value.
//!
//! Both services answer the same; what is counted is what the layers add. The requests come with an extension
//! already, as a server that tells the peer's address sends them: the first one ever makes `Extensions` itself.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use tidegate::adaptive::LocalGuard;
use tidegate::limits::{Limits, Plan};
use tidegate::tiers::{Tier, Tiers};
use tidegate::tower::key::{self, PeerAddr};
use tidegate::tower::{ConcurrencyLayer, Headers, RateLimitLayer};
use tidegate::{Quota, RateLimiter, Slot};
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

fn handler(request: Request<()>) -> Ready<Answer> {
    // A handler that looks at its slot, and another handle on it that goes last.
    let slot = request.extensions().get::<Slot>().cloned();
    drop(request);
    assert!(slot.is_none_or(|slot| slot.rate().is_none_or(|rate| rate.is_allowed())));
    ready(Ok(Response::new(Full::from("hello"))))
}

/// Allocations for one request in the steady state.
fn allocations<S, B>(mut service: S) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let mut counts = [0; 8];
    for count in &mut counts {
        let mut request = Request::get("/").body(()).unwrap();
        let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
        request.extensions_mut().insert(PeerAddr(peer));
        let mut request = Some(request);
        *count = allocation_counter::measure(|| {
            let call = service.call(request.take().unwrap());
            let response = call.now_or_never().unwrap().unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().now_or_never().unwrap();
            drop(body.unwrap());
        })
        .count_total;
    }
    let steady = counts[counts.len() - 1];
    assert!(
        counts[1..].iter().all(|count| *count == steady),
        "{counts:?}"
    );
    steady
}

fn limiter() -> RateLimiter {
    RateLimiter::new(Quota::per_second(1_000_000))
}

#[test]
fn what_the_layers_add() {
    let bare = allocations(service_fn(handler));
    let added = |allocations: u64| allocations - bare;

    let guard = ConcurrencyLayer::new(LocalGuard::fixed(1));
    assert_eq!(added(allocations(guard.layer(service_fn(handler)))), 1);
    let guard = guard.extensions(false);
    assert_eq!(added(allocations(guard.layer(service_fn(handler)))), 0);

    let rate = RateLimitLayer::new(limiter())
        .key((key::peer(), key::method()))
        .headers(Headers::Off);
    assert_eq!(added(allocations(rate.layer(service_fn(handler)))), 1);
    let rate = rate.extensions(false);
    assert_eq!(added(allocations(rate.layer(service_fn(handler)))), 0);

    // Who its client is was looked up by the first request.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let plan = Plan::new().limit("strangers", Quota::per_second(1_000_000));
    let plan = plan.and_then(|plan| plan.limit("pro", Quota::per_second(1_000_000)));
    let limits = Limits::new(&plan.unwrap());
    for tier in [
        Tier::named("pro"),
        Tier::quota(Quota::per_second(1_000_000)),
    ] {
        let look_up = move |_| ready(Ok::<_, Infallible>(tier.clone()));
        let tiers = Tiers::builder(limits.clone(), "strangers", look_up).build();
        let tiered =
            RateLimitLayer::tiered(tiers.unwrap(), |request| Some(request.uri().path().into()));
        let tiered = tiered.headers(Headers::Off).extensions(false);
        let first = tiered
            .layer(service_fn(handler))
            .oneshot(Request::default());
        drop(runtime.block_on(first).unwrap());
        assert_eq!(added(allocations(tiered.layer(service_fn(handler)))), 0);
    }

    let both = rate.layer(guard.layer(service_fn(handler)));
    assert_eq!(added(allocations(both)), 0);
}
