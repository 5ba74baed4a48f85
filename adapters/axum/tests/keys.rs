//! Keys from what axum knows: peers and templates, and what happens where it knows nothing.

mod support;

use axum::Router;
use axum::routing::get;
use http::Version;
use support::{Client, serve, serve_plain};
use tidegate::limits::{Limits, Plan};
use tidegate::tower::RateLimitLayer;
use tidegate::{Quota, RateLimiter};
use tidegate_axum::{key, routed, tidegate};

fn app(key: tidegate::tower::key::RequestKey) -> (Router, RateLimiter) {
    let limiter = RateLimiter::new(Quota::per_hour(2));
    let layer = RateLimitLayer::new(limiter.clone()).key(key);
    let app = Router::new()
        .route("/items/{id}", get(async || "item"))
        .route("/users/{id}", get(async || "user"))
        .layer(layer);
    (app, limiter)
}

async fn statuses(address: std::net::SocketAddr, paths: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for path in paths {
        let mut client = Client::connect(address, Version::HTTP_11).await;
        statuses.push(client.get(path).await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn connections_from_one_address_share_its_quota() {
    let (app, limiter) = app(key::peer());
    let address = serve(app).await;
    assert_eq!(statuses(address, &["/items/1"; 3]).await, [200, 200, 429]);
    let peer = tidegate::Key::of(&address.ip());
    assert_eq!(limiter.peek(&peer).remaining(), 0);
}

#[tokio::test]
async fn without_connect_info_all_share_one_quota_and_nobody_gets_a_500() {
    let (app, limiter) = app(key::peer());
    let address = serve_plain(app).await;
    assert_eq!(statuses(address, &["/items/1"; 3]).await, [200, 200, 429]);
    let unknown = tidegate::Key::of("<unknown peer>");
    assert_eq!(limiter.peek(&unknown).remaining(), 0);
}

#[tokio::test]
async fn methods_and_templates_have_limits_of_their_own_in_one_layer() {
    let plan = Plan::new().limit("reads", Quota::per_hour(2)).unwrap();
    let plan = plan.limit("strangers", Quota::per_hour(1)).unwrap();
    let plan = plan.route("GET /shop/items/{id}", "reads").unwrap();
    let plan = plan.route("<unmatched>", "strangers").unwrap();
    let items = Router::new().route("/items/{id}", get(async || "item"));
    let app = Router::new()
        .nest("/shop", items)
        .route("/users/{id}", get(async || "user"))
        .layer(routed(Limits::new(&plan)));
    let address = serve_plain(app).await;
    let items = ["/shop/items/1", "/shop/items/2", "/shop/items/3"];
    assert_eq!(statuses(address, &items).await, [200, 200, 429]);
    assert_eq!(statuses(address, &["/users/1"; 3]).await, [200, 200, 200]);
    assert_eq!(statuses(address, &["/made", "/up"]).await, [404, 429]);
}

#[tokio::test]
async fn paths_count_by_their_template() {
    let (app, limiter) = app(key::matched_path());
    let address = serve_plain(app).await;
    let paths = ["/items/1", "/items/2", "/items/3", "/users/1", "/made/up"];
    assert_eq!(statuses(address, &paths).await, [200, 200, 429, 200, 404]);
    let unmatched = tidegate::Key::of("<unmatched>");
    assert_eq!(limiter.peek(&unmatched).remaining(), 1);
}

/// A client that makes up addresses gets what its own address gets, straight and through a trusted proxy.
#[tokio::test]
async fn a_thousand_made_up_addresses_under_a_limit_of_one_pass_once() {
    use tidegate::ClientIp;
    let straight = ClientIp::x_forwarded_for(["10.0.0.0/8"]).unwrap();
    let proxied = ClientIp::x_forwarded_for(["127.0.0.1"]).unwrap();
    let forwarded = ClientIp::forwarded(["127.0.0.1"]).unwrap();
    for (client_ip, appended) in [(straight, ""), (proxied, ", 203.0.113.9"), (forwarded, "")] {
        let layer = RateLimitLayer::new(RateLimiter::new(Quota::per_day(1)));
        let layer = layer.key(key::client(client_ip));
        let app = Router::new().route("/", get(async || "in")).layer(layer);
        let address = serve(app).await;
        let mut client = Client::connect(address, Version::HTTP_11).await;
        let mut passed = 0;
        for at in 0..1000_u32 {
            let made_up = std::net::Ipv4Addr::from(at.wrapping_mul(0x9e37_79b9));
            let mut request = client.request("GET", "/");
            let headers = request.headers_mut();
            let list = format!("{made_up}{appended}");
            headers.insert("x-forwarded-for", list.parse().unwrap());
            let list = format!("for={made_up}, for=203.0.113.9");
            headers.insert("forwarded", list.parse().unwrap());
            headers.insert("x-real-ip", made_up.to_string().parse().unwrap());
            passed += u32::from(client.send(request).await.unwrap().status() == 200);
        }
        assert_eq!(passed, 1);
    }
}
