//! Clients with limits of their own behind a real axum server: one look-up for a crowd of connections, and a plan that
//! changes while it runs.

mod support;

use axum::Router;
use axum::routing::get;
use http::Version;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Client, comes_true, serve};
use tidegate::Quota;
use tidegate::limits::{Limits, Plan};
use tidegate::tiers::{Tier, Tiers};
use tidegate::tower::RateLimitLayer;
use tidegate_axum::{key, tidegate};
use tokio::sync::Semaphore;

fn plan(pro: u32) -> Plan {
    let plan = Plan::new().limit("strangers", Quota::per_hour(2)).unwrap();
    plan.limit("pro", Quota::per_hour(pro)).unwrap()
}

async fn ask(address: SocketAddr, api_key: &str) -> (u16, String) {
    let mut client = Client::connect(address, Version::HTTP_11).await;
    let mut request = client.request("GET", "/");
    request
        .headers_mut()
        .insert("x-api-key", api_key.parse().unwrap());
    let response = client.send(request).await.unwrap();
    let policy = response.headers()["ratelimit-policy"].to_str().unwrap();
    (response.status().as_u16(), policy.to_owned())
}

#[tokio::test]
async fn a_crowd_shares_one_look_up_and_each_client_its_limit() {
    let (calls, desk) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let look_up = {
        let (calls, desk) = (Arc::clone(&calls), Arc::clone(&desk));
        move |api_key: String| {
            calls.fetch_add(1, Ordering::Relaxed);
            let desk = Arc::clone(&desk);
            async move {
                let _one_at_a_time = desk.acquire().await;
                Ok::<_, String>((api_key == "gold").then(|| Tier::named("pro")))
            }
        }
    };
    let limits = Limits::new(&plan(10));
    let tiers = Tiers::builder(limits.clone(), "strangers", look_up)
        .patience(support::PATIENCE, support::PATIENCE)
        .build()
        .unwrap();
    let layer = RateLimitLayer::tiered(tiers.clone(), |request| {
        Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
    });
    let app = Router::new().route("/", get(async || "in"));
    let address = serve(app.layer(layer.key(key::peer()))).await;

    let crowd: Vec<_> = (0..20)
        .map(|_| tokio::spawn(ask(address, "gold")))
        .collect();
    assert!(comes_true(|| tiers.stats().lookups == 1).await);
    desk.add_permits(1);
    let mut passed = 0;
    for client in crowd {
        let (status, policy) = client.await.unwrap();
        assert_eq!(policy, r#""pro";q=10;w=3600"#);
        passed += u32::from(status == 200);
    }
    assert_eq!((passed, calls.load(Ordering::Relaxed)), (10, 1));

    // By its address a client without a tier is one, whatever it calls itself.
    for (api_key, status) in [("made", 200), ("up", 200), ("again", 429)] {
        let told = r#""strangers";q=2;w=3600"#.to_owned();
        assert_eq!(ask(address, api_key).await, (status, told));
    }
    assert_eq!(limits.change(&plan(11)).unwrap().len(), 1);
    let told = || r#""pro";q=11;w=3600"#.to_owned();
    assert_eq!(ask(address, "gold").await, (200, told()));
    assert_eq!(ask(address, "gold").await, (429, told()));
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}
