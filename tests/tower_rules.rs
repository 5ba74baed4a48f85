//! The layer under every rule that is no token bucket: what clients are told by logs, soft limits and calendars, on
//! clocks that are moved by hand.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;
use tidegate::limiter::RateLimiterBuilder;
use tidegate::quota::Calendar;
use tidegate::time::{Clock, ManualClock, WallTime};
use tidegate::tower::{Headers, RateLimitLayer};
use tidegate::{Quota, RateLimiter, Slot};
use tower::{Layer, ServiceExt, service_fn};

/// Six in the evening, in UTC, of 31 January 2026.
const EVENING: u64 = 20_484 * 86_400 + 18 * 3_600;

fn layer(
    quota: Quota,
    set: impl FnOnce(RateLimiterBuilder) -> RateLimiterBuilder,
) -> (RateLimitLayer, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.advance(Duration::from_secs(1_000_000));
    lever.set_wall(WallTime::from_unix_seconds(EVENING));
    let builder = RateLimiter::builder(quota).name("api").clock(clock);
    let limiter = set(builder).build().unwrap();
    (RateLimitLayer::new(limiter).headers(Headers::All), lever)
}

/// The status, the probability that the handler saw, and the headers.
async fn ask(layer: &RateLimitLayer) -> (u16, Option<f64>, HeaderMap) {
    let handler = |request: Request<()>| {
        let slot = request.extensions().get::<Slot>();
        let mut response = Response::new(Full::<Bytes>::default());
        response
            .extensions_mut()
            .insert(*slot.unwrap().rate().unwrap());
        ready(Ok::<_, Infallible>(response))
    };
    let service = layer.layer(service_fn(handler));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let seen = response.extensions().get::<tidegate::Decision>();
    (
        response.status().as_u16(),
        seen.map(tidegate::Decision::probability),
        response.headers().clone(),
    )
}

async fn told(layer: &RateLimitLayer) -> (u16, String, String) {
    let (status, _, headers) = ask(layer).await;
    let value = |name: &str| headers.get(name).map_or("", |it| it.to_str().unwrap());
    let older = ["limit", "remaining", "reset"].map(|it| value(&format!("x-ratelimit-{it}")));
    assert_eq!(value("ratelimit-policy").matches("\"api\"").count(), 1);
    if status == 429 {
        assert_eq!(value("retry-after"), older[2], "both are when to come back");
    }
    (status, value("ratelimit").to_owned(), older.join(" "))
}

fn is(status: u16, current: &str, older: &str) -> (u16, String, String) {
    (status, current.to_owned(), older.to_owned())
}

#[tokio::test]
async fn a_log_tells_when_the_oldest_unit_comes_back() {
    let (layer, lever) = layer(Quota::per_minute(2).sliding_log(), |it| it);
    assert_eq!(told(&layer).await, is(200, r#""api";r=1;t=60"#, "2 1 60"));
    lever.advance(Duration::from_secs(10));
    assert_eq!(told(&layer).await, is(200, r#""api";r=0;t=60"#, "2 0 60"));
    assert_eq!(told(&layer).await, is(429, r#""api";r=0;t=50"#, "2 0 50"));
    lever.advance(Duration::from_millis(49_999));
    assert_eq!(told(&layer).await, is(429, r#""api";r=0;t=1"#, "2 0 1"));
    lever.advance(Duration::from_millis(1));
    assert_eq!(told(&layer).await, is(200, r#""api";r=0;t=60"#, "2 0 60"));
    assert_eq!(told(&layer).await, is(429, r#""api";r=0;t=10"#, "2 0 10"));
}

#[tokio::test]
async fn calendars_tell_when_the_day_or_the_month_is_over() {
    let evening = Duration::from_secs(6 * 3_600);
    for (calendar, window) in [(Calendar::DAY, 86_400), (Calendar::MONTH, 31 * 86_400)] {
        let (layer, lever) = layer(Quota::calendar(2, calendar), |it| it);
        let (_, _, headers) = ask(&layer).await;
        let policy = format!(r#""api";q=2;w={window}"#);
        assert_eq!(headers["ratelimit-policy"], policy);
        assert_eq!(headers["ratelimit"], r#""api";r=1;t=21600"#);
        assert_eq!(told(&layer).await.0, 200);
        let over = is(429, r#""api";r=0;t=21600"#, "2 0 21600");
        assert_eq!(told(&layer).await, over);
        lever.advance(evening - Duration::from_nanos(1));
        assert_eq!(told(&layer).await, is(429, r#""api";r=0;t=1"#, "2 0 1"));
        lever.advance(Duration::from_nanos(1));
        assert_eq!(told(&layer).await.0, 200);
    }
    // An hour ahead of UTC the day is over an hour before.
    let ahead = Calendar::DAY.utc_offset(60);
    let (layer, _) = layer(Quota::calendar(1, ahead), |it| it);
    assert_eq!(
        told(&layer).await,
        is(200, r#""api";r=0;t=18000"#, "1 0 18000")
    );
}

#[tokio::test]
async fn above_a_soft_limit_some_pass_and_the_handler_sees_by_which_chance() {
    let (layer, _lever) = layer(Quota::per_minute(20).soft(10), |it| it.seed(7));
    // Told is what is left before chance begins.
    for left in (0..10).rev() {
        let (status, chance, headers) = ask(&layer).await;
        assert_eq!((status, chance), (200, Some(1.0)));
        let current = headers["ratelimit"].to_str().unwrap();
        assert!(
            current.starts_with(&format!(r#""api";r={left};"#)),
            "{current}"
        );
    }
    let (mut passed, mut denied, mut last) = (0, 0, 1.0);
    for _ in 0..200 {
        let (status, chance, headers) = ask(&layer).await;
        match status {
            200 => {
                let chance = chance.unwrap();
                assert!(0.0 < chance && chance <= last, "{chance} after {last}");
                (passed, last) = (passed + 1, chance);
            }
            _ => {
                denied += 1;
                assert_eq!(status, 429);
                assert!(headers.contains_key("retry-after"));
                // The most that can be left, and the quota.
                assert_eq!(headers["x-ratelimit-limit"], "10");
                assert_eq!(headers["ratelimit-policy"], r#""api";q=20;w=60"#);
            }
        }
    }
    assert!(0 < passed && passed <= 10, "{passed}");
    assert_eq!(layer.denied(), denied);
}
