//! Whose requests count together, by every kind of key.

use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpMessage, HttpResponse, web};
use std::collections::BTreeSet;
use tidegate_actix_web::RateLimit;
use tidegate_actix_web::key::{self, RequestKey};
use tidegate_actix_web::tidegate::key::KeySecret;
use tidegate_actix_web::tidegate::limits::{Limits, Plan};
use tidegate_actix_web::tidegate::{ClientIp, Key, Quota, RateLimiter};

/// Which of the requests pass, when everybody may ask once.
macro_rules! passed {
    ($limit:expr, $requests:expr) => {{
        let app = init_service(
            App::new()
                .wrap($limit)
                .wrap_fn(|request, app| {
                    let tenant = request.headers().get("x-tenant");
                    if let Some(tenant) = tenant.and_then(|it| it.to_str().ok()?.parse().ok()) {
                        request.extensions_mut().insert::<u64>(tenant);
                    }
                    actix_web::dev::Service::call(app, request)
                })
                .service(web::scope("/items").route("/{id}", web::route().to(HttpResponse::Ok)))
                .default_service(web::route().to(HttpResponse::Ok)),
        )
        .await;
        let mut passed = Vec::new();
        for request in $requests {
            let status = call_service(&app, request.to_request()).await.status();
            passed.push(status == 200);
        }
        passed
    }};
}

fn once(key: impl Into<RequestKey>) -> RateLimit {
    RateLimit::new(RateLimiter::new(Quota::per_hour(1))).key(key)
}

fn from(peer: &str) -> TestRequest {
    TestRequest::get().peer_addr(peer.parse().unwrap())
}

fn with(name: &'static str, value: &'static str) -> TestRequest {
    TestRequest::get().insert_header((name, value))
}

#[actix_web::test]
async fn peers_count_by_address_and_ipv6_by_network() {
    let peers = [
        from("192.0.2.1:1"),
        from("192.0.2.1:2"),
        from("192.0.2.2:1"),
        from("[::ffff:192.0.2.1]:1"),
        from("[2001:db8::1]:1"),
        from("[2001:db8::ffff:2]:1"),
        from("[2001:db8:0:1::1]:1"),
        TestRequest::get(),
        TestRequest::get(),
    ];
    let passed = passed!(once(key::peer()), peers);
    let expected = [true, false, true, false, true, false, true, true, false];
    assert_eq!(passed, expected);
}

#[actix_web::test]
async fn a_thousand_forged_headers_pass_once() {
    let client_ip = || ClientIp::x_forwarded_for(["10.0.0.0/8"]).unwrap();
    let forwarded = || ClientIp::forwarded(["10.0.0.0/8"]).unwrap();
    for (client_ip, peer, added) in [
        (ClientIp::peer(), "203.0.113.9:7", ""),
        (client_ip(), "203.0.113.9:7", ""),
        (client_ip(), "10.0.0.1:1", ", 203.0.113.9:7, 10.0.0.2"),
        (client_ip(), "[::ffff:10.0.0.1]:1", ", [2001:db8::7]:443"),
        (forwarded(), "203.0.113.9:7", ""),
        (
            forwarded(),
            "10.0.0.1:1",
            ", for=\"[::ffff:203.0.113.9]:7\"",
        ),
    ] {
        let forged = (0..1000u32).map(|n| {
            let forged = std::net::Ipv4Addr::from(n.wrapping_mul(0x9e37_79b9));
            from(peer)
                .insert_header(("x-forwarded-for", format!("{forged}:80{added}")))
                .insert_header(("forwarded", format!("for={forged}{added}")))
                .insert_header(("x-real-ip", forged.to_string()))
        });
        let passed = passed!(once(key::client(client_ip)), forged);
        assert_eq!(passed.iter().filter(|it| **it).count(), 1, "{peer} {added}");
    }
}

#[actix_web::test]
async fn clients_count_by_what_a_trusted_proxy_wrote() {
    let limit = once(key::client(
        ClientIp::x_forwarded_for(["10.0.0.0/8"]).unwrap(),
    ));
    let first = [from("10.0.0.1:1").insert_header(("x-forwarded-for", "203.0.113.9"))];
    assert_eq!(passed!(limit.clone(), first), [true]);
    let others = [
        // Two lines are one list.
        from("10.0.0.1:1")
            .append_header(("x-forwarded-for", "198.51.100.1, 203.0.113.9"))
            .append_header(("x-forwarded-for", "10.0.0.2")),
        from("10.0.0.1:1").insert_header(("x-forwarded-for", "203.0.113.10")),
        // Not behind the proxy: what it claims is not read.
        from("203.0.113.10:1").insert_header(("x-forwarded-for", "203.0.113.11")),
    ];
    assert_eq!(passed!(limit, others), [false, true, false]);
}

