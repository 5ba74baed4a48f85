//! Strict limits behind the layers: what clients are told by a store that answers, and by one that does not.
#![cfg(all(feature = "redis", feature = "tower"))]

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use std::convert::Infallible;
use std::time::Duration;
use tidegate::limiter::Count;
use tidegate::limits::{Limits, Plan};
use tidegate::store::RedisStore;
use tidegate::strict::{OnFailure, StrictLimiter};
use tidegate::tower::RateLimitLayer;
use tidegate::{Key, Quota};
use tidegate_test_support::{RedisServer, TcpProxy};
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
    ask_with(layer, Request::new(()), status).await
}

async fn ask_with(
    layer: &RateLimitLayer,
    request: Request<()>,
    status: u16,
) -> (StatusCode, HeaderMap) {
    let handler = move |_: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok::<_, Infallible>(response)
    };
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service_fn(handler);
    let response = service.oneshot(request).await.expect("infallible");
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
        let (status, headers) = ask(&layer, 200).await;
        assert_eq!(status, 200);
        // Nobody knows what is left.
        assert!(!headers.contains_key("ratelimit"), "{headers:?}");
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

#[tokio::test]
async fn over_the_quota_requests_wait_for_the_store_when_told_to() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let thousand = Quota::per_second(1_000).burst(1);
    let soon = limiter(&server.url(), thousand, OnFailure::Deny);
    let layer = RateLimitLayer::new(soon.clone()).wait(Duration::from_secs(60));
    let all = (0..20).map(|_| ask(&layer, 200));
    for (status, headers) in futures_util::future::join_all(all).await {
        assert_eq!(status, 200);
        assert!(headers.contains_key("ratelimit"));
    }
    assert_eq!(layer.denied(), 0);
    // So does who counts failures alone, whose cost is reserved.
    let layer = layer.count(Count::Failures);
    let all = (0..5).map(|_| ask(&layer, 401));
    for (status, _) in futures_util::future::join_all(all).await {
        assert_eq!(status, 401);
    }

    // Who would have to wait for longer is told at once: the wait is an hour.
    let late = limiter(&server.url(), Quota::per_hour(1), OnFailure::Deny);
    let layer = RateLimitLayer::new(late).wait(Duration::from_secs(1_800));
    assert_eq!(ask(&layer, 200).await.0, 200);
    let (status, headers) = ask(&layer, 200).await;
    assert_eq!(status, 429);
    let seconds: u32 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    // Who only watches keeps nobody waiting.
    assert_eq!(ask(&layer.shadow(true), 200).await.0, 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_waited_for() {
    let long = Duration::from_secs(86_400);
    let deny = limiter(NOBODY, Quota::per_hour(1), OnFailure::Deny);
    let layer = RateLimitLayer::new(deny.clone()).wait(long);
    assert_eq!(ask(&layer, 200).await.0, 503);
    let told = deny.until_ready(&Key::EVERYONE, 1, long).await;
    assert_eq!(told.outcome(), tidegate::Verdict::Unavailable);
    let share = OnFailure::local_share(2);
    let layer = RateLimitLayer::new(limiter(NOBODY, Quota::per_hour(2), share)).wait(long / 48);
    assert_eq!(ask(&layer, 200).await.0, 200);
    assert_eq!(ask(&layer, 200).await.0, 429);
}

/// Two processes, each with a table of its own, and one store.
#[tokio::test]
async fn routes_counted_in_a_store_are_one_limit_for_all_processes_and_every_plan() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // A window that does not end in this test.
    let quota = |limit| {
        let quota = Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds");
        quota.fixed()
    };
    let plan = |limit| {
        let plan = Plan::new().limit("items", quota(limit));
        let plan = plan.and_then(|plan| plan.limits("rest", [("h", Quota::per_hour(1))]));
        let plan = plan.and_then(|plan| plan.route("/items/{id}", "items"));
        plan.and_then(|plan| plan.route("*", "rest"))
            .expect("a plan")
    };
    let process = || {
        let store = RedisStore::new(server.url()).expect("an address");
        let limits = Limits::made_by(&plan(3), move |limit| {
            let strict = StrictLimiter::for_limit(store.clone(), "http", limit);
            Ok(strict.patience(Duration::from_secs(20)).build()?.into())
        });
        let limits = limits.expect("limits");
        let layer = RateLimitLayer::routed(limits.clone(), |extensions| extensions.get().copied());
        (limits, layer)
    };
    let ((limits, layer), (_, other)) = (process(), process());
    let ask = async |layer: &RateLimitLayer, template: &'static str| {
        let mut request = Request::new(());
        request.extensions_mut().insert(template);
        let (status, headers) = ask_with(layer, request, 200).await;
        let policy = headers["ratelimit-policy"].to_str().unwrap().to_owned();
        (status.as_u16(), policy)
    };
    let three = || r#""items";q=3;w=315576000"#.to_owned();
    for (layer, status) in [(&layer, 200), (&other, 200), (&layer, 200), (&other, 429)] {
        assert_eq!(ask(layer, "/items/{id}").await, (status, three()));
    }
    let rest = || r#""rest.h";q=1;w=3600"#.to_owned();
    assert_eq!(ask(&other, "/").await, (200, rest()));
    assert_eq!(ask(&layer, "/").await, (429, rest()));

    let changes = limits.change(&plan(4)).expect("limits");
    assert_eq!(
        changes[0].to_string(),
        format!("limit items: {} -> {}", quota(3), quota(4))
    );
    let four = || r#""items";q=4;w=315576000"#.to_owned();
    assert_eq!(ask(&layer, "/items/{id}").await, (200, four()));
    assert_eq!(ask(&layer, "/items/{id}").await, (429, four()));
    assert_eq!(ask(&other, "/items/{id}").await, (429, three()));

    // A window that the store cannot count in: nothing changes.
    let odd = Quota::new(1, Duration::from_nanos(1_000_001)).expect("a quota");
    let odd = Plan::new().limit("odd", odd.fixed()).expect("a plan");
    assert!(limits.change(&odd).is_err());
    assert_eq!(limits.plan(), plan(4));
}

