//! The fleet guard: the machines of the crate themselves, on a network that delays, loses, repeats and swaps.

mod audit;
mod network;
mod process;
mod reclaim;
mod waiting;

use self::audit::Audit;
use self::network::Network;
use self::process::Process;
use self::reclaim::Reclaim;
use self::waiting::{Call, Place};
use super::{Asking, Held, Limiter, Outcome, Scene, Traffic, Truth, Verdict};
use crate::engine::{Agenda, MS, Nanos};
use crate::random::{Stream, stream};
use crate::scenario::{Liar, NodeChange, Scenario, StoreChange, Way};
use crate::world::Event;
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use tidegate::Lease;
use tidegate::classify::{Classifier, Measure};
use tidegate::fleet::sim::{Asked, Config, Message, Node, Store};
use tidegate::slot::{Carrier, Head};

/// What the agenda says to a node: its time has come, or the message in this place has arrived.
const TIME: u32 = u32::MAX;
/// Instead of a node: the store.
const STORE: u32 = u32::MAX;
/// Places of store events in the agenda count down from here.
const CHANGES: u32 = u32::MAX / 2;

/// The fleet guard on a scenario's network.
pub(super) struct Fleet {
    config: Config,
    wait: Option<Nanos>,
    store: Store,
    /// Those that drain beside their successors included.
    processes: Vec<Process>,
    /// The process of each node, by place.
    current: Vec<usize>,
    network: Network,
    audit: Audit,
    identities: Rng,
    /// From whom, or to whom, and what; by place.
    messages: Vec<Option<(u64, Message)>>,
    free: Vec<u32>,
    changes: Vec<(Nanos, StoreChange)>,
    liars: Vec<Liar>,
    traffic: Traffic,
    reclaim: Reclaim,
    /// Requests in the nodes' queues.
    waiting: HashMap<u32, Place>,
    called: Arc<Mutex<Vec<u32>>>,
}

impl Fleet {
    pub(super) fn new(scenario: &Scenario, config: Config, seed: u64) -> Self {
        let network = Network::new(scenario, seed);
        let (slowest, fastest) = network.drifts();
        Self {
            wait: match scenario.limiter.wait {
                None if scenario.limiter.name == "tidegate-queue" => Some(20 * MS),
                wait => wait,
            },
            audit: Audit::new(
                config.keeps_in_flight(),
                config.drain_us() * 1000,
                fastest,
                scenario.warmup,
            ),
            reclaim: Reclaim::new(scenario, &config, (-slowest).max(0.0)),
            store: Store::new(&config),
            config,
            processes: Vec::new(),
            current: Vec::new(),
            network,
            identities: stream(seed, Stream::Identities),
            messages: Vec::new(),
            free: Vec::new(),
            changes: scenario.network.store_events.clone(),
            liars: scenario.liars.clone(),
            traffic: Traffic::default(),
            waiting: HashMap::new(),
            called: Arc::default(),
        }
    }

    /// Lets the process in place `index` do something, and sends what it wants to send.
    fn step(
        &mut self,
        agenda: &mut Agenda<Event>,
        index: usize,
        step: impl FnOnce(&mut Node, u64) -> Vec<Message>,
    ) {
        let now = agenda.now();
        let fresh_epoch = self.identities.u64(1..);
        let process = &mut self.processes[index];
        let local = process.local(now);
        let Some(node) = &mut process.node else {
            return;
        };
        node.set_clock(local);
        let sent = step(node, fresh_epoch);
        let incarnation = process.incarnation;
        self.check_slots(index, now);
        for message in sent {
            let number = self.processes[index].number;
            let lies = self.liars.iter().filter(|liar| liar.node == number);
            let message = lies.fold(message, |message, liar| {
                message.misreported(liar.of, liar.factor)
            });
            self.send(agenda, index, STORE, incarnation, &message);
        }
        self.plan_timer(agenda, index);
    }

