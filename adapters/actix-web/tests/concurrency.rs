//! What each option of the concurrency middleware does, without a network.

use actix_web::body::{BodySize, MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, Error, HttpResponse, error, web};
use futures_util::FutureExt;
use futures_util::future::join;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_actix_web::concurrency::OnFull;
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::tidegate::classify::{Answer, Classifier, Measure};
use tidegate_actix_web::tidegate::reject::{Denial, Reason};
use tidegate_actix_web::tidegate::{
    ConcurrencyGuard, Criticality, Key, Outcome, Quota, RateLimiter, Shed,
};
use tidegate_actix_web::{Concurrency, Denied, RateLimit, Slot};

/// Answers with what the handler saw of its slot.
async fn tells(slot: Option<Slot>) -> String {
    slot.map_or_else(|| "none".into(), |slot| format!("{:?}", slot.decision()))
}

/// Fails as asked: with a response, or an error that becomes one.
async fn fails(status: web::Path<u16>) -> Result<HttpResponse, Error> {
    match *status {
        0 => Err(Denied::from(Shed::Full).into()),
        418 => Err(error::ErrorImATeapot("no coffee")),
        502 => Err(error::ErrorBadGateway("upstream")),
        status => Ok(HttpResponse::build(status.try_into().unwrap()).finish()),
    }
}

/// An app with `$middleware` around it.
macro_rules! app {
    ($middleware:expr) => {
        init_service(
            App::new()
                .wrap($middleware)
                .route("/hangs", web::get().to(pending::<String>))
                .route("/fails/{status}", web::get().to(fails))
                .default_service(web::route().to(tells)),
        )
        .await
    };
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

async fn text(response: ServiceResponse<impl MessageBody>) -> String {
    let bytes = to_bytes(response.into_body()).await.ok().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[actix_web::test]
async fn a_full_guard_refuses_with_a_problem_document() {
    let guard = LocalGuard::fixed(0);
    let app = app!(Concurrency::new(guard.clone()));
    let refused = call_service(&app, get("/").to_request()).await;
    assert_eq!(refused.status(), 503);
    let headers = refused.headers();
    assert_eq!(
        headers.get("content-type").unwrap(),
        "application/problem+json"
    );
    let wait: u64 = headers
        .get("retry-after")
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=3).contains(&wait));
    let denial = *refused.response().extensions().get::<Denial>().unwrap();
    assert_eq!(denial.reason(), Reason::Overload(Shed::Full));
    let problem = text(refused).await;
    assert!(problem.contains("temporary-reduced-capacity"), "{problem}");
}

#[actix_web::test]
async fn a_grpc_call_is_refused_in_its_own_form_and_others_in_the_users() {
    let middleware = Concurrency::new(LocalGuard::fixed(0)).denial(|denial| {
        HttpResponse::build(denial.status().try_into().unwrap()).body("come back later")
    });
    let app = app!(middleware);
    let call = TestRequest::post().insert_header(("content-type", "application/grpc+proto"));
    let refused = call_service(&app, call.to_request()).await;
    assert_eq!(refused.status(), 200);
    assert_eq!(refused.headers().get("grpc-status").unwrap(), "14");
    assert!(refused.headers().contains_key("grpc-retry-pushback-ms"));
    assert_eq!(text(refused).await, "");

    let refused = call_service(&app, get("/").to_request()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.response().extensions().get::<Denial>().is_some());
    assert_eq!(text(refused).await, "come back later");
}

#[actix_web::test]
async fn exempt_and_shadowed_requests_pass_without_a_slot() {
    let guard = LocalGuard::fixed(0);
    let middleware = Concurrency::new(guard.clone());
    let app = app!(
        middleware
            .clone()
            .exempt(|request| request.path() == "/health")
    );
    let response = call_service(&app, get("/health").to_request()).await;
    assert_eq!(text(response).await, "Exempt");
    assert_eq!(
        call_service(&app, get("/").to_request()).await.status(),
        503
    );

    let app = app!(middleware.shadow(true).on_full(OnFull::Wait(Duration::MAX)));
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(text(response).await, "Shadowed(Full)");
    assert_eq!(guard.in_flight(), 0);
}