/// Two processes; the store is away for one of them while it has an old plan, and back when it has a new one.
#[tokio::test]
async fn what_was_admitted_without_the_store_outlives_a_change_of_the_plan() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(server.address());
    let plan = |limit| {
        let plan = Plan::new().limit("items", Quota::per_hour(limit).fixed());
        plan.and_then(|plan| plan.route("*", "items"))
            .expect("a plan")
    };
    let key = Key::of("a");
    let url = server.url_through(proxy.address());
    let limits = Limits::made_by(&plan(100), move |limit| {
        let store = RedisStore::new(&url)?;
        let strict = StrictLimiter::for_limit(store, "reload", limit)
            .patience(Duration::from_secs(20))
            // So that the store is asked each time.
            .breaker(u32::MAX, Duration::from_secs(1))
            .on_failure(OnFailure::local_share(5));
        Ok(strict.build()?.into())
    });
    let limits = limits.expect("limits");
    let now = || limits.find("GET", None).expect("a limit");
    assert!(now().decide(&key, 10).await.is_allowed());
    proxy.refuse();
    let before = now();
    assert!(before.decide(&key, 15).await.is_allowed());
    limits.change(&plan(200)).expect("limits");
    // Its share is 40 now, of which 15 are spent.
    assert!(!now().decide(&key, 26).await.is_allowed());
    assert!(now().decide(&key, 5).await.is_allowed());
    // Who still has the old one counts with the new one.
    assert!(before.decide(&key, 3).await.is_allowed());
    limits.change(&plan(300)).expect("limits");
    proxy.heal();
    let told = now().decide(&key, 1).await;
    assert_eq!(told.remaining(), 300 - 10 - 15 - 5 - 3 - 1);
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