    /// Whether the gate counts what runs, after a step of its process.
    fn check_slots(&mut self, index: usize, now: Nanos) {
        let process = &mut self.processes[index];
        let Some(node) = &process.node else {
            return;
        };
        let (is_active, is_alone) = (node.is_active(), node.is_on_its_own());
        let (_, counted) = node.sample();
        match (process.was_alone, is_alone) {
            // Nothing that it runs is cancelled, so there is no grace.
            (false, true) => self.audit.went_alone(),
            (true, false) => self.audit.came_back(&mut process.watch, now),
            (true, true) => {}
            (false, false) if process.was_active && !is_active => {
                process.begin_grace(now, self.config.drain_us() * 1000);
                self.audit.cut_off(process.watch, now);
                process.watch = self.audit.watch();
            }
            (false, false) => {}
        }
        (process.was_active, process.was_alone) = (is_active, is_alone);
        let grace = process.is_in_grace(now);
        self.audit
            .check_slots(counted, process.running, process.queued, grace);
    }

    fn plan_timer(&mut self, agenda: &mut Agenda<Event>, index: usize) {
        let process = &mut self.processes[index];
        let Some(node) = &process.node else {
            return;
        };
        let due = node.poll_timeout();
        if due == u64::MAX {
            return;
        }
        let at = process.global(due).max(agenda.now() + 1);
        if at < process.timer {
            process.timer = at;
            agenda.at(at, Event::Limiter(index as u32, TIME));
        }
    }

    /// Sends `message` between the process `index` and the store, to `to`; what is lost and doubled is the network's.
    fn send(
        &mut self,
        agenda: &mut Agenda<Event>,
        index: usize,
        to: u32,
        incarnation: u64,
        message: &Message,
    ) {
        self.traffic.messages += 1;
        self.traffic.bytes += message.bytes();
        let now = agenda.now();
        let number = self.processes[index].number;
        let way = if to == STORE {
            Way::ToStore
        } else {
            Way::ToNode
        };
        for delay in self.network.deliveries(now, number, way) {
            let place = match self.free.pop() {
                Some(place) => place,
                None => {
                    self.messages.push(None);
                    (self.messages.len() - 1) as u32
                }
            };
            self.messages[place as usize] = Some((incarnation, message.clone()));
            agenda.at(now + delay, Event::Limiter(to, place));
        }
    }

    fn deliver_to_store(&mut self, agenda: &mut Agenda<Event>, place: u32) {
        self.free.push(place);
        let Some((from, message)) = self.messages[place as usize].take() else {
            return;
        };
        let (_, reserved) = self.store.committed();
        let told = self.store.handle(from, &message);
        if let Some(limit) = told.planned {
            self.audit.planned(limit, reserved);
        }
        self.audit
            .check_store(agenda.now(), &self.store, self.config.slack_us());
        let is_held = |incarnation| self.store.held_by(incarnation) > 0;
        for (waited, bound) in self.reclaim.heard(agenda.now(), from, is_held) {
            self.audit.broken("I10", waited, bound);
        }
        for (to, message) in told.messages {
            let found = self
                .processes
                .iter()
                .position(|process| process.incarnation == to);
            if let Some(index) = found {
                self.send(agenda, index, index as u32, to, &message);
            }
        }
    }

    fn change_store(&mut self, change: StoreChange) {
        self.reclaim.disturbed();
        match change {
            StoreChange::Flush => {
                self.store.flush();
                self.audit.disturbed(None);
            }
            StoreChange::Restart => {
                let epoch = self.store.time().map(|(epoch, _)| epoch);
                self.store.restart();
                self.audit.disturbed(epoch);
            }
        }
    }

    fn ran(&mut self, now: Nanos, index: usize, lease: Lease) -> Held {
        let process = &mut self.processes[index];
        process.running += 1;
        self.audit.started(process.watch, now);
        Held::Lease {
            lease,
            process: index,
            watch: process.watch,
        }
    }

    /// The clock of the process, where it lives.
    fn set_clock(&self, scene: &Scene<'_>, index: usize) {
        let process = &self.processes[index];
        if let Some(node) = &process.node {
            node.set_clock(process.local(scene.agenda.now()));
        }
    }

    fn heed(&mut self, agenda: &mut Agenda<Event>, index: usize) {
        if self.processes[index]
            .node
            .as_ref()
            .is_some_and(Node::has_news)
        {
            self.step(agenda, index, Node::step);
        }
    }

