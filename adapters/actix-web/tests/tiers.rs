//! Clients with limits of their own behind a real actix-web server: one look-up for a crowd of connections on several
//! workers, and what holds when nobody can be asked.

mod support;

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Client, Running};
use tidegate_actix_web::tidegate::Quota;
use tidegate_actix_web::tidegate::limits::{Limits, Plan};
use tidegate_actix_web::tidegate::tiers::{OnFailure, Tier, Tiers};
use tidegate_actix_web::{RateLimit, key};
use tokio::sync::Semaphore;

fn plan(pro: u32) -> Plan {
    let plan = Plan::new().limit("strangers", Quota::per_hour(2)).unwrap();
    plan.limit("pro", Quota::per_hour(pro)).unwrap()
}

fn limit(tiers: Tiers) -> RateLimit {
    RateLimit::tiered(tiers, |request| {
        Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
    })
}

async fn asks(server: &Running, api_key: &str) -> Client {
    let mut client = Client::connect(server).await;
    let field = format!("x-api-key: {api_key}\r\n");
    client.send("GET", "/", &field).await;
    client
}

#[actix_web::test]
async fn a_crowd_on_several_workers_shares_one_look_up_and_its_limit() {
    let (calls, desk) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let look_up = {
        let (calls, desk) = (Arc::clone(&calls), Arc::clone(&desk));
        move |api_key: String| {
            calls.fetch_add(1, Ordering::Relaxed);
            let desk = Arc::clone(&desk);
            async move {
                let _one_at_a_time = desk.acquire().await;
                Ok::<_, String>(match &*api_key {
                    "gold" => Some(Tier::named("pro")),
                    "contract" => Some(Tier::quota(Quota::per_hour(1))),
                    _ => None,
                })
            }
        }
    };
    let limits = Limits::new(&plan(10));
    let tiers = Tiers::builder(limits.clone(), "strangers", look_up)
        .patience(support::PATIENCE, support::PATIENCE)
        .build()
        .unwrap();
    let limit = limit(tiers).key(key::peer());
    let app = move || {
        App::new()
            .wrap(limit.clone())
            .route("/", web::get().to(HttpResponse::Ok))
    };
    let server = serve!(app, workers(3));

    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(asks(&server, "gold").await);
    }
    desk.add_permits(1);
    let mut passed = 0;
    for client in &mut crowd {
        let (status, head) = client.head().await;
        assert!(
            head.contains("ratelimit-policy: \"pro\";q=10;w=3600\r\n"),
            "{head}"
        );
        passed += u32::from(status == 200);
    }
    assert_eq!((passed, calls.load(Ordering::Relaxed)), (10, 1));

    for (api_key, status, policy) in [
        ("contract", 200, r#""own";q=1;w=3600"#),
        ("contract", 429, r#""own";q=1;w=3600"#),
        ("made", 200, r#""strangers";q=2;w=3600"#),
        ("up", 200, r#""strangers";q=2;w=3600"#),
        ("again", 429, r#""strangers";q=2;w=3600"#),
    ] {
        let (answered, head) = asks(&server, api_key).await.head().await;
        assert_eq!(answered, status, "{head}");
        assert!(head.contains(policy), "{head}");
    }
    assert_eq!(limits.change(&plan(11)).unwrap().len(), 1);
    for status in [200, 429] {
        let (answered, head) = asks(&server, "gold").await.head().await;
        assert_eq!(answered, status, "{head}");
        assert!(head.contains(r#""pro";q=11;w=3600"#), "{head}");
    }
}

#[actix_web::test]
async fn when_nobody_can_be_asked_the_policy_speaks_and_the_exempt_pass() {
    for (on_failure, statuses) in [
        (OnFailure::Deny, [503, 503, 503]),
        (OnFailure::Stranger, [200, 200, 429]),
    ] {
        let look_up = async |_| Err::<Tier, _>("the database is away");
        let tiers = Tiers::builder(Limits::new(&plan(10)), "strangers", look_up)
            .patience(Duration::from_secs(3_600), Duration::from_secs(3_600))
            .on_failure(on_failure)
            .build()
            .unwrap();
        let limit = limit(tiers.clone()).exempt(|request| request.path() == "/health");
        let handler = web::route().to(HttpResponse::Ok);
        let app = init_service(App::new().wrap(limit.clone()).default_service(handler)).await;
        let ask = async |path| {
            let request = TestRequest::with_uri(path).insert_header(("x-api-key", "gold"));
            let response = call_service(&app, request.to_request()).await;
            let headers = response.headers();
            assert_eq!(
                headers.contains_key("retry-after"),
                response.status().as_u16() > 200
            );
            response.status().as_u16()
        };
        assert_eq!(ask("/health").await, 200);
        assert_eq!(tiers.stats().lookups, 0);
        for status in statuses {
            assert_eq!(ask("/").await, status, "{on_failure:?}");
        }
        assert_eq!(tiers.stats().lookups, 1);
        assert_eq!(
            limit.denied(),
            statuses.iter().filter(|it| **it > 200).count() as u64
        );
    }
}
