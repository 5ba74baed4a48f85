//! The loop that drives a node: one thread for all guards of a process, one task a guard.

use crate::fleet::builder::OnFenced;
use crate::fleet::error::FleetError;
use crate::fleet::guard::{Command, Progress, Shared};
use crate::fleet::key_state::EmptyStore;
use crate::fleet::member::{Event, Phase};
use crate::fleet::message::{Answer, Commit, CommitAnswer, Committed, Push};
use crate::fleet::node::Node;
use crate::fleet::stats::NodeState;
use crate::observe;
use crate::permit::Signals;
use crate::store::{Exchange, Reply, StoreError, StoreErrorKind};
use crate::time::LocalTime;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Runs `task` on `runtime`, or on the driver thread of the process.
pub(crate) fn spawn(runtime: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
    runtime.unwrap_or_else(|| driver()).spawn(task);
}

fn driver() -> &'static Handle {
    static DRIVER: OnceLock<Handle> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the operating system gives a process an event queue");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("tidegate".to_owned())
            .spawn(move || runtime.block_on(pending::<()>()))
            .expect("the operating system gives a process a thread");
        handle
    })
}

/// One guard's part of the driver.
pub(super) struct Task {
    key: Arc<str>,
    node: Node,
    shared: Arc<Shared>,
    store: Arc<dyn Exchange>,
    empty: EmptyStore,
    on_fenced: Option<OnFenced>,
    inbox: mpsc::UnboundedReceiver<Command>,
    beat: Option<Reply<Answer>>,
    sent: LocalTime,
    commit: Option<Reply<CommitAnswer>>,
    /// Who asked for a beat that is yet to be sent, and who for one that is out.
    asking: Vec<oneshot::Sender<Result<(), FleetError>>>,
    waiting: Vec<oneshot::Sender<Result<(), FleetError>>>,
    troubled: bool,
}

/// What woke the loop.
enum Wake {
    Answer(Result<Answer, StoreError>),
    Commit(Result<CommitAnswer, StoreError>),
    Push(Push),
    Signals(Signals),
    Command(Option<Command>),
    Time,
}

