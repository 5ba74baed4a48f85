//! One run: load, limiter, backend and meter, from the first request to the last.

mod events;
mod ramp;
mod request;

use self::ramp::Joined;
use self::request::{Request, State};
use crate::backend::{Backend, Done};
use crate::engine::{Agenda, Nanos};
use crate::limiter::{Limiter, Outcome, Scene, Truth};
use crate::load::Arrivals;
use crate::metrics::{BIN, Meter, Run};
use crate::random::{Stream, stream};
use crate::scenario::{NodeChange, Scenario};
use fastrand::Rng;
use std::collections::VecDeque;

/// What is written down in the agenda.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Arrival,
    /// A user of a closed loop has thought.
    User(u32),
    /// A request reaches the backend.
    AtBackend(u32),
    /// The backend may be done with somebody.
    Backend,
    /// The head of an answer reaches the node, unless the request has another life by then.
    Head(u32, u32),
    /// An answer reaches the node, or the end of it.
    Answer(u32, Outcome),
    /// An answer that streams events has ended, if its request still has this life.
    StreamOver(u32, u32),
    /// A client hangs up, if its request still has this life.
    Timeout(u32, u32),
    /// A request that waits for a slot gives up.
    WaitOver(u32, u32),
    Retry(u32),
    /// Of the scenario's list.
    Node(usize),
    /// Capacity or latency is another.
    Truth,
    Stall(bool),
    /// The spread of the load is another.
    Spread,
    Bin,
    /// Have the nodes that came at this time their shares now?
    Ramp(Nanos),
    /// The limiter's own.
    Limiter(u32, u32),
}

/// A run under way: who asks, what is in flight, and what was measured so far.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    seed: u64,
    agenda: Agenda<Event>,
    limiter: Box<dyn Limiter>,
    backend: Backend,
    /// When the agenda next looks at the backend.
    look_at: Nanos,
    done: Vec<Done>,
    arrivals: Arrivals,
    node_rng: Rng,
    client_rng: Rng,
    requests: Vec<Request>,
    free: Vec<u32>,
    numbers: u64,
    in_flight: u32,
    knee: f64,
    latency: f64,
    second: Option<(f64, f64)>,
    up: Vec<usize>,
    is_up: Vec<bool>,
    /// Who came later and does not have its share yet.
    joined: Vec<Joined>,
    /// How often each node was started.
    lives: Vec<u32>,
    /// When the spread changes next by itself, if that is written down.
    next_spread: Option<Nanos>,
    /// Running sums of the parts of the nodes that are up.
    parts: Vec<f64>,
    distances: Vec<Nanos>,
    waiting: Vec<VecDeque<(u32, u32)>>,
    retries_left: f64,
    meter: Meter,
}

