//! Strict limits behind the middleware: what it says under each policy when the store does not answer, and requests that
//! wait for what a store counts.
#![cfg(feature = "redis")]

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use futures_util::future::join_all;
use std::time::Duration;
use tidegate_actix_web::RateLimit;
use tidegate_actix_web::tidegate::Quota;
use tidegate_actix_web::tidegate::store::RedisStore;
use tidegate_actix_web::tidegate::strict::{OnFailure, StrictLimiter};
use tidegate_test_support::RedisServer;

fn limit(on_failure: OnFailure) -> RateLimit {
    let nobody = RedisStore::new("redis://127.0.0.1:1").expect("an address");
    let limiter = StrictLimiter::builder(nobody, "actix", Quota::per_hour(4));
    RateLimit::new(limiter.on_failure(on_failure).build().expect("a limiter"))
}

#[actix_web::test]
async fn without_the_store_each_policy_says_what_it_promises() {
    for (on_failure, statuses) in [
        (OnFailure::Deny, [503, 503, 503]),
        (OnFailure::Allow, [200, 200, 200]),
        (OnFailure::local_share(2), [200, 200, 429]),
    ] {
        let handler = web::route().to(async || HttpResponse::Ok());
        let app = App::new().wrap(limit(on_failure)).default_service(handler);
        let app = init_service(app).await;
        for status in statuses {
            let response = call_service(&app, TestRequest::get().to_request()).await;
            assert_eq!(response.status().as_u16(), status, "{on_failure:?}");
            let headers = response.headers();
            assert_eq!(headers.contains_key("retry-after"), status != 200);
            assert_eq!(
                headers.contains_key("ratelimit"),
                matches!(on_failure, OnFailure::LocalShare { .. })
            );
        }
    }
}

#[actix_web::test]
async fn over_the_quota_requests_wait_for_the_store_when_told_to() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    for (name, quota, max_wait, denied) in [
        ("soon", Quota::per_second(1_000).burst(1), minute, 0),
        ("late", Quota::per_hour(1), hour / 2, 9),
    ] {
        let store = RedisStore::new(server.url()).expect("an address");
        let limiter = StrictLimiter::builder(store, name, quota).patience(minute / 3);
        let limit = RateLimit::new(limiter.build().expect("a limiter")).wait(max_wait);
        let handler = web::route().to(async || HttpResponse::Ok());
        let app = App::new().wrap(limit.clone()).default_service(handler);
        let app = init_service(app).await;
        let ask = |_| call_service(&app, TestRequest::get().to_request());
        let responses = join_all((0..10).map(ask)).await;
        for response in responses {
            let status = response.status().as_u16();
            assert!(status == 200 || status == 429, "{status}");
            assert!(response.headers().contains_key("ratelimit"));
        }
        assert_eq!(limit.denied(), denied, "{name}");
    }
}