impl Task {
    pub(super) fn new(
        key: Arc<str>,
        node: Node,
        shared: Arc<Shared>,
        store: Arc<dyn Exchange>,
        empty: EmptyStore,
        on_fenced: Option<OnFenced>,
        inbox: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            key,
            node,
            shared,
            store,
            empty,
            on_fenced,
            inbox,
            beat: None,
            sent: LocalTime::ZERO,
            commit: None,
            asking: Vec::new(),
            waiting: Vec::new(),
            troubled: false,
        }
    }

    pub(super) async fn run(mut self) {
        let incarnation = self.node.member().incarnation();
        let mut pushes = self.store.subscribe(&self.key, incarnation);
        loop {
            let now = self.now();
            let events = self.node.handle_timeout(now);
            self.tell(events);
            self.send(now);
            if self.node.is_over() && self.commit.is_none() {
                break;
            }
            let wait = self.node.poll_timeout().since(self.now());
            let gate = Arc::clone(self.node.gate());
            let signals = poll_fn(|cx| {
                gate.poll_signals(cx.waker())
                    .map_or(Poll::Pending, Poll::Ready)
            });
            let wake = tokio::select! {
                answer = arrival(&mut self.beat) => Wake::Answer(answer),
                answer = arrival(&mut self.commit) => Wake::Commit(answer),
                Some(push) = pushes.recv() => Wake::Push(push),
                command = self.inbox.recv(), if !self.inbox.is_closed() || !self.inbox.is_empty() => Wake::Command(command),
                signals = signals => Wake::Signals(signals),
                () = tokio::time::sleep(wait.min(Duration::from_secs(60))) => Wake::Time,
            };
            self.handle(wake);
        }
    }

    fn now(&self) -> LocalTime {
        self.node.gate().clock().now()
    }

    fn handle(&mut self, wake: Wake) {
        let now = self.now();
        match wake {
            Wake::Answer(Ok(answer)) => {
                self.beat = None;
                self.answered(now);
                let (events, plan) = self.node.handle_answer(now, answer);
                self.tell(events);
                self.send_plan(plan);
                self.waiting
                    .drain(..)
                    .for_each(|done| drop(done.send(Ok(()))));
            }
            Wake::Answer(Err(error)) => {
                self.beat = None;
                self.node.handle_failure(now);
                self.unanswered(error);
            }
            Wake::Commit(Ok(answer)) => {
                self.commit = None;
                if answer.outcome == Committed::Applied {
                    self.shared.news().plans += 1;
                    observe::plan(&self.key, answer.limit, answer.nodes);
                }
                let (events, plan) = self.node.handle_commit(now, answer);
                self.tell(events);
                self.send_plan(plan);
            }
            Wake::Commit(Err(error)) => {
                // It may have been applied; the next beat tells, and another token is out soon. Who waits for a beat that
                // is out waits for nothing else.
                self.commit = None;
                self.trouble(&Arc::new(error));
            }
            Wake::Push(push) => {
                let events = self.node.handle_push(now, push);
                self.tell(events);
            }
            Wake::Signals(signals) => self.node.handle_signals(signals),
            Wake::Command(Some(Command::Beat(done))) => self.asking.push(done),
            Wake::Command(Some(Command::Close) | None) => self.node.close(now),
            Wake::Time => {}
        }
    }

    fn send(&mut self, now: LocalTime) {
        if self.beat.is_some() && self.node.member().awaited().is_none() {
            // The time-out has passed; the request may still arrive.
            self.beat = None;
            let after = now.since(self.sent).as_millis();
            self.unanswered(StoreError::new(
                StoreErrorKind::Timeout,
                format!("no answer within {after} ms"),
            ));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: identities are drawn here and passed in"
        )]
        let fresh_epoch = fastrand::u64(1..);
        if !self.asking.is_empty() {
            self.node.beat_now(now);
        }
        if let Some(beat) = self.node.poll_beat(now, fresh_epoch) {
            self.sent = now;
            self.waiting.append(&mut self.asking);
            self.beat = Some(self.store.beat(&self.key, beat, self.empty));
        }
    }

    fn send_plan(&mut self, plan: Option<Commit>) {
        if let Some(commit) = plan {
            let reply = self.store.commit(&self.key, commit);
            // Who leaves does not wait longer for the answer.
            let after = self.node.commit_timeout();
            self.commit = Some(Box::pin(async move {
                let late = |_| {
                    let detail = format!("no answer to a plan within {after:?}");
                    Err(StoreError::new(StoreErrorKind::Timeout, detail))
                };
                tokio::time::timeout(after, reply)
                    .await
                    .unwrap_or_else(late)
            }));
        }
    }

    fn answered(&mut self, now: LocalTime) {
        let mut news = self.shared.news();
        news.beats += 1;
        news.last_latency = Some(now.since(self.sent));
        news.last_answer = Some(now);
        news.trouble = None;
        drop(news);
        if std::mem::take(&mut self.troubled) {
            observe::store_recovered(&self.key);
        }
    }

    /// The beat that was out did not come back.
    fn unanswered(&mut self, error: StoreError) {
        let told = self.trouble(&Arc::new(error));
        self.waiting
            .drain(..)
            .for_each(|done| drop(done.send(Err(told.clone()))));
    }

    fn trouble(&mut self, error: &Arc<StoreError>) -> FleetError {
        if !std::mem::replace(&mut self.troubled, true) {
            observe::store_trouble(&self.key, error);
        }
        let told = FleetError::Store {
            key: Arc::clone(&self.key),
            source: Arc::clone(error),
        };
        if error.is_permanent() {
            // `ready` need not wait for ever; the driver goes on trying.
            self.shared.progress.send_if_modified(|progress| {
                let first = progress.ended.is_none() && !progress.granted;
                if first {
                    progress.ended = Some(told.clone());
                }
                first
            });
        }
        let mut news = self.shared.news();
        news.failures += 1;
        news.trouble = Some(Arc::clone(error));
        told
    }

    /// Tells the world what the node does, and what has happened to it.
    fn tell(&mut self, events: Vec<Event>) {
        let fences = events.iter().filter(|event| **event == Event::Fenced);
        self.shared.news().fences += fences.count() as u64;
        self.publish();
        // Whoever this wakes asks for the news next.
        self.node.cancel();
        events.into_iter().for_each(|event| self.tell_of(event));
    }

    fn publish(&self) {
        let member = self.node.member();
        let mut news = self.shared.news();
        let joining = matches!(news.state, NodeState::Joining | NodeState::Learning);
        news.state = match self.node.phase() {
            Phase::Active if joining && member.is_learning() => NodeState::Learning,
            Phase::Joining => NodeState::Joining,
            Phase::Active => NodeState::Active,
            Phase::Fenced(_) => NodeState::Fenced,
            Phase::Closing => NodeState::Closing,
            Phase::Left => NodeState::Left,
            Phase::Refused => NodeState::Refused,
        };
        (news.limit, news.share) = (member.limit(), self.node.ceiling());
        (news.target, news.nodes) = (member.target(), member.nodes());
        let brake = self.node.brake();
        if news.withheld.to_bits() != (1.0 - brake).to_bits() {
            observe::brake(&self.key, brake);
        }
        (news.withheld, news.fleet) = (1.0 - brake, self.node.fleet());
    }

    fn tell_of(&mut self, event: Event) {
        let node = Arc::clone(&self.shared.node);
        match event {
            Event::Granted => {
                self.shared.progress.send_modify(|progress| {
                    progress.granted = true;
                    progress.ended = None;
                });
                observe::granted(&self.key, &node);
            }
            Event::Fenced => {
                observe::fenced(&self.key, &node);
                if let Some(hook) = &self.on_fenced
                    && catch_unwind(AssertUnwindSafe(|| hook())).is_err()
                {
                    // The panic has been printed. The lease is over either way; without a driver it stays over.
                    observe::hook_panicked(&self.key, &node);
                }
            }
            Event::NewEpoch => observe::new_epoch(&self.key),
            Event::Learning(left) => observe::learning(&self.key, left),
            Event::Refused(refusal) => {
                let settings = self.node.member().settings();
                let error = FleetError::refused(&refusal, &self.key, &node, settings);
                observe::refused(&self.key, &node, &error);
                let waiting = self.waiting.drain(..).chain(self.asking.drain(..));
                waiting.for_each(|done| drop(done.send(Err(error.clone()))));
                self.shared
                    .progress
                    .send_modify(|progress| progress.ended = Some(error));
            }
            Event::Left => {}
        }
    }
}

/// Whether the node has left, was refused, or its runtime was shut down under it: nobody renews its lease any more.
impl Drop for Task {
    fn drop(&mut self) {
        self.publish();
        if !self.node.is_over() {
            let mut news = self.shared.news();
            (news.state, news.share) = (NodeState::Left, 0);
        }
        self.node.end();
        self.inbox.close();
        self.shared.progress.send_modify(|progress: &mut Progress| {
            progress.left = true;
            progress.ended.get_or_insert(FleetError::Closed);
        });
    }
}

/// The reply, if one is awaited.
async fn arrival<T>(reply: &mut Option<Reply<T>>) -> Result<T, StoreError> {
    match reply {
        Some(reply) => reply.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
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
}
