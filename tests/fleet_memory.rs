//! A fleet within one process, through the public API: the embedded default.

#![cfg(feature = "fleet")]

use std::time::Duration;
use tidegate::fleet::{Allocation, DistributedGuard, DistributedGuardBuilder, Estimate, NodeState};
use tidegate::store::MemoryStore;
use tidegate::time::Clock;
use tidegate::{ConcurrencyGuard, Criticality, Lease, Shed};

const PATIENCE: Duration = Duration::from_secs(20);

fn builder(store: &MemoryStore, node: &str) -> DistributedGuardBuilder {
    DistributedGuard::builder(store.clone(), "backend")
        .node(node)
        .estimate(Estimate::Fixed(6))
        .heartbeat(Duration::from_millis(50))
        .ttl(Duration::from_millis(1_000))
        .drain(Duration::from_millis(50))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let polls = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, polls).await.is_ok(),
        "{what}: not within {PATIENCE:?}"
    );
}

fn take_all(guard: &DistributedGuard) -> Vec<Lease> {
    std::iter::from_fn(|| guard.try_acquire(Criticality::Default).ok()).collect()
}

#[tokio::test]
async fn i1_i2_guards_over_one_store_share_its_limit() {
    let store = MemoryStore::new();
    for allocation in [
        Allocation::MaxMin,
        Allocation::EqualSplit,
        Allocation::DemandProportional,
    ] {
        let key = format!("{allocation:?}");
        let guards = ["a", "b", "c"].map(|node| {
            let guard = DistributedGuard::builder(store.clone(), &*key)
                .node(node)
                .estimate(Estimate::Fixed(6));
            guard
                .allocation(allocation)
                .heartbeat(Duration::from_millis(20))
                .build()
                .expect("settings")
        });
        for guard in &guards {
            tokio::time::timeout(PATIENCE, guard.ready())
                .await
                .expect("in time")
                .expect("welcome");
        }
        until("all is shared out", || {
            guards.iter().map(|guard| guard.stats().share).sum::<u32>() == 6
        })
        .await;
        let held = guards.each_ref().map(take_all);
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 6);
    }
}

#[tokio::test]
async fn a_slot_that_comes_back_goes_to_whoever_waits() {
    let store = MemoryStore::new();
    let guard = builder(&store, "a").build().expect("settings");
    guard.ready().await.expect("welcome");
    let mut held = take_all(&guard);
    assert_eq!(held.len(), 6);
    let waiting = guard.acquire(Criticality::Default, PATIENCE);
    let waiting = tokio::spawn(waiting);
    tokio::task::yield_now().await;
    held.pop();
    let lease = waiting
        .await
        .expect("no panic")
        .expect("the slot that came back");
    assert_eq!(
        guard.try_acquire(Criticality::Default).err(),
        Some(Shed::Full)
    );
    drop(lease);
}

#[tokio::test]
async fn a_program_that_blocks_its_runtime_is_not_fenced() {
    let store = MemoryStore::new();
    let guard = builder(&store, "a").build().expect("settings");
    guard.ready().await.expect("welcome");
    // This runtime has one thread, and it is busy for three leases.
    let clock = Clock::system();
    let until = clock.now().saturating_add(Duration::from_millis(3_000));
    while clock.now() < until {
        std::hint::spin_loop();
    }
    assert_eq!(guard.stats().fences, 0);
    assert!(guard.try_acquire(Criticality::Default).is_ok());
}

#[tokio::test]
async fn i4_dropping_the_last_handle_leaves_the_fleet() {
    let store = MemoryStore::new();
    let a = builder(&store, "a").build().expect("settings");
    let b = builder(&store, "b").build().expect("settings");
    a.ready().await.expect("welcome");
    b.ready().await.expect("welcome");
    let lease = a.try_acquire(Criticality::Default).expect("a slot");
    drop(a);
    until("what is not in use has moved", || b.stats().share == 5).await;
    lease.success();
    until("and then the last slot", || b.stats().share == 6).await;
}

#[tokio::test]
async fn a_flushed_store_is_noticed_and_survived() {
    let store = MemoryStore::new();
    let a = builder(&store, "a").build().expect("settings");
    let b = builder(&store, "b").build().expect("settings");
    a.ready().await.expect("welcome");
    b.ready().await.expect("welcome");
    until("both have half", || {
        a.stats().share == 3 && b.stats().share == 3
    })
    .await;
    store.flush();
    let before = [&a, &b].map(|guard| guard.stats().beats);
    until("both have been told four times", || {
        let running = [&a, &b].map(take_all).iter().map(Vec::len).sum::<usize>();
        assert!(running <= 6, "{running} on 6");
        a.stats().beats >= before[0] + 4 && b.stats().beats >= before[1] + 4
    })
    .await;
    until("both have half again", || {
        a.stats().share == 3 && b.stats().share == 3
    })
    .await;
}

#[tokio::test]
async fn closing_twice_is_closing_once() {
    let guard = builder(&MemoryStore::new(), "a").build().expect("settings");
    guard.ready().await.expect("welcome");
    guard.close().await.expect("nothing runs");
    guard.close().await.expect("still nothing");
    assert_eq!(guard.stats().state, NodeState::Left);
    assert!(guard.ready().await.is_err());
    assert!(guard.heartbeat().await.is_err());
    assert_eq!(
        guard.try_acquire(Criticality::Default).err(),
        Some(Shed::Closed)
    );
}
