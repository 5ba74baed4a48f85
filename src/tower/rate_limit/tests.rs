//! The layer on a clock moved by hand: denials, headers, what handlers see.

use crate::limiter::Count;
use crate::limits::{Limits, Plan};
use crate::reject::{Denial, Reason};
use crate::time::{Clock, ManualClock};
use crate::tower::{BoxError, Headers, RateLimitLayer, key};
use crate::{ClientIp, Quota, RateLimiter, Slot};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

fn limiter(quota: Quota) -> (RateLimiter, ManualClock) {
    let (clock, lever) = Clock::manual();
    let builder = RateLimiter::builder(quota).name("api").clock(clock);
    (builder.build().unwrap(), lever)
}

type Reply = Response<Full<Bytes>>;

/// Answers with what the handler saw of the decision in its extensions.
#[expect(clippy::needless_pass_by_value, reason = "a service takes its request")]
fn handler(request: Request<()>) -> std::future::Ready<Result<Reply, Infallible>> {
    let mut response = Response::new(Full::from("hello"));
    if let Some(slot) = request.extensions().get::<Slot>() {
        response.extensions_mut().insert(*slot.rate().unwrap());
    }
    ready(Ok(response))
}

async fn ask(
    layer: &RateLimitLayer,
    request: Request<()>,
) -> Response<impl Body<Data = Bytes, Error = Infallible> + use<>> {
    layer
        .layer(service_fn(handler))
        .oneshot(request)
        .await
        .unwrap()
}

fn get() -> Request<()> {
    Request::get("/").body(()).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .map(|it| it.to_str().unwrap())
        .collect()
}

