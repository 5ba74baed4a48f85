//! Layered limits behind the layers, and everything else that only the handle can do, over a real Redis: what clients are
//! told, what is held for a request and settled by its answer, who waits and in which order.
#![cfg(all(feature = "redis", feature = "tower"))]

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::layered::{Batch, LayeredLimiter};
use tidegate::limiter::{AnyLimiter, Asking, Count, Deciding};
use tidegate::store::RedisStore;
use tidegate::tower::RateLimitLayer;
use tidegate::{Key, Quota};
use tidegate_test_support::{PATIENCE, RedisServer};
use tower::{ServiceBuilder, ServiceExt};

/// In a window that does not end in a test.
fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

fn limiter(url: &str, quota: Quota) -> LayeredLimiter {
    let store = RedisStore::new(url).expect("an address");
    LayeredLimiter::builder(store, "http", quota)
        .flush_every(Duration::from_millis(5))
        .patience(Duration::from_secs(20))
        .build()
        .expect("a limiter")
}

async fn ask(layer: &RateLimitLayer, status: u16) -> (StatusCode, HeaderMap) {
    let handler = move |_: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok::<_, Infallible>(response)
    };
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .service_fn(handler);
    let response = service.oneshot(Request::new(())).await.expect("infallible");
    (response.status(), response.headers().clone())
}

/// The sum of what origin counts.
fn counted(redis: &RedisServer) -> i64 {
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            sum = sum + redis.call('HGET', key, '#')
        end
        return sum";
    redis.cli(&["EVAL", script, "0"]).integer()
}

#[tokio::test]
async fn clients_are_told_as_ever_and_a_warm_key_is_not_waited_for() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&redis.url(), so_many(3));
    let layer = RateLimitLayer::new(limiter.clone());
    for left in [2, 1] {
        let (status, headers) = ask(&layer, 200).await;
        assert_eq!(status, 200);
        let told = headers["ratelimit"].to_str().expect("text").to_owned();
        assert!(
            told.starts_with(&format!(r#""default";r={left};t="#)),
            "{told}"
        );
    }
    assert_eq!(ask(&layer, 200).await.0, 200);
    let (status, headers) = ask(&layer, 200).await;
    assert_eq!(status, 429);
    assert!(headers.contains_key("retry-after"));
    assert_eq!(layer.denied(), 1);
    let asking = Asking {
        count: Count::All,
        each: false,
        max_wait: Duration::ZERO,
    };
    let any = AnyLimiter::from(limiter);
    let warm = any.decide_for(Key::EVERYONE, 1, asking);
    assert!(matches!(warm, Deciding::Now(_)), "{warm:?}");
    let cold = any.decide_for(Key::of("cold"), 1, asking);
    let Deciding::Later(cold) = cold else {
        panic!("a cold key waits for origin");
    };
    assert!(cold.await.decisions.is_allowed());
}

#[tokio::test]
async fn of_several_policies_clients_are_told_of_each_and_of_the_binding_one() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(redis.url()).expect("an address");
    let builder = LayeredLimiter::builder(store, "http", so_many(2)).name("long");
    let half = Quota::new(9, Quota::MAX_WINDOW / 2).expect("a window within bounds");
    let limiter = builder.also("half", half).build();
    let layer = RateLimitLayer::new(limiter.expect("a limiter"));
    for (status, long, half) in [(200, 1, 8), (200, 0, 7), (429, 0, 7), (429, 0, 7)] {
        let (told, headers) = ask(&layer, 200).await;
        assert_eq!(told, status);
        let standing = headers["ratelimit"].to_str().expect("text");
        for policy in [
            format!(r#""long";r={long};t="#),
            format!(r#""half";r={half};t="#),
        ] {
            assert!(standing.contains(&policy), "{standing}");
        }
        assert_eq!(headers.contains_key("retry-after"), status == 429);
    }
}

#[tokio::test]
async fn only_failures_count_and_a_denial_of_a_layer_inside_does_not() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&redis.url(), so_many(2));
    let layer = RateLimitLayer::new(limiter.clone()).count(Count::Failures);
    for (status, left) in [(200, 2), (401, 1), (200, 1), (401, 0)] {
        assert_eq!(ask(&layer, status).await.0, status);
        assert_eq!(limiter.peek(&Key::EVERYONE).remaining(), left);
    }
    assert_eq!(ask(&layer, 200).await.0, 429);
    limiter.close().await.expect("origin is there");
    assert_eq!(counted(&redis), 2);
}

