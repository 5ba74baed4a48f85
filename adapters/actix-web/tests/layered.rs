//! A layered limit behind the middleware, over a real Redis: what clients are told, and what their answers settle.
#![cfg(feature = "redis")]

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use std::time::Duration;
use tidegate_actix_web::RateLimit;
use tidegate_actix_web::tidegate::layered::LayeredLimiter;
use tidegate_actix_web::tidegate::limiter::Count;
use tidegate_actix_web::tidegate::store::RedisStore;
use tidegate_actix_web::tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

fn limiter(redis: &RedisServer) -> LayeredLimiter {
    let store = RedisStore::new(redis.url()).expect("an address");
    LayeredLimiter::builder(store, "actix", Quota::per_hour(2))
        .patience(Duration::from_secs(20))
        .build()
        .expect("a limiter")
}

#[actix_web::test]
async fn clients_of_a_layered_limit_are_told_as_ever() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let handler = web::route().to(async || HttpResponse::Ok());
    let limit = RateLimit::new(limiter(&redis));
    let app = init_service(App::new().wrap(limit).default_service(handler)).await;
    for status in [200, 200, 429, 429] {
        let response = call_service(&app, TestRequest::get().to_request()).await;
        assert_eq!(response.status().as_u16(), status);
        let headers = response.headers();
        assert_eq!(headers.contains_key("retry-after"), status == 429);
        assert!(headers.contains_key("ratelimit"));
    }
}

#[actix_web::test]
async fn only_failures_count() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&redis);
    let limit = RateLimit::new(limiter.clone()).count(Count::Failures);
    let app = App::new()
        .wrap(limit)
        .route("/in", web::to(async || HttpResponse::Ok()))
        .default_service(web::to(async || HttpResponse::Unauthorized()));
    let app = init_service(app).await;
    for (path, status, left) in [
        ("/in", 200, 2),
        ("/", 401, 1),
        ("/in", 200, 1),
        ("/", 401, 0),
        ("/in", 429, 0),
    ] {
        let request = TestRequest::get().uri(path).to_request();
        let response = call_service(&app, request).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(limiter.peek(&Key::EVERYONE).remaining(), left);
    }
}
