//! The loop beside a store that falls silent.

use super::*;
use crate::fleet::guard::DistributedGuard;
use crate::fleet::message::Beat;
use crate::fleet::settings::Estimate;
use crate::store::{FleetStore, MemoryStore};
use crate::{ConcurrencyGuard, Criticality, Shed};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::Notify;

/// A store that can fall silent, step by step.
#[derive(Clone, Debug, Default)]
struct Mute {
    store: MemoryStore,
    beats: Arc<AtomicBool>,
    commits: Arc<AtomicBool>,
    unanswered: Arc<AtomicU32>,
}

impl Exchange for Mute {
    fn when_empty(&self) -> EmptyStore {
        EmptyStore::Trust
    }

    fn beat(&self, key: &Arc<str>, beat: Beat, empty: EmptyStore) -> Reply<Answer> {
        if self.beats.load(Ordering::Relaxed) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return Box::pin(pending());
        }
        self.store.beat(key, beat, empty)
    }

    fn commit(&self, key: &Arc<str>, commit: Commit) -> Reply<CommitAnswer> {
        if self.commits.load(Ordering::Relaxed) {
            return Box::pin(pending());
        }
        self.store.commit(key, commit)
    }

    fn subscribe(&self, key: &Arc<str>, incarnation: u64) -> mpsc::UnboundedReceiver<Push> {
        self.store.subscribe(key, incarnation)
    }
}

fn guard(
    store: &Mute,
    configure: impl FnOnce(
        crate::fleet::DistributedGuardBuilder,
    ) -> crate::fleet::DistributedGuardBuilder,
) -> DistributedGuard {
    let store = FleetStore(Arc::new(store.clone()));
    let builder = DistributedGuard::builder(store, "key")
        .node("a")
        .estimate(Estimate::Fixed(3))
        .heartbeat(Duration::from_millis(20))
        .ttl(Duration::from_millis(100))
        .drain(Duration::ZERO);
    configure(builder).build().expect("settings that work")
}

#[tokio::test]
async fn a_panic_in_the_hook_does_not_end_the_driver() {
    let store = Mute::default();
    let (called, mut calls) = mpsc::unbounded_channel();
    let guard = guard(&store, |builder| {
        builder.on_fenced(move || {
            let _ = called.send(());
            panic!("the hook of a test");
        })
    });
    guard.ready().await.expect("a memory store grants at once");
    store.beats.store(true, Ordering::Relaxed);
    calls.recv().await.expect("the lease runs out");
    store.beats.store(false, Ordering::Relaxed);
    while guard.try_acquire(Criticality::Default).is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(guard.stats().fences, 1);
}

#[tokio::test]
async fn who_leaves_does_not_wait_for_a_plan_that_is_never_answered() {
    let store = Mute::default();
    let guard = guard(&store, |builder| builder);
    guard.ready().await.expect("a memory store grants at once");
    store.commits.store(true, Ordering::Relaxed);
    let before = guard.stats().beats;
    while guard.stats().beats < before + 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    guard.close().await.expect("nothing is running");
}

#[tokio::test]
async fn who_leaves_while_the_store_is_away_goes_when_its_lease_is_over() {
    let store = Mute::default();
    store.beats.store(true, Ordering::Relaxed);
    let unmet = guard(&store, |builder| builder);
    while store.unanswered.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    unmet.close().await.expect("nothing was ever granted");
    store.beats.store(false, Ordering::Relaxed);
    let guard = guard(&store, |builder| builder.node("b"));
    guard.ready().await.expect("a memory store grants at once");
    store.beats.store(true, Ordering::Relaxed);
    guard.close().await.expect("nothing is running");
}