#[actix_web::test]
async fn handlers_see_their_slot_unless_extensions_are_off() {
    let middleware = Concurrency::new(LocalGuard::fixed(1));
    let app = app!(middleware.clone());
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(text(response).await, "Admitted");
    let app = app!(middleware.extensions(false));
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(text(response).await, "none");
}

#[actix_web::test]
async fn a_missing_middleware_is_told() {
    let app = init_service(App::new().route("/", web::get().to(|_: Slot| async { "never" }))).await;
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(response.status(), 500);
    let message = text(response).await;
    assert!(message.contains("no Concurrency or RateLimit"), "{message}");
}

#[actix_web::test]
async fn less_critical_requests_are_refused_first() {
    let guard = LocalGuard::fixed(2);
    let middleware = Concurrency::new(guard.clone()).criticality(|request| {
        match request.headers().contains_key("x-batch") {
            true => Criticality::Bulk,
            false => Criticality::Default,
        }
    });
    let app = app!(middleware);
    let batch = || get("/hangs").insert_header(("x-batch", "1")).to_request();
    let _first = app.call(batch());
    let refused = app.call(batch()).now_or_never().unwrap().unwrap();
    assert_eq!(refused.status(), 503);
    let _second = app.call(get("/hangs").to_request());
    assert_eq!(guard.in_flight(), 2);
}

#[actix_web::test]
async fn whoever_waits_is_served_or_refused_in_time_and_leaves_no_trace() {
    let guard = LocalGuard::fixed(1);
    let wait = |most| Concurrency::new(guard.clone()).on_full(OnFull::Wait(most));
    let taken = guard.try_acquire(Criticality::Default).unwrap();

    let impatient = app!(wait(Duration::from_millis(20)));
    let refused = call_service(&impatient, get("/").to_request()).await;
    assert_eq!(refused.status(), 503);
    let denial = *refused.response().extensions().get::<Denial>().unwrap();
    assert_eq!(denial.reason(), Reason::Overload(Shed::Deadline));

    let patient = app!(wait(Duration::from_secs(60)));
    let mut left = Box::pin(patient.call(get("/").to_request()));
    assert!(left.as_mut().now_or_never().is_none());
    drop(left);

    let served = patient.call(get("/").to_request());
    let (served, ()) = join(served, async { drop(taken) }).await;
    let served = served.unwrap();
    assert_eq!((served.status().as_u16(), guard.in_flight()), (200, 1));
    assert_eq!(text(served).await, "Admitted");
    assert_eq!(guard.in_flight(), 0);
}

#[actix_web::test]
async fn a_micro_queue_runs_who_finds_a_slot_at_once_and_holds_others_back_for_a_moment() {
    let guard = LocalGuard::fixed(1);
    let app = app!(Concurrency::new(guard.clone()).on_full(OnFull::micro_queue()));
    let running = app.call(get("/").to_request());
    assert_eq!(guard.in_flight(), 1, "the slot is taken in the call");
    let mut left = Box::pin(app.call(get("/").to_request()));
    assert!(left.as_mut().now_or_never().is_none());
    drop(left);
    let refused = call_service(&app, get("/").to_request()).await;
    assert_eq!(refused.status(), 503);
    let denial = *refused.response().extensions().get::<Denial>().unwrap();
    assert_eq!(denial.reason(), Reason::Overload(Shed::Deadline));

    // Long enough for this test: nothing it waits for is slow.
    let long = Concurrency::new(guard.clone()).on_full(OnFull::MicroQueue(Duration::from_secs(60)));
    let patient = app!(long);
    let waiting = patient.call(get("/").to_request());
    let (served, ()) = join(waiting, async { drop(running) }).await;
    assert_eq!(text(served.unwrap()).await, "Admitted");
    assert_eq!((guard.in_flight(), guard.stats().waits()), (0, 1));
}

#[actix_web::test]
async fn a_call_dropped_before_it_was_polled_or_while_it_hangs() {
    let guard = LocalGuard::fixed(1);
    let app = app!(Concurrency::new(guard.clone()));
    for polls in 0..2 {
        let mut call = Box::pin(app.call(get("/hangs").to_request()));
        for _ in 0..polls {
            assert!(call.as_mut().now_or_never().is_none());
        }
        assert_eq!(guard.in_flight(), 1);
        drop(call);
        assert_eq!(guard.in_flight(), 0);
    }
}

