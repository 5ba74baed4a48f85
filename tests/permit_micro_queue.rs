//! The micro-queue: how long one waits in it, who gives way, and that it leaves no slot idle and none behind. In paused
//! time.
#![cfg(feature = "fleet")]

use proptest::prelude::*;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tidegate::adaptive::{Fixed, LocalGuard};
use tidegate::permit::{Acquire, Queueing};
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality, Lease, Shed};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

fn take(guard: &LocalGuard) -> Lease {
    guard.try_acquire(Criticality::Default).unwrap()
}

/// Waits behind `guard`, which has no slot: in the queue, or what it was told at once.
fn queue(guard: &LocalGuard, class: Criticality) -> Result<Pin<Box<Acquire>>, Shed> {
    let Queueing::Waits(waiting) = guard.acquire_or_queue(class, 20 * MS) else {
        panic!("there is a slot");
    };
    let mut waiting = Box::pin(waiting);
    match poll(&mut waiting) {
        Poll::Pending => Ok(waiting),
        Poll::Ready(answer) => Err(answer.unwrap_err()),
    }
}

fn poll(waiting: &mut Pin<Box<Acquire>>) -> Poll<Result<Lease, Shed>> {
    let mut context = Context::from_waker(Waker::noop());
    waiting.as_mut().poll(&mut context)
}

