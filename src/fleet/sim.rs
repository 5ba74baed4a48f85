//! The fleet's machines for the simulator in `sim/`: the node and the store's steps, with time and messages as values.
//!
//! Hidden, for the simulator of this repository alone; no stability is promised. Nothing is decided here: a [`Node`]
//! is the node that the driver drives, a [`Store`] the state that the memory store keeps.

mod bytes;
#[cfg(feature = "redis")]
mod calls;
mod message;

#[cfg(feature = "redis")]
pub use self::calls::load_scripts;
use self::message::Payload;
pub use self::message::{Lie, Message};
use crate::adaptive::{Aimd, Algorithm, Estimator, Gradient2, Vegas, WindowSetup};
use crate::criticality::Criticality;
use crate::fleet::check;
use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Member, Phase};
use crate::fleet::message::Committed;
use crate::fleet::node;
use crate::fleet::settings::{Handoff, Settings};
use crate::permit::{self, Gate, GateSetup, Lease, Place, Queued, Shed, Status, Ticket, Wait};
use crate::time::{Clock, LocalTime, ManualClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

/// How all nodes of a fleet are configured.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    algorithm: Algorithm,
    empty: EmptyStore,
}

impl Config {
    /// Reads `field=value;..` as the fleet's settings are written, what is missing by default; `local=..`, the
    /// algorithm of the nodes' own estimators; and `empty=trust` or `empty=learn`, what an empty store means. The
    /// initial limit is by default the one nearest to the fleet's that the bounds allow. Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut algorithm = Algorithm::default();
        let mut empty = EmptyStore::Trust;
        let mut line = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            match pair {
                "local=gradient2" => algorithm = Gradient2::default().into(),
                "local=vegas" => algorithm = Vegas::default().into(),
                "local=aimd" => algorithm = Aimd::default().into(),
                "empty=trust" => empty = EmptyStore::Trust,
                "empty=learn" => empty = EmptyStore::Learn,
                _ if Settings::read(pair).is_none() => {
                    return Err(format!("this version cannot read {pair}"));
                }
                _ => line.push(pair),
            }
        }
        let mut settings = if line.is_empty() {
            Settings::default()
        } else {
            Settings::read(&line.join(";")).ok_or("this version cannot read these together")?
        };
        if !line.iter().any(|pair| pair.starts_with("initial_limit=")) {
            let initial = settings.initial_limit.max(settings.min_limit);
            settings.initial_limit = initial.min(settings.max_limit);
        }
        check::settings(&settings).map_err(|error| error.to_string())?;
        Ok(Self {
            settings,
            algorithm,
            empty,
        })
    }

    /// Whether what is in flight, and not only what is committed, stays below the limit.
    #[must_use]
    pub fn keeps_in_flight(&self) -> bool {
        self.settings.handoff == Handoff::Acknowledged
    }

    /// For so long after a node was fenced or died, what it let in before counts as in flight, in microseconds.
    #[must_use]
    pub fn drain_us(&self) -> u64 {
        u64::try_from(self.settings.drain.as_micros()).unwrap_or(u64::MAX)
    }

    /// For so long after the last beat of a node the store may keep something for it, in microseconds of store time.
    #[must_use]
    pub fn lease_us(&self) -> u64 {
        u64::try_from(self.settings.lease().as_micros()).unwrap_or(u64::MAX)
    }

    /// How far one beat may move the store time, in microseconds.
    #[must_use]
    pub fn slack_us(&self) -> u64 {
        u64::try_from(self.settings.slack().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What a step of the store said.
#[derive(Debug, Default)]
pub struct Told {
    /// To the node of this incarnation.
    pub messages: Vec<(u64, Message)>,
    /// The limit of the plan that was committed.
    pub planned: Option<u32>,
}

/// The state of a key, and the server it lives on.
#[derive(Debug, Default)]
pub struct Store {
    state: KeyState,
    server: u32,
    empty: EmptyStore,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            empty: config.empty,
            ..Self::default()
        }
    }

    /// Takes a message from the node of `incarnation`.
    pub fn handle(&mut self, incarnation: u64, message: &Message) -> Told {
        let server = self.server.to_string();
        let mut told = Told::default();
        let reply = match &message.0 {
            Payload::Beat(beat) => {
                let answer = self.state.beat(beat, &server, self.empty);
                Payload::Answer(Box::new(answer))
            }
            Payload::Commit(commit) => {
                let (answer, pushes) = self.state.commit(commit, &server);
                if answer.outcome == Committed::Applied {
                    told.planned = Some(answer.limit);
                }
                let push = |(to, push)| (to, Message(Payload::Push(push)));
                told.messages.extend(pushes.into_iter().map(push));
                Payload::CommitAnswer(Box::new(answer))
            }
            Payload::Answer(_) | Payload::CommitAnswer(_) | Payload::Push(_) => return told,
        };
        told.messages.push((incarnation, Message(reply)));
        told
    }

    /// Loses everything.
    pub fn flush(&mut self) {
        self.state = KeyState::default();
    }

    /// Another server goes on with the data.
    pub const fn restart(&mut self) {
        self.server += 1;
    }

    /// The sum of committed shares, and the sum of what nobody else may have.
    #[must_use]
    pub fn committed(&self) -> (u64, u64) {
        self.state.committed()
    }

    /// What nobody else may have because of the node of `incarnation`, dead or alive.
    #[must_use]
    pub fn held_by(&self, incarnation: u64) -> u32 {
        self.state.held_by(incarnation)
    }

    /// The epoch and its store time in microseconds.
    #[must_use]
    pub fn time(&self) -> Option<(u64, u64)> {
        self.state
            .time()
            .map(|(epoch, time)| (epoch, time.as_micros()))
    }

    /// Whether this epoch has committed a plan.
    #[must_use]
    pub fn has_planned(&self) -> bool {
        self.state.has_planned()
    }
}