#[actix_web::test]
async fn the_slot_goes_with_the_body_whose_size_stays() {
    let guard = LocalGuard::fixed(1);
    let app = app!(Concurrency::new(guard.clone()));
    let response = call_service(&app, get("/").to_request()).await;
    assert_eq!(guard.in_flight(), 1);
    let boxed = response.into_body().boxed();
    assert_eq!(boxed.size(), BodySize::Sized(8));
    let kept = boxed
        .try_into_bytes()
        .expect_err("bytes alone would leave the slot behind");
    assert_eq!(guard.in_flight(), 1);
    assert_eq!(to_bytes(kept).await.unwrap(), "Admitted");
    assert_eq!(guard.in_flight(), 0);

    let empty = call_service(&app, get("/fails/204").to_request()).await;
    assert_eq!(empty.response().body().size(), BodySize::Sized(0));
    assert_eq!(guard.in_flight(), 0);
}

#[actix_web::test]
async fn the_classifier_hears_what_the_backend_said_and_no_denials() {
    for measure in [Measure::Head, Measure::End] {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let classifier = Classifier::custom(move |answer| {
            told.lock().unwrap().push(answer);
            Outcome::Success
        });
        let guard = LocalGuard::fixed(1);
        let middleware = Concurrency::new(guard.clone())
            .classifier(classifier)
            .measure(measure);
        let spent = RateLimit::new(RateLimiter::new(Quota::per_hour(6)));
        let app = init_service(
            App::new()
                .wrap(spent)
                .wrap(middleware)
                .route("/fails/{status}", web::get().to(fails)),
        )
        .await;
        for path in [
            "/fails/200",
            "/fails/418",
            "/fails/502",
            "/fails/500",
            // A denial of the handler's own, then those of the quota inside.
            "/fails/0",
            "/nowhere",
            "/fails/200",
            "/fails/200",
        ] {
            let response = call_service(&app, get(path).to_request()).await;
            drop(to_bytes(response.into_body()).await);
            assert_eq!(guard.in_flight(), 0, "{path}");
        }
        let statuses = [200, 418, 502, 500, 404].map(Answer::Status);
        assert_eq!(*heard.lock().unwrap(), statuses);
    }
}

#[actix_web::test]
async fn an_error_of_a_middleware_inside_is_known_by_its_status() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let guard = LocalGuard::fixed(1);
    let middleware =
        Concurrency::new(guard.clone()).classifier(Classifier::custom(move |answer| {
            told.lock().unwrap().push(answer);
            Outcome::Ignore
        }));
    let app = init_service(
        App::new()
            .wrap_fn(|request, app| {
                let denies = request.path() == "/denied";
                let call = app.call(request);
                async move {
                    drop(call.await?);
                    Err::<ServiceResponse, Error>(if denies {
                        Denied::from(Shed::Full).into()
                    } else {
                        error::ErrorForbidden("go away")
                    })
                }
            })
            .wrap(middleware)
            .default_service(web::get().to(tells)),
    )
    .await;
    for path in ["/", "/denied"] {
        let error = app.call(get(path).to_request()).await.err().unwrap();
        assert!(error.as_response_error().status_code().as_u16() >= 403);
        assert_eq!(guard.in_flight(), 0);
    }
    assert_eq!(*heard.lock().unwrap(), [Answer::Status(403)]);
}

#[actix_web::test]
async fn a_handlers_own_denial_is_a_marked_response() {
    async fn limits() -> Result<String, Denied> {
        let limiter = RateLimiter::new(Quota::DENY_ALL);
        Denied::check(&limiter.check(&Key::EVERYONE, 1))?;
        Ok("never".into())
    }
    let app = init_service(App::new().route("/", web::get().to(limits))).await;
    let denied = call_service(&app, get("/").to_request()).await;
    assert_eq!(denied.status(), 429);
    let denial = *denied.response().extensions().get::<Denial>().unwrap();
    assert_eq!(denial.policy(), Some("default"));
    assert!(text(denied).await.contains("quota-exceeded"));
}