    /// A new process of the node `number`. One that still drains goes on beside it, as in a rolling deploy.
    fn start(&mut self, agenda: &mut Agenda<Event>, number: usize) {
        let incarnation = self.identities.u64(1..);
        let (offset, drift) = self.network.clock(number);
        let mut process = Process {
            number,
            node: None,
            incarnation,
            running: 0,
            watch: self.audit.watch(),
            queued: 0,
            was_active: false,
            was_alone: false,
            grace_ends: None,
            offset,
            drift,
            timer: Nanos::MAX,
        };
        let name = format!("node-{number}");
        let local = process.local(agenda.now());
        process.node = Some(Node::new(&name, incarnation, &self.config, 1, local));
        let place = self.current.get(number).copied();
        let index = match place.filter(|place| self.processes[*place].is_gone()) {
            Some(place) => {
                self.processes[place] = process;
                place
            }
            None => {
                self.processes.push(process);
                self.processes.len() - 1
            }
        };
        match self.current.get_mut(number) {
            Some(current) => *current = index,
            None => self.current.push(index),
        }
        // Processes do not start in the same nanosecond.
        let first = agenda.now() + self.identities.u64(..5 * MS);
        self.processes[index].timer = first;
        agenda.at(first, Event::Limiter(index as u32, TIME));
    }
}

impl Limiter for Fleet {
    fn begin(&mut self, scene: &mut Scene<'_>) {
        for (index, (at, _)) in self.changes.iter().enumerate() {
            scene
                .agenda
                .at(*at, Event::Limiter(STORE, CHANGES + index as u32));
        }
    }

    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict {
        let Asking {
            node,
            request,
            class,
        } = asking;
        let index = self.current[node];
        let process = &self.processes[index];
        let Some(node) = &process.node else {
            return Verdict::Reject;
        };
        node.set_clock(process.local(scene.agenda.now()));
        let asked = match self.wait {
            None => node.try_acquire(class).map_err(|_| Verdict::Reject),
            Some(at_most) => {
                let called = Arc::clone(&self.called);
                let waker = Waker::from(Arc::new(Call { request, called }));
                match node.acquire_or_queue(class, at_most, waker.clone()) {
                    Asked::Admitted(lease) => Ok(lease),
                    Asked::Refused(_) => Err(Verdict::Reject),
                    Asked::Waits(waiting, at_most) => {
                        let place = Place {
                            process: index,
                            waiting,
                            waker,
                        };
                        self.waiting.insert(request, place);
                        self.processes[index].queued += 1;
                        Err(Verdict::Queued { at_most })
                    }
                }
            }
        };
        match asked {
            Ok(lease) => Verdict::Admit(self.ran(scene.agenda.now(), index, lease)),
            Err(verdict) => {
                self.audit.refused(scene.agenda.now());
                self.heed(scene.agenda, index);
                verdict
            }
        }
    }

    fn called(&mut self, scene: &mut Scene<'_>) -> Option<(u32, Option<Held>)> {
        loop {
            let request = self
                .called
                .lock()
                .expect("nothing panics under this lock")
                .pop()?;
            let Some(place) = self.waiting.get(&request) else {
                continue;
            };
            let index = place.process;
            let node = self.processes[index].node.as_ref()?;
            let now = scene.agenda.now();
            node.set_clock(self.processes[index].local(now));
            if let Poll::Ready(result) = node.poll(&place.waiting, &place.waker) {
                self.waiting.remove(&request);
                self.processes[index].queued -= 1;
                let held = result.ok().map(|lease| self.ran(now, index, lease));
                return Some((request, held));
            }
        }
    }

    fn give_up(&mut self, scene: &mut Scene<'_>, request: u32) -> Option<Held> {
        let place = self.waiting.remove(&request)?;
        let index = place.process;
        self.processes[index].queued -= 1;
        let node = self.processes[index].node.as_ref()?;
        let now = scene.agenda.now();
        node.set_clock(self.processes[index].local(now));
        let slot = node.give_up(&place.waiting);
        let held = slot.ok().map(|lease| self.ran(now, index, lease));
        self.heed(scene.agenda, index);
        held
    }

