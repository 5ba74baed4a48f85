//! Strict limits behind the layers: what clients are told by a store that answers, and by one that does not.
#![cfg(all(feature = "redis", feature = "tower"))]

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use std::convert::Infallible;
use std::time::Duration;
use tidegate::limiter::Count;
use tidegate::store::RedisStore;
use tidegate::strict::{OnFailure, StrictLimiter};
use tidegate::tower::RateLimitLayer;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;
use tower::{ServiceBuilder, ServiceExt};

fn limiter(url: &str, quota: Quota, on_failure: OnFailure) -> StrictLimiter {
    let store = RedisStore::new(url).expect("an address");
    StrictLimiter::builder(store, "http", quota)
        .on_failure(on_failure)
        .patience(Duration::from_secs(20))
        .build()
        .expect("a limiter")
}

async fn ask(layer: &RateLimitLayer, status: u16) -> (StatusCode, HeaderMap) {
    let handler = move |_: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok::<_, Infallible>(response)
    };
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service_fn(handler);
    let response = service.oneshot(Request::new(())).await.expect("infallible");
    (response.status(), response.headers().clone())
}

const NOBODY: &str = "redis://127.0.0.1:1";

#[tokio::test]
async fn clients_of_a_store_that_answers_are_told_as_ever() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server.url(), Quota::per_hour(1), OnFailure::Deny);
    let layer = RateLimitLayer::new(limiter);
    let (status, headers) = ask(&layer, 200).await;
    assert_eq!(status, 200);
    assert_eq!(headers["ratelimit"], r#""default";r=0;t=3600"#);
    // Once from the store, then as remembered.
    for _ in 0..3 {
        let (status, headers) = ask(&layer, 200).await;
        assert_eq!(status, 429);
        let seconds: u32 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    }
    assert_eq!(layer.denied(), 3);
}

#[tokio::test]
async fn without_the_store_deny_is_503_with_a_time_to_come_back() {
    let layer = RateLimitLayer::new(limiter(NOBODY, Quota::per_hour(1), OnFailure::Deny));
    for _ in 0..10 {
        let (status, headers) = ask(&layer, 200).await;
        assert_eq!(status, 503);
        let seconds: u32 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3).contains(&seconds), "{seconds}");
        assert!(!headers.contains_key("ratelimit"));
        assert_eq!(headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn without_the_store_allow_and_a_share_let_pass_what_they_promise() {
    let layer = RateLimitLayer::new(limiter(NOBODY, Quota::per_hour(4), OnFailure::Allow));
    for _ in 0..10 {
        assert_eq!(ask(&layer, 200).await.0, 200);
    }
    let share = OnFailure::local_share(2);
    let layer = RateLimitLayer::new(limiter(NOBODY, Quota::per_hour(4), share));
    for status in [200, 200, 429, 429] {
        assert_eq!(ask(&layer, 200).await.0, status);
    }
}

#[tokio::test]
async fn only_failures_count_in_the_store_too() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server.url(), Quota::per_hour(2), OnFailure::Deny);
    let layer = RateLimitLayer::new(limiter.clone()).count(Count::Failures);
    for (status, left) in [(200, 2), (401, 1), (200, 1), (401, 0)] {
        assert_eq!(ask(&layer, status).await.0, status);
        until_left(&limiter, left).await;
    }
    assert_eq!(ask(&layer, 200).await.0, 429);
}

/// What did not fail is given back in the background.
async fn until_left(limiter: &StrictLimiter, left: u32) {
    for _ in 0..2_000 {
        if limiter.peek(&Key::EVERYONE).await.remaining() == left {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{left} were to be left");
}
