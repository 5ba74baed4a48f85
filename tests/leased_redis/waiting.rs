//! Callers that wait: who is next, and who need not wait at all.

use crate::{limiter, so_many, standing_still};
use std::time::Duration;
use tidegate::classify::Answer;
use tidegate::limiter::{AnyLimiter, Asking, Count, Deciding};
use tidegate::{Key, Quota, Verdict};
use tidegate_test_support::RedisServer;

#[tokio::test]
async fn callers_that_wait_get_their_turn() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = limiter(&server, Quota::per_second(1).burst(1));
    let any = AnyLimiter::from(limiter.clone());
    let key = Key::of("a");
    assert!(any.decide(&key, 1).await.is_allowed());
    assert!(!any.decide(&key, 1).await.is_allowed());
    let ready = limiter.until_ready(&key, 1, Duration::from_secs(60)).await;
    assert!(ready.is_allowed(), "{ready:?}");
    let denied = limiter.until_ready(&key, 1, Duration::from_micros(1)).await;
    assert!(!denied.is_allowed(), "{denied:?}");
}

#[tokio::test]
async fn what_has_no_point_is_denied_before_it_is_its_turn() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, so_many(5).fixed());
    let key = Key::of("a");
    assert!(limiter.decide(&key, 4).await.is_allowed());
    let mut first = Box::pin(limiter.until_ready(&key, 2, Quota::MAX_WINDOW));
    assert!(poll_once(first.as_mut()).is_none(), "it waits");
    let soon = Duration::from_secs(60);
    let ready = |cost| poll_once(std::pin::pin!(limiter.until_ready(&key, cost, soon)));
    assert_eq!(ready(9).expect("it is clear").outcome(), Verdict::TooLarge);
    assert_eq!(ready(3).expect("it is clear").outcome(), Verdict::Deny);
    assert!(ready(1).is_none(), "one is left, for whoever comes first");
}

#[tokio::test]
async fn a_larger_cost_than_was_denied_last_is_told_its_own_wait_and_asks_nobody() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, Quota::per_hour(1_000));
    let key = Key::of("a");
    assert!(limiter.decide(&key, 1_000).await.is_allowed());
    assert_eq!(limiter.decide(&key, 1).await.outcome(), Verdict::Deny);
    let asked = limiter.stats().asked;
    let of_one = Duration::from_millis(3_600);
    for cost in [1, 100, 1_000, 7] {
        let denied = limiter.decide(&key, cost).await;
        let (told, exact) = (denied.retry_after(), of_one * cost);
        let told = told.expect("it fits some time");
        // As of the moment at which the store was asked.
        let asked = exact.saturating_sub(Duration::from_secs(10))..=exact;
        assert!(asked.contains(&told), "{cost} is told {told:?}");
    }
    let soon = Duration::from_secs(10);
    let ready = poll_once(std::pin::pin!(limiter.until_ready(&key, 100, soon)));
    assert_eq!(ready.expect("it is clear").outcome(), Verdict::Deny);
    assert_eq!(limiter.stats().asked, asked);
}

/// Whether it is ready now.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn what_comes_for_a_caller_that_has_gone_is_there_for_the_next() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let limiter = standing_still(&server, so_many(1).fixed());
    // The answer may be there at once.
    let mut number = 0_u64;
    let key = loop {
        let key = Key::of(&number);
        let mut deciding = Box::pin(limiter.decide(&key, 1));
        number += 1;
        if poll_once(deciding.as_mut()).is_none() {
            while limiter.stats().asked < number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            break key;
        }
    };
    while limiter.stats().held == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(limiter.check(&key, 1).is_allowed());
    assert!(!limiter.decide(&key, 1).await.is_allowed());
}

#[tokio::test]
async fn a_layer_waits_only_for_what_is_not_in_hand() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let any = AnyLimiter::from(standing_still(&server, so_many(2).fixed()));
    let AnyLimiter::Leased(limiter) = &any else {
        unreachable!("made of one");
    };
    let key = Key::of("a");
    let ask = |count| Asking {
        count,
        each: false,
        max_wait: Duration::ZERO,
    };
    let Deciding::Later(later) = any.decide_for(key, 1, ask(Count::Failures)) else {
        panic!("nothing is in hand");
    };
    let counting = later.await.counting.expect("it is reserved");
    let _ = counting.answered(Answer::Status(200), false);
    // It did not count, so it is in hand.
    assert_eq!(limiter.stats().held, 1);
    let Deciding::Now(now) = any.decide_for(key, 1, ask(Count::Failures)) else {
        panic!("it is in hand");
    };
    let counting = now.counting.expect("it is reserved");
    let _ = counting.answered(Answer::Status(404), false);
    assert_eq!(limiter.stats().held, 0);
    assert!(any.decide(&key, 1).await.is_allowed());
    assert!(!any.decide(&key, 1).await.is_allowed());
    // Remembered, so not waited for either.
    let Deciding::Now(now) = any.decide_for(key, 1, ask(Count::All)) else {
        panic!("it is remembered");
    };
    assert!(now.decisions.binding().retry_after().is_some());
}
