//! Admitted requests cost no allocation with extensions and headers off, and one with extensions on: the box that
//! `actix_web::dev::Extensions` makes for any value.
//!
//! All apps answer the same; what is counted is what the middlewares add. The requests come with an extension already:
//! the first one ever makes the map itself, which actix-web keeps with the request and uses again.

use actix_web::body::to_bytes;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, Error, HttpMessage, HttpResponse, web};
use tidegate_actix_web::rate_limit::Headers;
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit, Slot, key};

/// A handler that looks at its slot.
async fn handler(slot: Option<Slot>) -> HttpResponse {
    let allowed = slot.is_none_or(|slot| slot.rate().is_none_or(|rate| rate.is_allowed()));
    HttpResponse::Ok().body(if allowed { "hello" } else { "never" })
}

/// Allocations for one request in the steady state of an app with each `$middleware` around it.
macro_rules! allocations {
    ($($middleware:expr),*) => {{
        let app = App::new()
            $(.wrap($middleware))*
            .wrap_fn(|request, app| {
                request.extensions_mut().insert(());
                app.call(request)
            })
            .route("/", web::get().to(handler));
        count(&init_service(app).await, || {
            let peer = "192.0.2.1:4711".parse().unwrap();
            TestRequest::get().peer_addr(peer).to_request()
        })
        .await
    }};
}

async fn count<S, R, B>(app: &S, request: impl Fn() -> R) -> u64
where
    S: Service<R, Response = ServiceResponse<B>, Error = Error>,
    B: actix_web::body::MessageBody,
{
    let mut counts = [0; 8];
    for count in &mut counts {
        let mut request = Some(request());
        *count = allocation_counter::measure(|| {
            use futures_util::FutureExt;
            let call = app.call(request.take().unwrap());
            let response = call.now_or_never().unwrap().unwrap();
            assert_eq!(response.status(), 200);
            let body = to_bytes(response.into_body()).now_or_never().unwrap();
            assert_eq!(body.ok().unwrap(), "hello");
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

#[actix_web::test]
async fn what_the_middlewares_add() {
    let bare = allocations!();
    let added = |allocations: u64| allocations - bare;

    let guard = Concurrency::new(LocalGuard::fixed(1));
    assert_eq!(added(allocations!(guard.clone())), 1);
    let guard = guard.extensions(false);
    assert_eq!(added(allocations!(guard.clone())), 0);

    let rate = RateLimit::new(RateLimiter::new(Quota::per_second(1_000_000)))
        .key((key::peer(), key::method()))
        .headers(Headers::Off);
    assert_eq!(added(allocations!(rate.clone())), 1);
    let rate = rate.extensions(false);
    assert_eq!(added(allocations!(rate.clone())), 0);

    assert_eq!(added(allocations!(guard, rate)), 0);
}