#[tokio::test]
async fn allowed_and_denied_are_told_as_the_draft_says() {
    let (limiter, clock) = limiter(Quota::per_minute(2));
    let layer = RateLimitLayer::new(limiter);
    let first = ask(&layer, get()).await;
    assert_eq!(first.status(), 200);
    assert_eq!(
        header(first.headers(), "ratelimit-policy"),
        [r#""api";q=2;w=60"#]
    );
    assert_eq!(header(first.headers(), "ratelimit"), [r#""api";r=1;t=30"#]);
    assert_eq!(
        first.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    clock.advance(Duration::from_millis(500));
    ask(&layer, get()).await;

    let denied = ask(&layer, get()).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(header(denied.headers(), "retry-after"), ["30"]);
    assert_eq!(header(denied.headers(), "ratelimit"), [r#""api";r=0;t=30"#]);
    let denial = *denied.extensions().get::<Denial>().unwrap();
    assert_eq!(
        (denial.reason(), denial.policy()),
        (Reason::Quota, Some("api"))
    );
    assert_eq!(denial.retry_after(), Some(Duration::from_millis(29_500)));
    assert_eq!(layer.denied(), 1);

    clock.advance(Duration::from_millis(29_500));
    assert_eq!(ask(&layer, get()).await.status(), 200);
}

#[tokio::test]
async fn several_layers_list_every_policy_and_show_the_binding_one_to_older_clients() {
    let (wide, _) = limiter(Quota::per_hour(100));
    let (narrow, _) = limiter(Quota::per_minute(5));
    for (inside, outside) in [(&wide, &narrow), (&narrow, &wide)] {
        let [inside, outside] =
            [inside, outside].map(|it| RateLimitLayer::new(it.clone()).headers(Headers::All));
        let response = outside
            .layer(inside.layer(service_fn(handler)))
            .oneshot(get())
            .await
            .unwrap();
        let headers = response.headers();
        assert_eq!(header(headers, "ratelimit").len(), 2);
        assert_eq!(header(headers, "ratelimit-policy").len(), 2);
        assert_eq!(header(headers, "x-ratelimit-limit"), ["5"]);
        let seen = response.extensions().get::<crate::Decision>().unwrap();
        assert_eq!(seen.limit(), 5);
    }
}

/// What an older client reads is of the limit that denied, as `Retry-After` is, else of the one with the least left.
#[tokio::test]
async fn older_fields_show_the_layer_that_denied_else_the_one_with_the_least_left() {
    // By the mark that a denial carries, and where there are none by its status.
    for extensions in [true, false] {
        for (outer, inner, costs, expected) in [
            // The outer one's last unit goes to what the inner one denies.
            ("2/s", "1/40s", &[1, 1][..], ["40", "1", "0", "40"]),
            // Nothing is left at the outer one, and something, but not enough, at the one that denies.
            ("9/s", "8/min", &[4, 5], ["8", "8", "4", "8"]),
            ("4/s", "3/min", &[4], ["", "3", "3", "0"]),
            // Both allow.
            ("10/s", "20/min", &[1, 1], ["", "10", "8", "1"]),
            ("20/s", "10/min", &[1, 1], ["", "10", "8", "12"]),
            ("5/s", "5/min", &[1], ["", "5", "4", "12"]),
        ] {
            let layer = |quota: &str| {
                let (limiter, _) = limiter(quota.parse().unwrap());
                let layer = RateLimitLayer::new(limiter).headers(Headers::Legacy);
                let layer = layer.cost(|request| *request.extensions().get().unwrap());
                layer.extensions(extensions)
            };
            let service = layer(outer).layer(layer(inner).layer(service_fn(handler)));
            let mut told = [const { String::new() }; 4];
            for &cost in costs {
                let mut request = get();
                request.extensions_mut().insert::<u32>(cost);
                let response = service.clone().oneshot(request).await.unwrap();
                let one = |name| header(response.headers(), name).concat();
                told = [
                    one("retry-after"),
                    one("x-ratelimit-limit"),
                    one("x-ratelimit-remaining"),
                    one("x-ratelimit-reset"),
                ];
            }
            assert_eq!(told, expected, "{outer} around {inner}");
        }
    }
}

#[tokio::test]
async fn several_policies_are_one_decision_and_each_is_told() {
    let (clock, lever) = Clock::manual();
    let builder = RateLimiter::builder("2/s fixed".parse().unwrap());
    let builder = builder
        .name("second")
        .also("minute", Quota::per_minute(3).sliding())
        .clock(clock);
    let layer = RateLimitLayer::new(builder.build().unwrap()).headers(Headers::All);
    let tell = |response: &HeaderMap| {
        let one = |name| match header(response, name)[..] {
            [one] => one.to_owned(),
            ref other => panic!("{name}: {other:?}"),
        };
        (one("ratelimit"), one("x-ratelimit-remaining"))
    };
    let first = ask(&layer, get()).await;
    assert_eq!(
        header(first.headers(), "ratelimit-policy"),
        [r#""second";q=2;w=1, "minute";q=3;w=60"#]
    );
    let told = r#""second";r=1;t=1, "minute";r=2;t=61"#;
    assert_eq!(tell(first.headers()), (told.into(), "1".into()));
    ask(&layer, get()).await;

    // Three times denied by the second, and nothing is taken from the minute.
    for _ in 0..3 {
        let denied = ask(&layer, get()).await;
        assert_eq!(denied.status(), 429);
        assert_eq!(header(denied.headers(), "retry-after"), ["1"]);
        let told = r#""second";r=0;t=1, "minute";r=1;t=91"#;
        assert_eq!(tell(denied.headers()), (told.into(), "0".into()));
    }
    lever.advance(Duration::from_secs(1));
    assert_eq!(ask(&layer, get()).await.status(), 200);

    // Now by the minute, which is the longer wait.
    let denied = ask(&layer, get()).await;
    let denial = *denied.extensions().get::<Denial>().unwrap();
    assert_eq!(denial.policy(), Some("minute"));
    let body = denied.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["violated-policies"][0], "minute");
    let wait = denial.retry_after().unwrap();
    lever.advance(wait - Duration::from_nanos(1));
    assert_eq!(ask(&layer, get()).await.status(), 429);
    lever.advance(Duration::from_nanos(1));
    assert_eq!(ask(&layer, get()).await.status(), 200);
}

#[tokio::test]
async fn only_failures_count_and_whoever_hangs_up_is_one() {
    let (limiter, _) = limiter(Quota::per_hour(3));
    let layer = RateLimitLayer::new(limiter.clone()).count(Count::Failures);
    let answering = |status: u16| {
        let answer = move |_: Request<()>| async move {
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        };
        layer.layer(service_fn(answer)).oneshot(get())
    };
    for (status, told) in [
        (200, r#""api";r=3;t=0"#),
        (200, r#""api";r=3;t=0"#),
        (401, r#""api";r=2;t=1200"#),
        (200, r#""api";r=2;t=1200"#),
    ] {
        let response = answering(status).await.unwrap();
        assert_eq!(header(response.headers(), "ratelimit"), [told]);
    }

    let never = service_fn(|_: Request<()>| std::future::pending::<Result<Reply, Infallible>>());
    let mut waiting = Box::pin(layer.layer(never).oneshot(get()));
    assert!(polled(&mut waiting).await.is_pending());
    drop(waiting);
    assert_eq!(limiter.peek(&crate::Key::EVERYONE).remaining(), 1);

    let broken = service_fn(|_: Request<()>| ready(Err::<Reply, _>(BoxError::from("broken"))));
    assert!(layer.layer(broken).oneshot(get()).await.is_err());
    assert_eq!(answering(200).await.unwrap().status(), 429);
}

#[tokio::test(start_paused = true)]
async fn over_the_quota_requests_wait_in_line_when_told_to() {
    let (limiter, clock) = limiter(Quota::per_second(1));
    let layer = RateLimitLayer::new(limiter.clone()).wait(Duration::from_millis(1_500));
    assert_eq!(ask(&layer, get()).await.status(), 200);
    let mut second = Box::pin(ask(&layer, get()));
    let mut third = Box::pin(ask(&layer, get()));
    assert!(polled(&mut second).await.is_pending());
    assert!(polled(&mut third).await.is_pending(), "in line behind it");
    clock.advance(Duration::from_secs(1));
    tokio::time::advance(Duration::from_millis(1_001)).await;
    let Poll::Ready(passed) = polled(&mut second).await else {
        panic!("its turn has come");
    };
    assert_eq!(passed.status(), 200);
    assert_eq!(header(passed.headers(), "ratelimit"), [r#""api";r=0;t=1"#]);
    // Another second would be more than it was told to wait.
    let Poll::Ready(denied) = polled(&mut third).await else {
        panic!("it waits in vain");
    };
    assert_eq!(denied.status(), 429);
    assert_eq!(header(denied.headers(), "retry-after"), ["1"]);
    assert_eq!(layer.denied(), 1);

    // Who goes away takes nothing.
    clock.advance(Duration::from_millis(500));
    let mut gone = Box::pin(ask(&layer, get()));
    assert!(polled(&mut gone).await.is_pending());
    drop(gone);
    clock.advance(Duration::from_millis(500));
    assert_eq!(ask(&layer, get()).await.status(), 200);
    let shadow = layer.clone().shadow(true);
    assert_eq!(ask(&shadow, get()).await.status(), 200, "at once");
}

async fn polled<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test]
async fn a_denial_from_inside_is_not_the_clients_failure() {
    let (outside, _) = limiter(Quota::per_hour(5));
    let (inside, _) = limiter(Quota::DENY_ALL);
    let layer = RateLimitLayer::new(outside.clone()).count(Count::Failures);
    let inside = RateLimitLayer::new(inside);
    let service = layer.layer(inside.layer(service_fn(handler)));
    assert_eq!(service.oneshot(get()).await.unwrap().status(), 429);
    assert_eq!(outside.peek(&crate::Key::EVERYONE).remaining(), 5);
}

#[tokio::test]
async fn headers_and_extensions_can_be_switched_off() {
    let (limiter, _) = limiter(Quota::per_second(1));
    let layer = RateLimitLayer::new(limiter)
        .headers(Headers::Off)
        .extensions(false);
    let allowed = ask(&layer, get()).await;
    assert!(allowed.headers().is_empty());
    assert!(allowed.extensions().get::<crate::Decision>().is_none());
    let denied = ask(&layer, get()).await;
    assert_eq!(header(denied.headers(), "retry-after"), ["1"]);
    assert!(!denied.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn keys_count_apart_and_costs_count_as_much_as_they_say() {
    let (limiter, _) = limiter(Quota::per_second(10));
    let layer = RateLimitLayer::new(limiter)
        .key((key::header("x-tenant"), key::method()))
        .cost(|request| {
            if request.uri().path() == "/export" {
                8
            } else {
                1
            }
        });
    let from = |tenant: &str, path: &str| {
        Request::get(path)
            .header("x-tenant", tenant)
            .body(())
            .unwrap()
    };
    assert_eq!(ask(&layer, from("a", "/export")).await.status(), 200);
    assert_eq!(ask(&layer, from("a", "/export")).await.status(), 429);
    assert_eq!(ask(&layer, from("a", "/")).await.status(), 200);
    assert_eq!(ask(&layer, from("b", "/export")).await.status(), 200);
}

#[tokio::test]
async fn what_can_never_pass_is_denied_without_a_time_to_come_back() {
    let (limiter, _) = limiter(Quota::per_second(10));
    let layer = RateLimitLayer::new(limiter).cost(|_| 11);
    let denied = ask(&layer, get()).await;
    assert_eq!(denied.status(), 429);
    assert!(!denied.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn exempt_and_shadowed_requests_pass() {
    let (limiter, _) = limiter(Quota::DENY_ALL);
    let layer = RateLimitLayer::new(limiter);
    let exempt = layer
        .clone()
        .exempt(|request| request.uri().path() == "/health");
    let health = Request::get("/health").body(()).unwrap();
    assert_eq!(ask(&exempt, health).await.status(), 200);
    assert_eq!(ask(&exempt, get()).await.status(), 429);
    let shadow = layer.shadow(true);
    let before = shadow.denied();
    let passed = ask(&shadow, get()).await;
    assert_eq!((passed.status().as_u16(), passed.headers().len()), (200, 0));
    assert!(
        !passed
            .extensions()
            .get::<crate::Decision>()
            .unwrap()
            .is_allowed()
    );
    assert_eq!(shadow.denied() - before, 1);
}

#[tokio::test]
async fn grpc_is_denied_in_its_own_form_and_others_in_the_users() {
    let (limiter, _) = limiter(Quota::DENY_ALL);
    let layer = RateLimitLayer::new(limiter).denial(|denial| {
        let mut response = Response::new(Bytes::from_static(b"later"));
        *response.status_mut() = http::StatusCode::from_u16(denial.status()).unwrap();
        response
    });
    let call = Request::post("/service/Method")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let denied = ask(&layer, call).await;
    assert_eq!(
        (denied.status().as_u16(), &denied.headers()["grpc-status"]),
        (200, &"8".parse().unwrap())
    );
    assert!(denied.body().is_end_stream());
    let denied = ask(&layer, get()).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(
        denied.into_body().collect().await.unwrap().to_bytes(),
        "later"
    );
}

#[tokio::test]
async fn one_layer_is_one_limit_however_often_it_is_applied() {
    let (limiter, _) = limiter(Quota::per_second(3));
    let layer = RateLimitLayer::new(limiter);
    let mut passed = 0;
    for _ in 0..20 {
        let mut service = layer.clone().layer(service_fn(handler));
        passed += u32::from(service.call(get()).await.unwrap().status() == 200);
    }
    assert_eq!(passed, 3);
}

/// As an adapter's router leaves it.
fn at(template: Option<&'static str>) -> Request<()> {
    let mut request = get();
    if let Some(template) = template {
        request.extensions_mut().insert(template);
    }
    request
}

fn plan(reads: Quota) -> Plan {
    let plan = Plan::new().limit("reads", reads).unwrap();
    let plan = plan.limit("rest", Quota::per_hour(1)).unwrap();
    let plan = plan.route("GET /items/{id}", "reads").unwrap();
    plan.route("<unmatched>", "rest").unwrap()
}

#[tokio::test]
async fn routes_have_limits_of_their_own_which_can_change_under_a_running_service() {
    let limits = Limits::new(&plan(Quota::per_hour(2)));
    let layer = RateLimitLayer::routed(limits.clone(), |extensions| {
        extensions.get::<&str>().copied()
    });
    let service = layer.layer(service_fn(handler));
    let ask = async |request| {
        let response = service.clone().oneshot(request).await.unwrap();
        let policy = header(response.headers(), "ratelimit-policy").concat();
        (response.status().as_u16(), policy)
    };
    let item = || at(Some("/items/{id}"));
    let two = || r#""reads";q=2;w=3600"#.to_owned();
    for status in [200, 200, 429] {
        assert_eq!(ask(item()).await, (status, two()));
    }
    let mut post = item();
    *post.method_mut() = http::Method::POST;
    for _ in 0..3 {
        assert_eq!(ask(at(Some("/other"))).await, (200, String::new()));
    }
    assert_eq!(ask(post).await, (200, String::new()));
    assert_eq!(ask(at(None)).await.0, 200);
    assert_eq!(ask(at(None)).await.0, 429);
    assert_eq!(layer.denied(), 2);

    assert_eq!(limits.change(&plan(Quota::per_hour(3))).unwrap().len(), 1);
    for status in [200, 429] {
        assert_eq!(ask(item()).await, (status, r#""reads";q=3;w=3600"#.into()));
    }
    assert_eq!(ask(at(None)).await.0, 429);
}

#[tokio::test]
async fn what_a_layer_says_and_exempts_holds_for_all_its_routes() {
    let limits = Limits::new(&plan(Quota::per_hour(1)));
    let layer = RateLimitLayer::routed(limits, |extensions| extensions.get::<&str>().copied())
        .key(key::header("x-tenant"))
        .exempt(|request| request.headers().contains_key("x-free"))
        .denial(|_| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            response
        });
    let mut statuses = Vec::new();
    for name in ["x-tenant", "x-none", "x-none", "x-free"] {
        let mut request = at(Some("/items/{id}"));
        let value = http::HeaderValue::from_static("acme");
        request.headers_mut().insert(name, value);
        statuses.push(ask(&layer, request).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 418, 200]);
}

/// Whatever a client writes, in every form that an address can have, it has the one request of its own address.
#[tokio::test]
async fn a_thousand_requests_with_random_addresses_under_a_limit_of_one_pass_once() {
    let x_forwarded_for = || ClientIp::x_forwarded_for(["10.0.0.0/8"]).unwrap();
    let forwarded = || ClientIp::forwarded(["10.0.0.0/8"]).unwrap();
    for (client_ip, peer, proxy_adds) in [
        (ClientIp::peer(), "203.0.113.9", ""),
        (x_forwarded_for(), "203.0.113.9", ""),
        (forwarded(), "::ffff:203.0.113.9", ""),
        (x_forwarded_for(), "10.0.0.1", ", 203.0.113.9"),
        (x_forwarded_for(), "::ffff:10.0.0.1", ", 203.0.113.9:{port}"),
        (
            x_forwarded_for(),
            "10.0.0.1",
            ", [2001:db8:1:2::{port}]:443, 10.0.0.2",
        ),
        (forwarded(), "10.0.0.1", ", for=203.0.113.9;proto=https"),
        (
            forwarded(),
            "10.0.0.1",
            ", for=\"[2001:db8:1:2::{port}]:443\"",
        ),
        (
            forwarded(),
            "10.0.0.1",
            ", for=\"[::ffff:203.0.113.9]\", for=10.0.0.2",
        ),
        (forwarded(), "10.0.0.1", ", for=unknown"),
    ] {
        let layer = RateLimitLayer::new(limiter(Quota::per_hour(1)).0);
        let layer = layer.key(key::client(client_ip.clone()));
        let mut random = fastrand::Rng::with_seed(7);
        let mut passed = 0;
        for _ in 0..1000 {
            let mut request = get();
            let made_up = |random: &mut fastrand::Rng| {
                let (v4, v6) = (random.u32(..), random.u128(..));
                let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
                match random.u8(..7) {
                    0 => format!("{v4}"),
                    1 => format!("{v4}:80"),
                    2 => format!("[{v6}]:443"),
                    3 => format!("{v6}"),
                    4 => format!("\"[::ffff:{v4}]\""),
                    5 => format!("_hidden{}", v6.segments()[0]),
                    _ => format!("10.0.{}.1", v4.octets()[0]),
                }
            };
            let headers = request.headers_mut();
            for name in [
                "x-forwarded-for",
                "forwarded",
                "x-real-ip",
                "true-client-ip",
            ] {
                let pair = if name == "forwarded" { "for=" } else { "" };
                let list = format!(
                    "{pair}{}, {pair}{}",
                    made_up(&mut random),
                    made_up(&mut random)
                );
                let added = proxy_adds.replace("{port}", &random.u16(1024..9999).to_string());
                headers.insert(name, format!("{list}{added}").parse().unwrap());
            }
            let peer = SocketAddr::new(peer.parse().unwrap(), random.u16(1024..));
            request.extensions_mut().insert(key::PeerAddr(peer));
            passed += u32::from(ask(&layer, request).await.status() == 200);
        }
        assert_eq!(passed, 1, "{client_ip:?} {peer} {proxy_adds}");
    }
}