#[tokio::test]
async fn a_heartbeat_is_one_that_was_sent_after_it_was_asked_for() {
    let store = Mute::default();
    let guard = guard(&store, |builder| {
        builder.heartbeat(Duration::from_millis(90))
    });
    guard.ready().await.expect("a memory store grants at once");
    // Of two asked for one after the other, the second cannot ride on the beat of the first.
    for _ in 0..20 {
        let lease = guard.try_acquire(Criticality::Default).expect("a slot");
        guard.heartbeat().await.expect("the store answers");
        let held = |store: &Mute| format!("{:?}", store.store).contains("in_flight: 1");
        assert!(held(&store), "the store has not heard of it");
        lease.success();
        guard.heartbeat().await.expect("the store answers");
        assert!(!held(&store), "the store has not heard that it ended");
    }
}

/// A store whose answers come when a test says so.
#[derive(Clone, Debug, Default)]
struct Slow {
    store: MemoryStore,
    holds_commits: Arc<AtomicBool>,
    holds_beats: Arc<AtomicBool>,
    held: Arc<AtomicU32>,
    beat: Arc<Notify>,
    commit: Arc<Notify>,
}

impl Exchange for Slow {
    fn when_empty(&self) -> EmptyStore {
        EmptyStore::Trust
    }

    fn beat(&self, key: &Arc<str>, beat: Beat, empty: EmptyStore) -> Reply<Answer> {
        let reply = self.store.beat(key, beat, empty);
        if !self.holds_beats.load(Ordering::Relaxed) {
            return reply;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        let come = Arc::clone(&self.beat);
        Box::pin(async move {
            come.notified().await;
            reply.await
        })
    }

    fn commit(&self, key: &Arc<str>, commit: Commit) -> Reply<CommitAnswer> {
        if !self.holds_commits.load(Ordering::Relaxed) {
            return self.store.commit(key, commit);
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        let failed = Arc::clone(&self.commit);
        Box::pin(async move {
            failed.notified().await;
            Err(StoreError::new(StoreErrorKind::Timeout, "lost"))
        })
    }

    fn subscribe(&self, key: &Arc<str>, incarnation: u64) -> mpsc::UnboundedReceiver<Push> {
        self.store.subscribe(key, incarnation)
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_answered_does_not_fail_with_a_plan_that_is_not() {
    let store = Slow::default();
    // Nothing is due by itself while the test runs.
    let guard = DistributedGuard::builder(FleetStore(Arc::new(store.clone())), "key")
        .estimate(Estimate::Fixed(3))
        .heartbeat(Duration::from_secs(60))
        .ttl(Duration::from_secs(240))
        .build()
        .expect("settings that work");
    guard.ready().await.expect("a memory store grants at once");
    let pause = || tokio::time::sleep(Duration::from_millis(1));
    store.holds_commits.store(true, Ordering::Relaxed);
    while store.held.load(Ordering::Relaxed) == 0 {
        guard.heartbeat().await.expect("the store answers");
        pause().await;
    }
    store.holds_beats.store(true, Ordering::Relaxed);
    let asking = tokio::spawn({
        let guard = guard.clone();
        async move { guard.heartbeat().await }
    });
    while store.held.load(Ordering::Relaxed) == 1 {
        pause().await;
    }
    store.commit.notify_one();
    while guard.stats().failures == 0 {
        pause().await;
    }
    store.beat.notify_one();
    let asked = asking.await.expect("no panic");
    asked.expect("the beat was answered");
}

#[test]
fn a_guard_whose_runtime_is_shut_down_is_closed() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = Mute::default();
    let guard = guard(&store, |builder| builder.runtime(runtime.handle().clone()));
    runtime.block_on(guard.ready()).expect("a grant");
    let lease = guard.try_acquire(Criticality::Default).expect("a slot");
    drop(runtime);
    assert!(lease.token().is_cancelled());
    assert_eq!(
        guard.try_acquire(Criticality::Default).unwrap_err(),
        Shed::Closed
    );
    drop(lease);
    let stats = guard.stats();
    assert_eq!((stats.in_flight, stats.state), (0, NodeState::Left));
    let other = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = |ended| matches!(ended, Err(FleetError::Closed));
    assert!(ended(other.block_on(guard.ready())));
    assert!(ended(other.block_on(guard.heartbeat())));
    other.block_on(guard.close()).expect("nothing is running");
}
