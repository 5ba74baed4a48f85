//! What each option of the rate limit does, without a network: denials, headers, costs, what handlers see.

use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use std::time::Duration;
use tidegate_actix_web::rate_limit::Headers;
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tidegate_actix_web::tidegate::limiter::Count;
use tidegate_actix_web::tidegate::reject::{Denial, Reason};
use tidegate_actix_web::tidegate::time::Clock;
use tidegate_actix_web::tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{Concurrency, RateLimit, Slot};

fn limit(name: &str, quota: Quota) -> RateLimit {
    RateLimit::new(RateLimiter::builder(quota).name(name).build().unwrap())
}

/// Answers with what the handler saw of the decision.
async fn tells(slot: Option<Slot>) -> String {
    let rate = slot.and_then(|slot| slot.rate().copied());
    rate.map_or_else(
        || "none".into(),
        |rate| format!("{} {} left", rate.outcome().as_str(), rate.remaining()),
    )
}

/// An app with each `$middleware` around it, the last outermost.
macro_rules! app {
    ($($middleware:expr),*) => {
        init_service(App::new()$(.wrap($middleware))*.default_service(web::route().to(tells))).await
    };
}

/// The status, the headers and the text of the answer of `$app` to `$request`.
macro_rules! ask {
    ($app:expr, $request:expr) => {{
        let response = call_service(&$app, $request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body()).await.ok().unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }};
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

fn told<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .map(|it| it.to_str().unwrap())
        .collect()
}