/// A node, its gate and the clock of its process.
#[derive(Debug)]
pub struct Node {
    node: node::Node,
    gate: Arc<Gate>,
    lever: ManualClock,
    news: Arc<News>,
    listener: Waker,
    refused: bool,
}

/// Whether the gate has signals.
#[derive(Debug, Default)]
struct News(AtomicBool);

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Node {
    /// A node that begins now, at `now` nanoseconds of its clock.
    #[must_use]
    pub fn new(name: &str, incarnation: u64, config: &Config, weight: u32, now: u64) -> Self {
        let (clock, lever) = Clock::manual();
        lever.set(LocalTime::from_nanos(now));
        let gate = Arc::new(Gate::new(GateSetup {
            name: Arc::from("sim"),
            clock: clock.clone(),
            ceiling: 0,
            status: Status::Cold,
            fence_at: LocalTime::ZERO,
            estimator: Estimator::from(
                Box::new(config.algorithm.clone()) as Box<dyn crate::adaptive::LimitAlgorithm>
            ),
            window: WindowSetup::default(),
            estimator_rules: false,
        }));
        let member = Member::new(
            Arc::from(name),
            incarnation,
            config.settings.clone(),
            clock.now(),
        );
        let news = Arc::new(News::default());
        let node = Self {
            node: node::Node::new(member, weight, Arc::clone(&gate)),
            gate,
            lever,
            listener: Waker::from(Arc::clone(&news)),
            news,
            refused: false,
        };
        let _ = node.gate.poll_signals(&node.listener);
        node
    }

    /// Its process reads this, in nanoseconds, from now on.
    #[inline]
    pub fn set_clock(&self, now: u64) {
        self.lever.set(LocalTime::from_nanos(now));
    }

    /// A request asks for a slot.
    #[inline]
    pub fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        self.gate.try_acquire(class)
    }

    /// A request asks for a slot, and waits in the micro-queue if there is none, at most so many nanoseconds; `waker`
    /// is called when it is to be polled.
    pub fn acquire_or_queue(&self, class: Criticality, at_most: u64, waker: Waker) -> Asked {
        let wait = Wait::Briefly(Duration::from_nanos(at_most));
        match self.gate.enqueue(class, wait, waker) {
            Queued::Slot(slot) => Asked::Admitted(self.gate.lease(slot)),
            Queued::TurnedAway(shed) => {
                self.gate.refused(class, shed);
                Asked::Refused(shed)
            }
            Queued::Waits(Place { ticket, at_most }) => {
                let at_most = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
                Asked::Waits(Waiting(ticket), at_most)
            }
        }
    }

    /// What became of a request that waits.
    pub fn poll(&self, waiting: &Waiting, waker: &Waker) -> Poll<Result<Lease, Shed>> {
        if let Some(turn) = self.gate.poll_ticket(waiting.0, waker) {
            return Poll::Ready(permit::take_turn(&self.gate, waiting.0.class(), turn));
        }
        if self.gate.status() == Status::Closed {
            return Poll::Ready(self.leave(waiting, Shed::Closed));
        }
        Poll::Pending
    }

    /// A request has waited long enough. It may have been handed a slot meanwhile.
    pub fn give_up(&self, waiting: &Waiting) -> Result<Lease, Shed> {
        self.leave(waiting, Shed::Deadline)
    }

    fn leave(&self, waiting: &Waiting, because: Shed) -> Result<Lease, Shed> {
        match self.gate.give_up(waiting.0) {
            Some(slot) => permit::collect(&self.gate, slot),
            None => permit::refuse(&self.gate, waiting.0.class(), because),
        }
    }

    /// When to call [`Self::step`], in nanoseconds of its clock, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        self.node.poll_timeout().as_nanos()
    }

    /// Whether the request path has news: call [`Self::step`] then.
    #[inline]
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.news.0.load(Ordering::Acquire)
    }

    /// Time has passed, or the request path has news. Answers what is to be sent to the store. `fresh_epoch` is random.
    pub fn step(&mut self, fresh_epoch: u64) -> Vec<Message> {
        if self.news.0.swap(false, Ordering::AcqRel)
            && let Some(signals) = self.gate.poll_signals(&self.listener)
        {
            self.node.handle_signals(signals);
        }
        let now = self.gate.clock().now();
        let events = self.node.handle_timeout(now);
        self.hear(&events);
        self.node
            .poll_beat(now, fresh_epoch)
            .map(|beat| Message(Payload::Beat(Box::new(beat))))
            .into_iter()
            .collect()
    }

    /// Takes a message from the store, and then a step.
    pub fn handle(&mut self, message: Message, fresh_epoch: u64) -> Vec<Message> {
        let now = self.gate.clock().now();
        let (events, plan) = match message.0 {
            Payload::Answer(answer) => self.node.handle_answer(now, *answer),
            Payload::CommitAnswer(answer) => self.node.handle_commit(now, *answer),
            Payload::Push(push) => (self.node.handle_push(now, push), None),
            Payload::Beat(_) | Payload::Commit(_) => (Vec::new(), None),
        };
        self.hear(&events);
        let mut messages = self.step(fresh_epoch);
        messages.extend(plan.map(|plan| Message(Payload::Commit(Box::new(plan)))));
        messages
    }

    fn hear(&mut self, events: &[Event]) {
        self.refused |= events
            .iter()
            .any(|event| matches!(event, Event::Refused(_)));
    }

    /// Admit nothing more; leave when everything has drained.
    pub fn close(&mut self) {
        self.node.close(self.gate.clock().now());
    }

    /// Whether it admits what its own estimator allows, as its lease is over and the settings want it so: I1 and I2 are
    /// given up.
    #[must_use]
    pub fn is_on_its_own(&self) -> bool {
        self.node.member().is_on_its_own()
    }

    /// The limit of the fleet as this node last heard it.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.node.member().limit()
    }

    /// What the gate enforces, and what is in flight.
    #[must_use]
    pub fn sample(&self) -> (u32, u32) {
        self.gate.sample()
    }

    /// It has left, or was not welcome.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.node.is_over()
    }

    /// The store did not want it.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether its lease holds.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.node.phase(), Phase::Active)
    }
}

/// What a request that may wait is told.
#[derive(Debug)]
pub enum Asked {
    /// It has a slot.
    Admitted(Lease),
    /// It waits, at most so many nanoseconds.
    Waits(Waiting, u64),
    /// It may not wait either.
    Refused(Shed),
}

/// A request's place in a node's queue.
#[derive(Debug)]
pub struct Waiting(Ticket);

#[cfg(test)]
mod tests;
