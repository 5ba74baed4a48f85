//! The middleware under rules that are no token buckets: what clients are told by logs, soft limits and calendars, on
//! clocks that are moved by hand.

use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use std::time::Duration;
use tidegate_actix_web::rate_limit::Headers;
use tidegate_actix_web::tidegate::quota::Calendar;
use tidegate_actix_web::tidegate::time::{Clock, ManualClock, WallTime};
use tidegate_actix_web::tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{RateLimit, Slot};

/// Six in the evening, in UTC, of 31 January 2026.
const EVENING: u64 = 20_484 * 86_400 + 18 * 3_600;

fn limit(quota: Quota) -> (RateLimit, ManualClock) {
    let (clock, lever) = Clock::manual();
    lever.advance(Duration::from_secs(1_000_000));
    lever.set_wall(WallTime::from_unix_seconds(EVENING));
    let builder = RateLimiter::builder(quota).name("api").clock(clock).seed(7);
    let limit = RateLimit::new(builder.build().unwrap());
    (limit.headers(Headers::All), lever)
}

/// Answers with the chance by which it was reached.
async fn handler(slot: Slot) -> HttpResponse {
    let chance = slot.rate().unwrap().probability();
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("x-chance", format!("{chance:.9}")))
        .finish()
}

macro_rules! asking {
    ($limit:expr) => {{
        let app = App::new()
            .wrap($limit)
            .default_service(web::route().to(handler));
        let app = init_service(app).await;
        async move || {
            let response = call_service(&app, TestRequest::get().to_request()).await;
            (response.status().as_u16(), response.headers().clone())
        }
    }};
}

fn told((status, headers): &(u16, HeaderMap)) -> (u16, String) {
    let value = |name: &str| headers.get(name).map_or("", |it| it.to_str().unwrap());
    if *status == 429 {
        assert_eq!(value("retry-after"), value("x-ratelimit-reset"));
    }
    (*status, value("ratelimit").to_owned())
}

#[actix_web::test]
async fn a_log_tells_when_the_oldest_unit_comes_back() {
    let (limit, lever) = limit(Quota::per_minute(2).sliding_log());
    let ask = asking!(limit);
    for (later, status, current) in [
        (0, 200, r#""api";r=1;t=60"#),
        (10, 200, r#""api";r=0;t=60"#),
        (0, 429, r#""api";r=0;t=50"#),
        (50, 200, r#""api";r=0;t=60"#),
        (0, 429, r#""api";r=0;t=10"#),
    ] {
        lever.advance(Duration::from_secs(later));
        assert_eq!(told(&ask().await), (status, current.to_owned()));
    }
}

#[actix_web::test]
async fn calendars_tell_when_the_day_or_the_month_is_over() {
    for (calendar, window) in [(Calendar::DAY, 86_400), (Calendar::MONTH, 31 * 86_400)] {
        let (limit, lever) = limit(Quota::calendar(1, calendar));
        let ask = asking!(limit);
        let first = ask().await;
        let policy = format!(r#""api";q=1;w={window}"#);
        assert_eq!(first.1.get("ratelimit-policy").unwrap(), policy.as_str());
        for (later, status, current) in [
            (0, 429, r#""api";r=0;t=21600"#),
            (6 * 3_600 - 1, 429, r#""api";r=0;t=1"#),
        ] {
            lever.advance(Duration::from_secs(later));
            assert_eq!(told(&ask().await), (status, current.to_owned()));
        }
        lever.advance(Duration::from_secs(1));
        assert_eq!(ask().await.0, 200);
    }
}

#[actix_web::test]
async fn above_a_soft_limit_some_pass_and_the_handler_sees_by_which_chance() {
    let (limit, _lever) = limit(Quota::per_minute(20).soft(10));
    let ask = asking!(limit.clone());
    let (mut passed, mut denied, mut last) = (0, 0, 1.0);
    for _ in 0..200 {
        let (status, headers) = ask().await;
        if status == 200 {
            let chance: f64 = headers
                .get("x-chance")
                .unwrap()
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!(0.0 < chance && chance <= last, "{chance} after {last}");
            (passed, last) = (passed + 1, chance);
        } else {
            denied += 1;
            assert_eq!(status, 429);
            assert!(passed >= 10 && headers.contains_key("retry-after"));
        }
    }
    assert!(10 < passed && passed <= 20, "{passed}");
    assert_eq!(limit.denied(), denied);
}