#[actix_web::test]
async fn several_policies_are_one_decision_and_each_is_told() {
    let builder = RateLimiter::builder(Quota::per_hour(1)).name("burst");
    let limiter = builder.also("daily", Quota::per_day(9).burst(4));
    let app = app!(RateLimit::new(limiter.build().unwrap()));
    let (status, headers, text) = ask!(app, get("/"));
    assert_eq!((status, text.as_str()), (200, "allow 0 left"));
    assert_eq!(
        told(&headers, "ratelimit-policy"),
        [r#""burst";q=1;w=3600, "daily";q=9;w=86400"#]
    );
    assert_eq!(
        told(&headers, "ratelimit"),
        [r#""burst";r=0;t=3600, "daily";r=3;t=9600"#]
    );
    for _ in 0..2 {
        let (status, headers, text) = ask!(app, get("/"));
        assert_eq!((status, told(&headers, "retry-after")), (429, vec!["3600"]));
        assert!(told(&headers, "ratelimit")[0].contains(r#""daily";r=3;"#));
        assert!(text.contains(r#""violated-policies":["burst"]"#), "{text}");
    }
}

#[actix_web::test]
async fn only_failures_count() {
    let middleware = limit("logins", Quota::per_hour(2)).count(Count::Failures);
    let app = init_service(
        App::new()
            .wrap(middleware)
            .route("/in", web::get().to(HttpResponse::Ok))
            .route("/wrong", web::get().to(HttpResponse::Unauthorized))
            .route("/broken", web::get().to(broken)),
    )
    .await;
    for (path, status, left) in [
        ("/in", 200, 2),
        ("/wrong", 401, 1),
        ("/in", 200, 1),
        ("/broken", 500, 0),
        ("/in", 429, 0),
    ] {
        let (told_status, headers, _) = ask!(app, get(path));
        assert_eq!(told_status, status, "{path}");
        let left = format!(r#""logins";r={left};"#);
        assert!(
            told(&headers, "ratelimit")[0].starts_with(&left),
            "{path}: {headers:?}"
        );
    }
}

#[actix_web::test]
async fn over_the_quota_requests_wait_when_told_to() {
    let quota = Quota::per_second(50).burst(1);
    let app = app!(limit("slow", quota).wait(Duration::from_secs(60)));
    for _ in 0..4 {
        let (status, _, text) = ask!(app, get("/"));
        assert_eq!((status, text.as_str()), (200, "allow 0 left"));
    }
    let closed = app!(limit("closed", Quota::DENY_ALL).wait(Duration::from_secs(60)));
    assert_eq!(ask!(closed, get("/")).0, 429);
}

async fn broken() -> Result<String, actix_web::Error> {
    Err(actix_web::error::ErrorInternalServerError("broken"))
}

#[actix_web::test]
async fn allowed_and_denied_are_told_as_the_draft_says() {
    let middleware = limit("api", Quota::per_hour(2));
    let app = app!(middleware.clone());
    let (status, headers, text) = ask!(app, get("/"));
    assert_eq!((status, text.as_str()), (200, "allow 1 left"));
    assert_eq!(told(&headers, "ratelimit-policy"), [r#""api";q=2;w=3600"#]);
    assert_eq!(told(&headers, "ratelimit"), [r#""api";r=1;t=1800"#]);
    ask!(app, get("/"));

    let denied = call_service(&app, get("/").to_request()).await;
    assert_eq!(denied.status(), 429);
    let denial = *denied.response().extensions().get::<Denial>().unwrap();
    assert_eq!(
        (denial.reason(), denial.policy()),
        (Reason::Quota, Some("api"))
    );
    let (_, headers, problem) = ask!(app, get("/"));
    let wait = told(&headers, "retry-after")[0].to_owned();
    assert!(
        (1790..=1800).contains(&wait.parse::<u64>().unwrap()),
        "{wait}"
    );
    assert_eq!(
        told(&headers, "ratelimit"),
        [format!(r#""api";r=0;t={wait}"#)]
    );
    assert!(
        problem.contains(r#""violated-policies":["api"]"#),
        "{problem}"
    );
    assert_eq!(middleware.denied(), 2);
}

#[actix_web::test]
async fn several_limits_list_every_policy_and_show_the_binding_one_to_older_clients() {
    for swap in [false, true] {
        let mut limits = [
            limit("wide", Quota::per_hour(100)).headers(Headers::All),
            limit("narrow", Quota::per_hour(5)).headers(Headers::All),
        ];
        if swap {
            limits.reverse();
        }
        let [inside, outside] = limits;
        let (_, headers, text) = ask!(app!(inside, outside), get("/"));
        assert_eq!(told(&headers, "ratelimit").len(), 2);
        assert_eq!(told(&headers, "ratelimit-policy").len(), 2);
        assert_eq!(told(&headers, "x-ratelimit-limit"), ["5"]);
        assert_eq!(told(&headers, "x-ratelimit-remaining"), ["4"]);
        assert_eq!(told(&headers, "x-ratelimit-reset"), ["720"]);
        assert_eq!(text, "allow 4 left");
    }
}

/// What an older client reads is of the limit that denied, as `Retry-After` is, else of the one with the least left.
#[actix_web::test]
async fn older_fields_show_the_limit_that_denied_else_the_one_with_the_least_left() {
    // By the mark that a denial carries, and where there are none by its status.
    for extensions in [true, false] {
        for (outer, inner, costs, expected) in [
            // The outer one's last unit goes to what the inner one denies.
            ("2/h", "1/d", &[1, 1][..], ["86400", "1", "0", "86400"]),
            // Nothing is left at the outer one, and something, but not enough, at the one that denies.
            ("9/h", "8/d", &[4, 5], ["10800", "8", "4", "10800"]),
            ("4/h", "3/d", &[4], ["", "3", "3", "0"]),
            // Both allow.
            ("10/h", "20/d", &[1, 1], ["", "10", "8", "720"]),
            ("20/h", "10/d", &[1, 1], ["", "10", "8", "17280"]),
            ("5/h", "5/d", &[1], ["", "5", "4", "17280"]),
        ] {
            let limit = |quota: &str| {
                let limiter = RateLimiter::builder(quota.parse().unwrap());
                let limiter = limiter.clock(Clock::manual().0).build().unwrap();
                RateLimit::new(limiter)
                    .cost(|request| request.uri().query().unwrap().parse().unwrap())
                    .headers(Headers::Legacy)
                    .extensions(extensions)
            };
            let app = app!(limit(inner), limit(outer));
            let mut told_last = [const { String::new() }; 4];
            for cost in costs {
                let (_, headers, _) = ask!(app, get(&format!("/?{cost}")));
                let one = |name| told(&headers, name).concat();
                told_last = [
                    one("retry-after"),
                    one("x-ratelimit-limit"),
                    one("x-ratelimit-remaining"),
                    one("x-ratelimit-reset"),
                ];
            }
            assert_eq!(told_last, expected, "{outer} around {inner}");
        }
    }
}

#[actix_web::test]
async fn headers_and_extensions_can_be_switched_off() {
    let quiet = limit("api", Quota::per_hour(1))
        .headers(Headers::Off)
        .extensions(false);
    let app = app!(quiet);
    let (_, headers, text) = ask!(app, get("/"));
    assert_eq!(
        (told(&headers, "ratelimit").len(), text.as_str()),
        (0, "none")
    );
    let (status, headers, _) = ask!(app, get("/"));
    assert_eq!((status, told(&headers, "retry-after").len()), (429, 1));
    assert_eq!(told(&headers, "ratelimit").len(), 0);

    let old = app!(limit("api", Quota::per_hour(1)).headers(Headers::Legacy));
    let (_, headers, _) = ask!(old, get("/"));
    assert_eq!(told(&headers, "ratelimit").len(), 0);
    assert_eq!(told(&headers, "x-ratelimit-remaining"), ["0"]);
}

#[actix_web::test]
async fn costs_count_as_much_as_they_say() {
    let cost = |path: &str| match path {
        "/export" => 8,
        "/never" => 11,
        _ => 1,
    };
    let app = app!(limit("api", Quota::per_hour(10)).cost(move |it| cost(it.path())));
    assert_eq!(ask!(app, get("/export")).0, 200);
    assert_eq!(ask!(app, get("/export")).0, 429);
    assert_eq!(ask!(app, get("/")).0, 200);
    let (status, headers, _) = ask!(app, get("/never"));
    assert_eq!((status, told(&headers, "retry-after").len()), (429, 0));
}

#[actix_web::test]
async fn exempt_and_shadowed_requests_pass() {
    let closed = limit("api", Quota::DENY_ALL);
    let app = app!(closed.clone().exempt(|request| request.path() == "/health"));
    assert_eq!(ask!(app, get("/health")).0, 200);
    assert_eq!(ask!(app, get("/")).0, 429);

    let shadow = closed.shadow(true);
    let before = shadow.denied();
    let (status, headers, text) = ask!(app!(shadow.clone()), get("/"));
    assert_eq!((status, text.as_str()), (200, "deny 0 left"));
    assert_eq!(told(&headers, "ratelimit").len(), 0);
    assert_eq!(shadow.denied() - before, 1);
}

#[actix_web::test]
async fn a_grpc_call_is_denied_in_its_own_form_and_others_in_the_users() {
    let app = app!(limit("api", Quota::DENY_ALL).denial(|denial| {
        HttpResponse::build(denial.status().try_into().unwrap()).body("later")
    }));
    let call = TestRequest::post().insert_header(("content-type", "application/grpc"));
    let (status, headers, text) = ask!(app, call);
    assert_eq!((status, text.as_str()), (200, ""));
    assert_eq!(told(&headers, "grpc-status"), ["8"]);
    assert_eq!(told(&headers, "grpc-retry-pushback-ms"), ["-1"]);
    let (status, headers, text) = ask!(app, get("/"));
    assert_eq!((status, text.as_str()), (429, "later"));
    assert_eq!(told(&headers, "ratelimit").len(), 1);
}

#[actix_web::test]
async fn both_middlewares_tell_the_handler_in_either_order() {
    async fn tells(slot: Slot) -> String {
        let left = slot.rate().map(|rate| rate.remaining());
        format!("{:?} {left:?}", slot.decision())
    }
    let in_flight = Concurrency::new(LocalGuard::fixed(1));
    let quota = limit("api", Quota::per_hour(8));
    let app = init_service(
        App::new()
            .service(
                web::scope("/a")
                    .wrap(in_flight.clone())
                    .wrap(quota.clone())
                    .default_service(web::get().to(tells)),
            )
            .service(
                web::scope("/b")
                    .wrap(quota)
                    .wrap(in_flight)
                    .default_service(web::get().to(tells)),
            ),
    )
    .await;
    assert_eq!(ask!(app, get("/a/")).2, "Admitted Some(7)");
    assert_eq!(ask!(app, get("/b/")).2, "Admitted Some(6)");
}