#[actix_web::test]
async fn headers_cookies_and_extensions_count_by_value_or_absence() {
    for (key, requests) in [
        (
            key::header("X-Api-Key"),
            ["x-api-key"; 2].map(|name| [with(name, "a"), with(name, "b")]),
        ),
        (
            key::cookie("sid"),
            [
                [with("cookie", "x=1; sid=a"), with("cookie", "sid=b; x=1")],
                [with("cookie", "sid=a; y=2"), with("cookie", "sid=b")],
            ],
        ),
        (
            key::extension::<u64>(),
            ["x-tenant"; 2].map(|name| [with(name, "1"), with(name, "2")]),
        ),
    ] {
        let [first, again] = requests;
        let absent = [TestRequest::get(), with("cookie", "xsid=a")];
        let requests = first.into_iter().chain(again).chain(absent);
        let passed = passed!(once(key), requests);
        assert_eq!(passed, [true, true, false, false, true, false]);
    }
}

#[actix_web::test]
async fn patterns_count_all_items_together_and_made_up_paths_as_one() {
    let requests = ["/items/1", "/items/2", "/made/up", "/made/up/too"];
    let requests = requests.map(|path| TestRequest::get().uri(path));
    let passed = passed!(once(key::match_pattern()), requests);
    assert_eq!(passed, [true, false, true, false]);
}

#[actix_web::test]
async fn tuples_and_closures_make_keys_of_several_parts() {
    let key = (
        key::method(),
        key::header("a"),
        RequestKey::from_fn(|request| Key::of(request.path())),
    );
    let requests = [
        with("a", "x"),
        with("a", "x").method(Method::PUT),
        with("a", "y"),
        with("a", "x").uri("/other"),
        with("a", "x").uri("/?query"),
    ];
    assert_eq!(
        passed!(once(key), requests),
        [true, true, true, true, false]
    );
}

#[actix_web::test]
async fn a_secret_separates_middlewares_that_share_a_limiter() {
    let limiter = RateLimiter::new(Quota::per_hour(1));
    let limit = RateLimit::new(limiter.clone()).key(key::header("a"));
    let secrets = [None, Some([7; 16]), Some([8; 16]), Some([7; 16])];
    let mut passed = Vec::new();
    for secret in secrets {
        let limit = match secret {
            Some(secret) => limit.clone().secret(KeySecret::new(secret)),
            None => limit.clone(),
        };
        passed.extend(passed!(limit, [with("a", "x")]));
    }
    assert_eq!(passed, [true, true, true, false]);
    let distinct: BTreeSet<_> = secrets.into_iter().collect();
    assert_eq!(limiter.stats().keys, distinct.len());
}

#[test]
#[should_panic(expected = "\"x tenant\" cannot be the name of a header")]
fn a_name_that_is_no_headers_name_is_refused_at_once() {
    let _ = key::header("x tenant");
}

#[actix_web::test]
async fn methods_and_patterns_have_limits_of_their_own_that_can_change() {
    let plan = |reads| {
        let plan = Plan::new().limit("reads", Quota::per_hour(reads)).unwrap();
        let plan = plan.limit("strangers", Quota::per_hour(1)).unwrap();
        let plan = plan.route("GET /items/{id}", "reads").unwrap();
        plan.route("<unmatched>", "strangers").unwrap()
    };
    let limits = Limits::new(&plan(2));
    let limit = RateLimit::routed(limits.clone());
    let app = init_service(
        App::new()
            .wrap(limit.clone())
            .service(web::scope("/items").route("/{id}", web::route().to(HttpResponse::Ok))),
    )
    .await;
    let ask = async |method: Method, path: &str| {
        let request = TestRequest::with_uri(path).method(method);
        let response = call_service(&app, request.to_request()).await;
        let policy = response.headers().get("ratelimit-policy");
        let policy = policy.map(|it| it.to_str().unwrap().to_owned());
        (response.status().as_u16(), policy)
    };
    let told = |limit| Some(format!("\"reads\";q={limit};w=3600"));
    for (path, status) in [("/items/1", 200), ("/items/2", 200), ("/items/3", 429)] {
        assert_eq!(ask(Method::GET, path).await, (status, told(2)));
        assert_eq!(ask(Method::POST, path).await, (200, None));
    }
    assert_eq!(ask(Method::GET, "/made").await.0, 404);
    assert_eq!(ask(Method::GET, "/up").await.0, 429);
    assert_eq!(limit.denied(), 2);
    assert_eq!(limits.change(&plan(3)).unwrap().len(), 1);
    assert_eq!(ask(Method::GET, "/items/4").await, (200, told(3)));
    assert_eq!(ask(Method::GET, "/items/5").await, (429, told(3)));
}