/// Runs `scenario` once.
pub(crate) fn run(scenario: &Scenario, limiter: Box<dyn Limiter>, seed: u64) -> Run {
    let mut world = World::new(scenario, limiter, seed);
    world.begin();
    while let Some(event) = world.agenda.next(scenario.duration) {
        world.handle(event);
    }
    let traffic = world.limiter.traffic();
    world.meter.finish(traffic, world.agenda.written())
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, limiter: Box<dyn Limiter>, seed: u64) -> Self {
        let nodes = scenario.all_nodes();
        let load = &scenario.load;
        Self {
            scenario,
            seed,
            agenda: Agenda::new(),
            limiter,
            backend: Backend::new(
                scenario.backend.model,
                scenario.backend.queue,
                scenario.backend.effective(0),
            ),
            look_at: Nanos::MAX,
            done: Vec::new(),
            arrivals: Arrivals::new(
                load.level.clone(),
                scenario.unit(),
                load.wave,
                load.bursts,
                seed,
            ),
            node_rng: stream(seed, Stream::Nodes),
            client_rng: stream(seed, Stream::Clients),
            requests: Vec::new(),
            free: Vec::new(),
            numbers: 0,
            in_flight: 0,
            knee: 0.0,
            latency: 0.0,
            second: None,
            up: (0..scenario.nodes).collect(),
            is_up: (0..nodes).map(|node| node < scenario.nodes).collect(),
            joined: Vec::new(),
            lives: vec![0; nodes],
            next_spread: None,
            parts: Vec::new(),
            distances: (0..nodes).map(|node| scenario.distance(node)).collect(),
            waiting: vec![VecDeque::new(); nodes],
            retries_left: 10.0,
            meter: Meter::new(scenario),
        }
    }

    fn begin(&mut self) {
        self.read_truth();
        self.limit(|limiter, scene| limiter.begin(scene));
        for node in 0..self.scenario.nodes {
            self.tell(node, NodeChange::Join);
        }
        self.spread();
        for (index, event) in self.scenario.events.iter().enumerate() {
            self.agenda.at(event.at, Event::Node(index));
        }
        let backend = &self.scenario.backend;
        let profiles = [&backend.capacity, &backend.latency, &backend.tenant];
        let second = backend.second.iter().map(|(_, part)| part);
        for profile in profiles.into_iter().chain(second) {
            for at in profile.readings(BIN, self.scenario.duration) {
                self.agenda.at(at, Event::Truth);
            }
        }
        if let Some(stalls) = backend.stalls {
            self.agenda.at(stalls.every, Event::Stall(true));
        }
        self.agenda.at(BIN, Event::Bin);
        match self.scenario.load.think {
            None => self.next_arrival(),
            Some(think) => {
                let most = self.scenario.users(self.scenario.load.level.greatest());
                for user in 0..most {
                    let spread = think as f64 + self.latency;
                    let first = self.client_rng.f64() * spread;
                    self.agenda.at(first as Nanos, Event::User(user));
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.agenda.now();
        match event {
            Event::Arrival => {
                self.next_arrival();
                self.arrive(None);
            }
            Event::User(user) => {
                if user < self.scenario.users(self.scenario.load.level.at(now)) {
                    self.arrive(Some(user));
                } else {
                    // Not this one's time of the day.
                    self.agenda.at(now + BIN, event);
                }
            }
            Event::AtBackend(request) => self.reach_backend(request),
            Event::Backend => {
                if now == self.look_at {
                    self.look_at = Nanos::MAX;
                    self.look();
                }
            }
            Event::Head(request, life) => self.headed(request, life),
            Event::Answer(request, outcome) => self.answered(request, outcome),
            Event::StreamOver(request, life) => self.stream_over(request, life),
            Event::Timeout(request, life) => self.time_out(request, life),
            Event::WaitOver(request, life) => {
                let waits = &self.requests[request as usize];
                let node = waits.node;
                match waits.state {
                    State::Waiting if waits.life == life => {
                        self.waiting[node].retain(|(other, _)| *other != request);
                        self.refused(request);
                    }
                    State::Queued if waits.life == life => {
                        let slot = self.limit(|limiter, scene| limiter.give_up(scene, request));
                        self.go_on(request, slot);
                    }
                    _ => {}
                }
            }
            Event::Retry(request) => {
                if let Some(node) = self.pick_node() {
                    self.requests[request as usize].node = node;
                    self.ask(request);
                } else {
                    let user = self.requests[request as usize].user;
                    self.release_request(request);
                    self.user_thinks(user);
                }
            }
            Event::Node(index) => {
                let event = self.scenario.events[index];
                self.change(event.node, event.change);
                self.plan_looks();
            }
            Event::Truth => {
                self.look();
                self.read_truth();
                self.plan_looks();
                self.backend
                    .set_capacity(self.scenario.backend.effective(now));
                self.look();
            }
            Event::Stall(begins) => {
                self.look();
                self.backend.set_stalled(begins);
                self.look();
                if let Some(stalls) = self.scenario.backend.stalls {
                    let next = if begins {
                        stalls.length
                    } else {
                        stalls.every - stalls.length
                    };
                    self.agenda.at(now + next, Event::Stall(!begins));
                }
            }
            Event::Spread => self.spread(),
            Event::Bin => {
                let truth = self.truth();
                let (limit, shares) = (self.limiter.limit(truth), self.limiter.shares(truth));
                self.meter.bin(now, limit, shares, self.backend.in_flight());
                self.agenda.at(now + BIN, Event::Bin);
                self.plan_looks();
            }
            Event::Ramp(since) => self.look_at_joined(since),
            Event::Limiter(node, what) => {
                self.limit(|limiter, scene| limiter.handle(scene, node, what));
                self.call();
                self.plan_looks();
            }
        }
    }

    fn truth(&self) -> Truth {
        Truth {
            knee: self.knee,
            in_flight: self.in_flight,
        }
    }

    fn limit<T>(&mut self, step: impl FnOnce(&mut dyn Limiter, &mut Scene<'_>) -> T) -> T {
        let mut scene = Scene {
            truth: Truth {
                knee: self.knee,
                in_flight: self.in_flight,
            },
            agenda: &mut self.agenda,
        };
        step(&mut *self.limiter, &mut scene)
    }

    fn tell(&mut self, node: usize, change: NodeChange) {
        self.limit(|limiter, scene| limiter.change(scene, node, change));
    }

    fn read_truth(&mut self) {
        let now = self.agenda.now();
        let backend = &self.scenario.backend;
        self.knee = self.scenario.knee(now);
        self.latency = backend.latency.at(now);
        self.second = backend
            .second
            .as_ref()
            .map(|(latency, part)| (*latency, part.at(now)));
        self.meter.knee(now, self.knee);
    }

    fn next_arrival(&mut self) {
        let now = self.agenda.now();
        if let Some(at) = self.arrivals.after(now, self.scenario.duration) {
            self.agenda.at(at, Event::Arrival);
        }
    }

    fn spread(&mut self) {
        let now = self.agenda.now();
        let spread = self.scenario.load.spread;
        let mut sum = 0.0;
        self.parts = spread
            .parts(self.up.len(), now)
            .into_iter()
            .map(|part| {
                sum += part;
                sum
            })
            .collect();
        // Once, however often it was asked for meanwhile.
        let next = spread.next_change(now);
        if let Some(at) = next.filter(|_| next != self.next_spread) {
            self.agenda.at(at, Event::Spread);
        }
        self.next_spread = next;
    }

    /// `None` while all are down.
    fn pick_node(&mut self) -> Option<usize> {
        let last = self.up.len().checked_sub(1)?;
        let drawn = self.node_rng.f64();
        let index = self.parts.partition_point(|sum| *sum <= drawn);
        Some(self.up[index.min(last)])
    }

    fn change(&mut self, node: usize, change: NodeChange) {
        let comes = matches!(change, NodeChange::Join | NodeChange::Restart);
        self.is_up[node] = comes;
        match change {
            NodeChange::Join | NodeChange::Restart => {
                let place = self.up.partition_point(|other| *other < node);
                self.up.insert(place, node);
                self.lives[node] += 1;
            }
            NodeChange::Leave | NodeChange::Crash => self.up.retain(|other| *other != node),
        }
        if change == NodeChange::Crash {
            for index in 0..self.requests.len() {
                let request = &mut self.requests[index];
                if request.node != node {
                    continue;
                }
                // Its predecessor, if that still drains, goes on.
                let is_its_own = request.node_life == self.lives[node];
                match request.state {
                    State::Running | State::Queued | State::Streaming if !is_its_own => {}
                    State::Streaming => {
                        let user = request.user;
                        if let Some(held) = request.held.take() {
                            self.limiter.outlived(held);
                        }
                        self.release_request(index as u32);
                        self.user_thinks(user);
                    }
                    State::Running => {
                        // What it holds tells the limiter later that the backend is done with it.
                        request.state = State::Abandoned;
                        let user = request.user;
                        self.user_thinks(user);
                    }
                    State::Waiting | State::Queued => {
                        let user = request.user;
                        self.release_request(index as u32);
                        self.user_thinks(user);
                    }
                    State::Free | State::Idle | State::Abandoned => {}
                }
            }
            self.waiting[node].clear();
        }
        let now = self.agenda.now();
        self.meter.changed(now, node);
        self.tell(node, change);
        self.call();
        self.spread();
        if comes {
            self.wait_for_share(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter;

    /// A hot spot that moves ten times a second, and a node that comes and goes: each time the load is spread anew.
    #[test]
    fn a_hot_spot_moves_as_often_however_many_nodes_come_and_go() {
        let events = |comings: usize| {
            let coming = |n: usize| {
                let at = 1.05 + n as f64;
                format!("{{ at = {at}, crash = [1] }}, {{ at = {at}1, restart = [1] }}, ")
            };
            let list: String = (0..comings).map(coming).collect();
            let text = format!(
                "duration = 40\n[backend]\ncapacity = 4\nlatency_ms = 10\n[nodes]\ncount = 3\nevents = [{list}]\n\
                 [load]\nlevel = 0\nspread = {{ hot = {{ part = 0.5, every = 0.1 }} }}\n[limiter]\nname = \"none\"\n"
            );
            let scenario = Scenario::parse("test", &text).unwrap();
            run(&scenario, limiter::build(&scenario, 1), 1).events
        };
        // One for each that comes or goes.
        assert_eq!(events(20), events(0) + 40);
    }
}
