//! The fleet guard: the machines of the crate themselves, on a network that delays, loses, repeats and swaps.

mod audit;
mod limiting;
mod network;
mod process;
mod reclaim;
mod waiting;

use self::audit::Audit;
use self::network::Network;
use self::process::Process;
use self::reclaim::Reclaim;
use self::waiting::Place;
use super::{Held, Scene, Traffic};
use crate::engine::{Agenda, MS, Nanos};
use crate::random::{Stream, stream};
use crate::scenario::{Liar, Scenario, StoreChange, Way};
use crate::world::Event;
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tidegate::Lease;
use tidegate::fleet::sim::{Config, Message, Node, Store};

/// What the agenda says to a node: its time has come, or the message in this place has arrived.
const TIME: u32 = u32::MAX;
/// Instead of a node: the store.
const STORE: u32 = u32::MAX;
/// Places of store events in the agenda count up from here; those of messages are below.
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
