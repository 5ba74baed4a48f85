//! The waiting form: who is served when, and that whoever leaves the queue leaves nothing behind. In paused time.
#![cfg(feature = "fleet")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidegate::adaptive::{Aimd, Limits, LocalGuard};
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality, Lease, Shed};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

const LONG: Duration = Duration::from_secs(60);

fn take(guard: &LocalGuard) -> Lease {
    guard.try_acquire(Criticality::Default).unwrap()
}

/// Lets every task that can go on do so.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_by_class_and_then_by_arrival() {
    let guard = LocalGuard::fixed(1);
    let held = take(&guard);
    let (tell, mut served) = mpsc::unbounded_channel();
    use Criticality::{Bulk, Critical, Default, Sheddable};
    for (name, class) in [
        (1, Bulk),
        (2, Default),
        (3, Critical),
        (4, Default),
        (5, Sheddable),
        (6, Critical),
    ] {
        let (guard, tell) = (guard.clone(), tell.clone());
        tokio::spawn(async move {
            let lease = guard.acquire(class, LONG).await.unwrap();
            tell.send(name).unwrap();
            yield_now().await;
            lease.success();
        });
        settle().await;
    }
    drop(tell);
    held.success();
    let mut order = Vec::new();
    while let Some(name) = served.recv().await {
        order.push(name);
    }
    assert_eq!(order, [3, 6, 2, 4, 5, 1]);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_passes_exactly_when_it_was_told() {
    let guard = LocalGuard::fixed(1);
    let _held = take(&guard);
    let start = Instant::now();
    let waited = guard.acquire(Criticality::Default, Duration::from_millis(250));
    assert_eq!(waited.await.unwrap_err(), Shed::Deadline);
    assert_eq!(start.elapsed(), Duration::from_millis(250));
    assert_eq!(guard.stats().sheds(Shed::Deadline), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_who_has_no_time() {
    let guard = LocalGuard::fixed(1);
    let start = Instant::now();
    let lease = guard
        .acquire(Criticality::Default, Duration::ZERO)
        .await
        .unwrap();
    let refused = guard.acquire(Criticality::Default, Duration::ZERO).await;
    assert_eq!(refused.unwrap_err(), Shed::Deadline);
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(lease);
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_came_in_time_counts_however_late_it_is_collected() {
    let guard = LocalGuard::fixed(1);
    let held = take(&guard);
    let mut waiting = pin!(guard.acquire(Criticality::Default, Duration::from_millis(10)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    held.success();
    advance(Duration::from_secs(1)).await;
    assert!(matches!(
        waiting.as_mut().poll(&mut context),
        Poll::Ready(Ok(_))
    ));
    assert_eq!(guard.in_flight(), 0, "the lease of the answer was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_at_any_await_leaves_nothing_behind() {
    let guard = LocalGuard::fixed(1);
    for handed in [false, true] {
        for polls in 0..3 {
            let held = take(&guard);
            let mut context = Context::from_waker(Waker::noop());
            let mut dropped = Box::pin(guard.acquire(Criticality::Critical, LONG));
            for _ in 0..polls {
                assert!(dropped.as_mut().poll(&mut context).is_pending());
            }
            let mut next = Box::pin(guard.acquire(Criticality::Bulk, LONG));
            assert!(next.as_mut().poll(&mut context).is_pending());
            if handed {
                held.success();
                drop(dropped);
            } else {
                drop(dropped);
                held.success();
            }
            let Poll::Ready(Ok(lease)) = next.as_mut().poll(&mut context) else {
                panic!("the slot did not reach the next in line: {handed}, {polls}");
            };
            lease.success();
            assert_eq!(guard.in_flight(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn closing_tells_everybody_who_waits_and_who_comes_later() {
    let guard = LocalGuard::fixed(1);
    let held = take(&guard);
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let guard = guard.clone();
            tokio::spawn(
                async move { guard.acquire(Criticality::Default, LONG).await.unwrap_err() },
            )
        })
        .collect();
    settle().await;
    let start = Instant::now();
    guard.close();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Shed::Closed);
    }
    let late = guard.acquire(Criticality::Critical, LONG).await;
    assert_eq!(late.unwrap_err(), Shed::Closed);
    assert_eq!(start.elapsed(), Duration::ZERO);
    held.success();
    assert_eq!(
        (guard.in_flight(), guard.stats().sheds(Shed::Closed)),
        (0, 11)
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_outlives_every_handle_of_its_guard() {
    let guard = LocalGuard::fixed(1);
    let held = take(&guard);
    let waiting = guard.acquire(Criticality::Default, LONG);
    drop(guard);
    let waiting = tokio::spawn(waiting);
    settle().await;
    held.success();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_but_a_more_critical_one_may() {
    let guard = LocalGuard::fixed(8);
    let mut held: Vec<_> = (0..7).map(|_| take(&guard)).collect();
    // 7/8 of the slots are in use: no more for the sheddable, one for the others.
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = Box::pin(guard.acquire(Criticality::Sheddable, LONG));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    held.push(take(&guard));
    drop(held.drain(..2));
    assert_eq!(
        guard.try_acquire(Criticality::Sheddable).unwrap_err(),
        Shed::Class
    );
    assert!(matches!(
        waiting.as_mut().poll(&mut context),
        Poll::Ready(Ok(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_rises_serves_those_who_wait() {
    let (clock, lever) = Clock::manual();
    // AIMD starts fast: half as much again with each good window.
    let aimd = Aimd::new(Limits::new(1, 4, 100).unwrap());
    let guard = LocalGuard::builder(aimd)
        .clock(clock)
        .min_samples(1)
        .build()
        .unwrap();
    let mut held: Vec<_> = (0..4).map(|_| take(&guard)).collect();
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting: Vec<_> = (0..5)
        .map(|_| Box::pin(guard.acquire(Criticality::Default, LONG)))
        .collect();
    let mut served = Vec::new();
    let mut poll = |served: &mut Vec<Lease>| {
        waiting.retain_mut(|waiter| match waiter.as_mut().poll(&mut context) {
            Poll::Ready(lease) => {
                served.push(lease.unwrap());
                false
            }
            Poll::Pending => true,
        });
    };
    poll(&mut served);
    assert!(served.is_empty());
    lever.advance(Duration::from_secs(1));
    held.remove(0).success();
    poll(&mut served);
    assert_eq!(guard.limit(), 6);
    assert_eq!((served.len(), guard.in_flight()), (3, 6));
}