fn is_served(waiting: &mut Pin<Box<Acquire>>) -> bool {
    match poll(waiting) {
        Poll::Ready(lease) => {
            lease.unwrap().ignore();
            true
        }
        Poll::Pending => false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_taken_at_once_and_one_that_comes_back_goes_to_who_waits() {
    let guard = LocalGuard::fixed(1);
    let Queueing::Admitted(held) = guard.acquire_or_queue(Criticality::Default, 20 * MS) else {
        panic!("there is a slot");
    };
    let waiting = guard.acquire_or_queue(Criticality::Default, 20 * MS);
    let (lease, ()) = tokio::join!(waiting.lease(), async { held.success() });
    lease.unwrap().success();
    let stats = guard.stats();
    assert_eq!((stats.in_flight(), stats.waits()), (0, 1));
    assert_eq!(Shed::ALL.map(|reason| stats.sheds(reason)), [0; 6]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_told_or_a_quarter_of_the_mean_latency() {
    let (clock, lever) = Clock::manual();
    let guard = LocalGuard::builder(Fixed::new(1))
        .clock(clock)
        .min_samples(1)
        .build()
        .unwrap();
    let wait = async || {
        let start = Instant::now();
        let waiting = guard.acquire_or_queue(Criticality::Default, 20 * MS);
        assert_eq!(waiting.lease().await.unwrap_err(), Shed::Deadline);
        start.elapsed()
    };
    let served_in = |latency| {
        let lease = take(&guard);
        lever.advance(latency);
        lease.success();
        // The window ends with whatever comes back after it.
        let lease = take(&guard);
        lever.advance(Duration::from_secs(10));
        lease.ignore();
    };
    for (latency, longest) in [(None, 20), (Some(8), 2), (Some(60), 15), (Some(500), 20)] {
        if let Some(latency) = latency {
            served_in(latency * MS);
        }
        let held = take(&guard);
        assert_eq!(wait().await, longest * MS, "after {latency:?} ms");
        held.ignore();
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_queued_who_has_no_time_or_where_nothing_can_come_back() {
    let guard = LocalGuard::fixed(1);
    let held = take(&guard);
    let start = Instant::now();
    let waiting = guard.acquire_or_queue(Criticality::Default, Duration::ZERO);
    assert_eq!(waiting.lease().await.unwrap_err(), Shed::Full);
    guard.close();
    assert_eq!(
        queue(&guard, Criticality::Critical).unwrap_err(),
        Shed::Closed
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn as_many_wait_as_there_are_slots_and_the_oldest_gives_way() {
    let guard = LocalGuard::fixed(2);
    let held = [take(&guard), take(&guard)];
    let mut first = queue(&guard, Criticality::Default).unwrap();
    let mut second = queue(&guard, Criticality::Default).unwrap();
    assert_eq!(queue(&guard, Criticality::Bulk).unwrap_err(), Shed::Full);
    let mut third = queue(&guard, Criticality::Default).unwrap();
    assert!(matches!(poll(&mut first), Poll::Ready(Err(Shed::Full))));
    let mut critical = queue(&guard, Criticality::Critical).unwrap();
    assert!(matches!(poll(&mut second), Poll::Ready(Err(Shed::Full))));
    drop(held);
    assert!(is_served(&mut critical) && is_served(&mut third));
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_until_somebody_has_waited_in_vain_and_then_the_newest() {
    let guard = LocalGuard::fixed(3);
    let mut held: Vec<Lease> = (0..3).map(|_| take(&guard)).collect();
    let mut calm = [(); 2].map(|()| queue(&guard, Criticality::Default).unwrap());
    held.pop();
    assert!(!is_served(&mut calm[1]) && is_served(&mut calm[0]));
    // Its slot has gone on to the second.
    assert!(is_served(&mut calm[1]));
    held.push(take(&guard));

    let in_vain = queue(&guard, Criticality::Default).unwrap();
    tokio::time::advance(10 * MS).await;
    let mut pressed = [(); 2].map(|()| queue(&guard, Criticality::Default).unwrap());
    assert_eq!(in_vain.await.unwrap_err(), Shed::Deadline);
    held.pop();
    assert!(!is_served(&mut pressed[0]) && is_served(&mut pressed[1]));
    assert!(is_served(&mut pressed[0]));
}

#[derive(Clone, Debug)]
enum Step {
    Take(Criticality),
    Queue(Criticality),
    Leave(usize),
    Finish(usize),
    Later(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = || prop::sample::select(&[Criticality::Critical, Criticality::Default][..]);
    let step = prop_oneof![
        2 => class().prop_map(Step::Take),
        6 => class().prop_map(Step::Queue),
        1 => (0..16_usize).prop_map(Step::Leave),
        4 => (0..16_usize).prop_map(Step::Finish),
        1 => (1..9_u64).prop_map(Step::Later),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever callers do: as many as there are slots are in use while anybody waits, never more, and at most as many
    /// wait; and everything comes back.
    #[test]
    fn no_slot_is_idle_while_somebody_waits_and_none_is_lost(slots in 1..6_u32, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (clock, lever) = Clock::manual();
            let guard = LocalGuard::builder(Fixed::new(slots)).clock(clock).build().unwrap();
            let mut leases: Vec<Lease> = Vec::new();
            let mut waiting: Vec<Pin<Box<Acquire>>> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(class) => leases.extend(guard.try_acquire(class)),
                    Step::Queue(class) => match guard.acquire_or_queue(class, 20 * MS) {
                        Queueing::Admitted(lease) => leases.push(lease),
                        Queueing::Waits(waits) => waiting.push(Box::pin(waits)),
                    },
                    Step::Leave(index) if !waiting.is_empty() => {
                        drop(waiting.swap_remove(index % waiting.len()));
                    }
                    Step::Finish(index) if !leases.is_empty() => {
                        leases.swap_remove(index % leases.len()).success();
                    }
                    Step::Later(ms) => {
                        // The gate's clock first: then slots come too late for some who do not know it yet.
                        lever.advance(Duration::from_millis(ms));
                        drop(leases.pop());
                        tokio::time::advance(Duration::from_millis(ms)).await;
                    }
                    Step::Leave(_) | Step::Finish(_) => {}
                }
                // A slot that one is too late for goes on to another, who may have been asked before.
                for _ in 0..2 {
                    waiting.retain_mut(|one| match poll(one) {
                        Poll::Pending => true,
                        Poll::Ready(told) => {
                            leases.extend(told);
                            false
                        }
                    });
                }
                assert_eq!(guard.in_flight() as usize, leases.len());
                assert!(leases.len() <= slots as usize && waiting.len() <= slots as usize);
                assert!(waiting.is_empty() || leases.len() == slots as usize);
            }
            drop(leases);
            drop(waiting);
            assert_eq!(guard.in_flight(), 0);
        });
    }
}
