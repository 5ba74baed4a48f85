//! The shortest actix-web server with a quota for each client and a limit found from latency.

use actix_web::{App, HttpServer, web};
use tidegate::adaptive::{Gradient2, LocalGuard};
use tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit, key};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let guard = LocalGuard::new(Gradient2::default());
    let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
    let quota = RateLimit::new(limiter).key(key::peer());

    HttpServer::new(move || {
        App::new()
            .wrap(Concurrency::new(guard.clone()))
            .wrap(quota.clone())
            .route("/", web::get().to(|| async { "hello" }))
    })
    .bind(("127.0.0.1", 3000))?
    .run()
    .await
}