#[tokio::test]
async fn a_reservation_holds_until_it_is_settled_and_origin_hears_what_it_came_to() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&redis.url(), so_many(1_000));
    let key = Key::of("acme");
    let left = || limiter.peek(&key).remaining();
    let first = limiter.reserve(&key, 600).await.expect("room");
    assert_eq!((first.decision().remaining(), left()), (400, 400));
    assert!(limiter.reserve(&key, 401).await.is_err());
    let second = limiter.reserve(&key, 400).await.expect("room");
    first.commit(250);
    assert_eq!(left(), 350);
    drop(second);
    assert_eq!(left(), 750);
    let third = limiter.reserve(&key, 1).await.expect("room");
    // More than was thought.
    third.commit(51);
    assert_eq!(left(), 699);
    limiter.reserve(&key, 0).await.expect("nothing").commit(9);
    assert_eq!(left(), 690);
    // Nobody is there any more who would settle it.
    let waiting = limiter.reserve(&key, 691);
    assert!(waiting.await.is_err());
    limiter.close().await.expect("origin is there");
    assert_eq!(counted(&redis), 310);
}

/// Reservations, batches that are rolled back, flushes and what other regions tell, in any order.
#[tokio::test]
async fn what_is_given_back_undoes_nothing_that_others_counted_meanwhile() {
    // Little enough that a region's count matters to the other.
    const SHARED: u32 = 700;
    let (Some(eu), Some(us), Some(global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let node = |origin: &RedisServer, name| {
        let store = |redis: &RedisServer| RedisStore::new(redis.url()).expect("an address");
        LayeredLimiter::builder(store(origin), "http", so_many(SHARED))
            .flush_every(Duration::from_millis(1))
            .global(store(&global), name)
            .global_every(Duration::from_millis(10))
            .build()
            .expect("a limiter")
    };
    let (key, full) = (Key::of("acme"), Key::of("full"));
    let nodes = [node(&eu, "eu"), node(&eu, "eu"), node(&us, "us")];
    let work = nodes.iter().zip(0..).map(|(node, seed)| async move {
        let (mut rng, mut held, mut spent) = (fastrand::Rng::with_seed(seed), Vec::new(), 0);
        for _ in 0..120 {
            let cost = rng.u32(1..5);
            match rng.u32(..4) {
                0 => {
                    assert!(node.decide(&key, cost).await.is_allowed());
                    spent += cost;
                }
                1 => held.push(node.reserve(&key, cost).await.expect("room")),
                2 => {
                    // Too much for the other key, so this one's is rolled back.
                    let costs = [(key, cost), (full, SHARED + 1)];
                    let batch = node.decide_batch(&costs, Batch::AllOrNothing).await;
                    assert!(!batch.expect("short")[1].is_allowed());
                }
                _ if held.is_empty() => {}
                _ => {
                    let reservation = held.swap_remove(rng.usize(..held.len()));
                    let actual = rng.u32(..=reservation.cost());
                    reservation.commit(actual);
                    spent += actual;
                }
            }
            if rng.u32(..8) == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        spent
    });
    let spent: u32 = futures_util::future::join_all(work).await.into_iter().sum();
    for node in &nodes {
        node.close().await.expect("origin is there");
    }
    assert_eq!(counted(&eu) + counted(&us), i64::from(spent));
    // Whoever comes new to either region hears of both.
    for late in [node(&eu, "eu"), node(&us, "us")] {
        let heard = async {
            while late.decide(&key, 0).await.remaining() != SHARED - spent {
                assert!(late.reserve(&key, 1).await.is_ok());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .expect("it hears of all");
    }
}

#[tokio::test]
async fn those_who_wait_go_in_the_order_in_which_they_came() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(4, Duration::from_millis(400)).expect("a window");
    let limiter = limiter(&redis.url(), quota);
    let key = Key::of("mail");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut callers = Vec::new();
    for (number, cost) in [(0, 4), (1, 4), (2, 1), (3, 2)] {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        let caller = async move {
            let wait = Duration::from_secs(60);
            let decision = limiter.until_ready(&key, cost, wait).await;
            assert!(decision.is_allowed());
            order.lock().expect("no panic").push(number);
        };
        let mut caller = Box::pin(caller);
        // Joins the line now.
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(caller.as_mut().poll(cx)));
        assert!(first.await.is_pending());
        callers.push(caller);
    }
    futures_util::future::join_all(callers).await;
    assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3]);
    // What cannot fit in time, or ever, does not wait.
    let short = limiter.until_ready(&key, 4, Duration::from_nanos(1)).await;
    assert!(!short.is_allowed() && short.retry_after().is_some());
    let never = limiter.until_ready(&key, 5, Duration::from_secs(60)).await;
    assert_eq!(never.outcome(), tidegate::Verdict::TooLarge);
}

#[tokio::test]
async fn a_layer_that_waits_lets_pass_what_fits_in_time() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let quota = Quota::new(1, Duration::from_millis(200)).expect("a window");
    let layer = RateLimitLayer::new(limiter(&redis.url(), quota)).wait(Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(ask(&layer, 200).await.0, 200);
    }
    let hasty = layer.clone().wait(Duration::from_nanos(1));
    assert_eq!(ask(&hasty, 200).await.0, 429);
}
