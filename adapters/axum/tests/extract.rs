//! What handlers see and say: slots, their absence, denials of their own.

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use http_body_util::BodyExt;
use tidegate::adaptive::LocalGuard;
use tidegate::reject::Denial;
use tidegate::slot::Admission;
use tidegate::tower::{ConcurrencyLayer, RateLimitLayer};
use tidegate::{ConcurrencyGuard, Criticality, Quota, RateLimiter, Shed};
use tidegate_axum::{Denied, Slot, tidegate};
use tower::ServiceExt;

async fn ask(app: &Router) -> (u16, String, bool) {
    let request = Request::get("/").body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let marked = response.extensions().get::<Denial>().is_some();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap(), marked)
}

#[tokio::test]
async fn a_handler_sees_both_layers_decisions() {
    let app = Router::new()
        .route(
            "/",
            get(|slot: Slot| async move {
                assert_eq!(slot.decision(), Admission::Admitted);
                slot.rate().unwrap().remaining().to_string()
            }),
        )
        .layer(ConcurrencyLayer::new(LocalGuard::fixed(1)))
        .layer(RateLimitLayer::new(RateLimiter::new(Quota::per_hour(8))));
    assert_eq!(ask(&app).await, (200, "7".into(), false));
}

#[tokio::test]
async fn a_missing_layer_is_told_or_tolerated() {
    let app = Router::new().route("/", get(|_: Slot| async {}));
    let (status, message, _) = ask(&app).await;
    assert_eq!(status, 500);
    assert!(
        message.contains("no ConcurrencyLayer or RateLimitLayer"),
        "{message}"
    );
    let app = Router::new().route(
        "/",
        get(|slot: Option<Slot>| async move { slot.is_some().to_string() }),
    );
    assert_eq!(ask(&app).await.1, "false");
}

#[tokio::test]
async fn a_handlers_own_denial_is_marked_as_ours() {
    async fn refuses() -> Result<(), Denied> {
        let _lease = LocalGuard::fixed(0).try_acquire(Criticality::Bulk)?;
        Ok(())
    }
    let (status, problem, marked) = ask(&Router::new().route("/", get(refuses))).await;
    assert_eq!((status, marked), (503, true));
    assert!(problem.contains("temporary-reduced-capacity"), "{problem}");

    async fn limits() -> Result<(), Denied> {
        let limiter = RateLimiter::new(Quota::DENY_ALL);
        Denied::check(&limiter.check(&tidegate::Key::EVERYONE, 1))
    }
    let (status, problem, marked) = ask(&Router::new().route("/", get(limits))).await;
    assert_eq!((status, marked), (429, true));
    assert!(problem.contains("quota-exceeded"), "{problem}");
    assert_eq!(Denied::from(Shed::Full).0.status(), 503);
}
