//! The loop that drives a node: one task a guard.

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
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

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
mod tests;
