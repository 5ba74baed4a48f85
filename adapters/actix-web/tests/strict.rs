//! A strict limit whose store does not answer: what the middleware says under each policy.
#![cfg(feature = "redis")]

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use tidegate_actix_web::RateLimit;
use tidegate_actix_web::tidegate::Quota;
use tidegate_actix_web::tidegate::store::RedisStore;
use tidegate_actix_web::tidegate::strict::{OnFailure, StrictLimiter};

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
            assert_eq!(headers.contains_key("ratelimit"), status != 503);
        }
    }
}
