//! However often actix-web makes the app, per worker, scope and resource, a limit stays one limit.

mod support;

use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse};
use futures_util::future::join_all;
use std::sync::Arc;
use support::{Client, Running, ask, settles};
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit, key};
use tokio::sync::Semaphore;

type Gate = Data<Arc<Semaphore>>;

async fn waits(gate: Gate) -> HttpResponse {
    gate.acquire().await.unwrap().forget();
    HttpResponse::Ok().finish()
}

/// Opens `count` connections, which the server spreads over its workers, and asks on all of them at once.
async fn crowd(server: &Running, count: usize, path: impl Fn(usize) -> String) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(server).await);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        client.send("GET", &path(at), "").await;
    }
    clients
}

#[actix_web::test]
async fn twenty_connections_to_four_workers_get_two_slots() {
    let guard = LocalGuard::fixed(2);
    let gate = Arc::new(Semaphore::new(0));
    let middleware = Concurrency::new(guard.clone());
    let data = Data::new(Arc::clone(&gate));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .service(web::resource("/one").wrap(middleware.clone()).get(waits))
            .service(web::resource("/two").wrap(middleware.clone()).get(waits))
            .service(
                web::scope("/scope")
                    .wrap(middleware.clone())
                    .route("/three", web::get().to(waits)),
            )
    };
    let server = serve!(app, workers(4));
    let paths = ["/one", "/two", "/scope/three"];
    let mut clients = crowd(&server, 20, |at| paths[at % 3].into()).await;

    let mut answers: Vec<_> = clients.iter_mut().map(|it| Box::pin(it.head())).collect();
    for _ in 0..18 {
        let ((status, head), _, rest) = futures_util::future::select_all(answers).await;
        assert_eq!(status, 503, "{head}");
        answers = rest;
    }
    assert_eq!(guard.in_flight(), 2);
    gate.add_permits(2);
    for (status, head) in join_all(answers).await {
        assert_eq!(status, 200, "{head}");
    }
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn twenty_connections_to_four_workers_spend_one_quota() {
    let limiter = RateLimiter::new(Quota::per_hour(3));
    let middleware = RateLimit::new(limiter.clone()).key(key::peer());
    let told = middleware.clone();
    let app = move || {
        App::new()
            .wrap(middleware.clone())
            .route("/", web::get().to(HttpResponse::Ok))
    };
    let server = serve!(app, workers(4));
    let mut clients = crowd(&server, 20, |_| "/".into()).await;
    let answers = join_all(clients.iter_mut().map(Client::head)).await;
    let passed = answers.iter().filter(|(status, _)| *status == 200).count();
    let denied = answers.iter().filter(|(status, _)| *status == 429).count();
    assert_eq!((passed, denied, told.denied()), (3, 17, 17));
    assert_eq!(limiter.stats().keys, 1);
}

#[actix_web::test]
async fn a_middleware_made_anew_for_each_worker_asks_the_same_guard() {
    let guard = LocalGuard::fixed(0);
    let limiter = RateLimiter::new(Quota::per_hour(1));
    let (asked, counted) = (guard.clone(), limiter);
    let app = move || {
        App::new()
            .wrap(Concurrency::new(asked.clone()))
            .wrap(RateLimit::new(counted.clone()))
            .route("/", web::get().to(HttpResponse::Ok))
    };
    let server = serve!(app, workers(4));
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(ask(&server, "GET", "/").await.0);
    }
    assert_eq!(statuses, [503, 429, 429, 429, 429, 429, 429, 429]);
}