    fn release(
        &mut self,
        scene: &mut Scene<'_>,
        _node: usize,
        held: Held,
        outcome: Outcome,
        _latency: Nanos,
    ) {
        let (Held::Lease {
            process: index,
            watch,
            ..
        }
        | Held::Body {
            process: index,
            watch,
            ..
        }) = held
        else {
            return;
        };
        self.set_clock(scene, index);
        match (held, outcome) {
            (Held::Lease { lease, .. }, Outcome::Success) => lease.success(),
            (Held::Lease { lease, .. }, Outcome::Overload) => lease.overload(),
            (Held::Body { mut carrier, .. }, _) => carrier.ended(),
            (Held::Slot(_), _) => {}
        }
        let process = &mut self.processes[index];
        process.running -= 1;
        self.audit.ended(watch);
        self.heed(scene.agenda, index);
    }

    fn headed(&mut self, scene: &mut Scene<'_>, held: Held) -> Held {
        let Held::Lease {
            lease,
            process,
            watch,
        } = held
        else {
            return held;
        };
        self.set_clock(scene, process);
        let mut carrier = Carrier::new(lease);
        let head = Head {
            status: 200,
            ..Head::default()
        };
        carrier.answered(&head, &Classifier::default(), Measure::Head);
        self.heed(scene.agenda, process);
        Held::Body {
            carrier,
            process,
            watch,
        }
    }

    fn outlived(&mut self, held: Held) {
        if let Held::Lease { watch, .. } | Held::Body { watch, .. } = held {
            self.audit.ended(watch);
        }
    }

    fn handle(&mut self, scene: &mut Scene<'_>, node: u32, what: u32) {
        let now = scene.agenda.now();
        match (node, what) {
            (STORE, change) if change >= CHANGES => {
                let (_, change) = self.changes[(change - CHANGES) as usize];
                self.change_store(change);
            }
            (STORE, place) => self.deliver_to_store(scene.agenda, place),
            (node, TIME) => {
                let index = node as usize;
                if self.processes[index].timer == now {
                    self.processes[index].timer = Nanos::MAX;
                    self.step(scene.agenda, index, Node::step);
                }
            }
            (node, place) => {
                self.free.push(place);
                let index = node as usize;
                let Some((to, message)) = self.messages[place as usize].take() else {
                    return;
                };
                if self.processes[index].incarnation == to {
                    self.step(scene.agenda, index, |node, fresh| {
                        node.handle(message, fresh)
                    });
                }
            }
        }
    }

    fn change(&mut self, scene: &mut Scene<'_>, node: usize, change: NodeChange) {
        match change {
            NodeChange::Join | NodeChange::Restart => self.start(scene.agenda, node),
            NodeChange::Leave => self.step(scene.agenda, self.current[node], |node, fresh| {
                node.close();
                node.step(fresh)
            }),
            NodeChange::Crash => {
                let index = self.current[node];
                let process = &mut self.processes[index];
                process.node = None;
                self.reclaim.died(process.incarnation, scene.agenda.now());
                process.incarnation = 0;
                self.waiting.retain(|_, place| place.process != index);
                // The backend works on for it: still in flight.
                (process.running, process.queued) = (0, 0);
                let now = scene.agenda.now();
                if std::mem::take(&mut process.was_alone) {
                    self.audit.came_back(&mut process.watch, now);
                }
                self.audit.cut_off(process.watch, now);
            }
        }
    }

    fn limit(&self, _: Truth) -> f64 {
        // Of those who are in, the one who heard last is not known; they differ for a round trip.
        let active = self
            .processes
            .iter()
            .filter_map(|process| process.node.as_ref());
        let limits = active.filter(|node| node.is_active()).map(Node::limit);
        limits.max().map_or(0.0, f64::from)
    }

    fn shares(&self, _: Truth) -> f64 {
        let nodes = self
            .processes
            .iter()
            .filter_map(|process| process.node.as_ref());
        nodes.map(|node| f64::from(node.sample().0)).sum()
    }

    fn share(&self, node: usize) -> Option<f64> {
        let process = &self.processes[*self.current.get(node)?];
        let node = process.node.as_ref()?;
        Some(f64::from(node.sample().0))
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            violations: self.audit.violations(),
            reclaimed: self.reclaim.longest(),
            wanted: Some(self.audit.wanted()),
            ..self.traffic
        }
    }
}
