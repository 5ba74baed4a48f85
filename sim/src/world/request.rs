//! The life of a request: it asks, waits perhaps, runs, is answered or given up, and asks again.

use super::{Event, World};
use crate::backend::{Done, Work};
use crate::engine::{MS, Nanos};
use crate::limiter::{Asking, Goes, Held, Outcome, Verdict};
use crate::random::{exponential, of_request};
use tidegate::Criticality;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    Free,
    /// Between attempts.
    Idle,
    Waiting,
    /// Waiting too, but in the limiter's queue.
    Queued,
    Running,
    /// The backend is done with it, and its events come.
    Streaming,
    /// Its client is gone; the backend does not know.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) state: State,
    /// Rises with every attempt, so that what was written down for an earlier one is known as such.
    pub(super) life: u32,
    pub(super) node: usize,
    /// The life of the node in which it asked, or in which its turn came.
    pub(super) node_life: u32,
    pub(super) number: u64,
    pub(super) asked: Nanos,
    pub(super) admitted: Nanos,
    /// What its service takes without load.
    pub(super) service: f64,
    /// What it would take until the head of its answer without load, network included.
    pub(super) unloaded: f64,
    /// For how long its answer streams events, if it does, and what it took until it began to.
    pub(super) streams: Option<Nanos>,
    pub(super) latency: Nanos,
    /// Whether it has the head of its answer.
    pub(super) headed: bool,
    pub(super) held: Option<Held>,
    pub(super) attempts: u32,
    pub(super) user: Option<u32>,
    pub(super) class: Criticality,
}

impl World<'_> {
    /// Drawn from the requests' stream, not from the nodes': it is the request's own.
    pub(super) fn class(&self, node: usize) -> Criticality {
        let load = &self.scenario.load;
        let own = load
            .classes_of
            .iter()
            .find(|(nodes, _)| nodes.contains(&node));
        let Some(parts) = own.map(|(_, parts)| *parts).or(load.classes) else {
            return Criticality::Default;
        };
        let mut left = of_request(!self.seed, self.numbers).f64();
        let drawn = Criticality::ALL.into_iter().zip(parts).find(|(_, part)| {
            left -= part;
            left < 0.0
        });
        drawn.map_or(Criticality::Default, |(class, _)| class)
    }

    pub(super) fn arrive(&mut self, user: Option<u32>) {
        let Some(node) = self.pick_node() else {
            // Nobody is there to refuse; a user of a closed loop asks again.
            self.user_thinks(user);
            return;
        };
        let request = Request {
            state: State::Idle,
            life: 0,
            node,
            node_life: 0,
            number: self.numbers,
            asked: 0,
            admitted: 0,
            service: 0.0,
            unloaded: 0.0,
            streams: None,
            latency: 0,
            headed: false,
            held: None,
            attempts: 0,
            user,
            class: self.class(node),
        };
        self.numbers += 1;
        if let Some(retries) = self.scenario.load.retries {
            self.retries_left = (self.retries_left + retries.budget).min(1000.0);
        }
        let index = match self.free.pop() {
            Some(index) => {
                let life = self.requests[index as usize].life;
                self.requests[index as usize] = Request { life, ..request };
                index
            }
            None => {
                self.requests.push(request);
                u32::try_from(self.requests.len() - 1).expect("fits the memory")
            }
        };
        self.ask(index);
    }

    pub(super) fn ask(&mut self, index: u32) {
        let now = self.agenda.now();
        let request = &mut self.requests[index as usize];
        request.asked = now;
        request.attempts += 1;
        request.life += 1;
        request.node_life = self.lives[request.node];
        let (node, life, class) = (request.node, request.life, request.class);
        let asking = Asking {
            node,
            request: index,
            class,
        };
        self.meter.asked(now, node, class);
        match self.limit(|limiter, scene| limiter.ask(scene, asking)) {
            Verdict::Admit(held) => self.admit(index, held),
            Verdict::Wait { at_most, room } if self.waiting[node].len() < room => {
                self.requests[index as usize].state = State::Waiting;
                self.waiting[node].push_back((index, life));
                self.agenda.at(now + at_most, Event::WaitOver(index, life));
            }
            Verdict::Queued { at_most } => {
                self.requests[index as usize].state = State::Queued;
                self.agenda.at(now + at_most, Event::WaitOver(index, life));
                // Whose place it took.
                self.call();
            }
            Verdict::Wait { .. } | Verdict::Reject => self.refused(index),
        }
    }

    /// A request has waited long enough: with a slot or without.
    pub(super) fn go_on(&mut self, index: u32, slot: Option<Held>) {
        match slot {
            Some(held) => self.admit(index, held),
            None => self.refused(index),
        }
    }

    /// Those whose turn has come in the limiter's own queue.
    pub(super) fn call(&mut self) {
        while let Some((index, slot)) = self.limit(|limiter, scene| limiter.called(scene)) {
            self.go_on(index, slot);
        }
    }

    pub(super) fn admit(&mut self, index: u32, held: Held) {
        let now = self.agenda.now();
        let request = &mut self.requests[index as usize];
        request.state = State::Running;
        request.admitted = now;
        request.held = Some(held);
        let mut rng = of_request(self.seed, request.number);
        let mean = match self.second {
            Some((second, part)) if rng.f64() < part => second,
            _ => self.latency,
        };
        let service = mean * self.scenario.backend.service.draw(&mut rng);
        let streams = self.draw_stream(&mut rng);
        let request = &mut self.requests[index as usize];
        let distance = self.distances[request.node];
        request.service = service;
        request.streams = streams;
        request.unloaded = self.scenario.backend.head * service + distance as f64;
        request.headed = false;
        let (life, asked) = (request.life, request.asked);
        self.meter.admitted(now, request.node, request.class);
        self.in_flight += 1;
        self.meter.in_flight(now, self.in_flight);
        if let Some(timeout) = self.scenario.load.timeout {
            self.agenda.at(asked + timeout, Event::Timeout(index, life));
        }
        if distance == 0 {
            self.reach_backend(index);
        } else {
            self.agenda.at(now + distance / 2, Event::AtBackend(index));
        }
    }

    pub(super) fn reach_backend(&mut self, index: u32) {
        self.look();
        let request = &self.requests[index as usize];
        let distance = self.distances[request.node];
        let work = Work {
            head: request.unloaded - distance as f64,
            body: (1.0 - self.scenario.backend.head) * request.service,
        };
        if self.backend.offer(index, work).is_err() {
            // A refusal costs the backend little: a tenth of a millisecond.
            let at = self.agenda.now() + distance / 2 + MS / 10;
            self.agenda.at(at, Event::Answer(index, Outcome::Overload));
        }
        self.plan_look();
    }

    /// Lets the backend do what it has done by now.
    pub(super) fn look(&mut self) {
        let now = self.agenda.now();
        let mut done = std::mem::take(&mut self.done);
        self.backend.advance(now, &mut done);
        for done in done.drain(..) {
            let (Done::Head(index) | Done::Whole(index)) = done;
            let request = &self.requests[index as usize];
            let back = self.distances[request.node] / 2 + self.detour(request.node, now);
            let event = match done {
                Done::Head(_) => Event::Head(index, request.life),
                Done::Whole(_) => Event::Answer(index, Outcome::Success),
            };
            // In a step of its own, also without distance: whoever looks is in the middle of one.
            self.agenda.at(now + back, event);
        }
        self.done = done;
        self.plan_look();
    }

    /// How much longer an answer to the node takes than it would if all were well.
    fn detour(&self, node: usize, now: Nanos) -> Nanos {
        let detours = self.scenario.network.detours.iter();
        detours
            .filter(|it| (it.from..it.until).contains(&now) && it.nodes.contains(&node))
            .map(|it| it.more)
            .sum()
    }

    pub(super) fn plan_look(&mut self) {
        if let Some(next) = self.backend.next()
            && next < self.look_at
        {
            self.look_at = next;
            self.agenda.at(next, Event::Backend);
        }
    }

    /// The head of its answer is there: what clients wait for, and what is measured.
    pub(super) fn headed(&mut self, index: u32, life: u32) {
        let now = self.agenda.now();
        let request = &mut self.requests[index as usize];
        if request.life != life || request.state != State::Running {
            return;
        }
        request.headed = true;
        let (node, latency) = (request.node, now - request.asked);
        self.meter.served(now, node, latency, request.unloaded);
        if let Some(held) = self.requests[index as usize].held.take() {
            let held = self.limit(|limiter, scene| limiter.headed(scene, held, Goes::Body));
            self.requests[index as usize].held = Some(held);
        }
    }

    pub(super) fn answered(&mut self, index: u32, outcome: Outcome) {
        let now = self.agenda.now();
        self.in_flight -= 1;
        self.meter.in_flight(now, self.in_flight);
        let request = &mut self.requests[index as usize];
        let (node, user) = (request.node, request.user);
        if request.state == State::Abandoned {
            if let Some(held) = request.held.take() {
                self.limiter.outlived(held);
            }
            self.release_request(index);
            return;
        }
        if outcome == Outcome::Success && !request.headed {
            self.meter
                .served(now, node, now - request.asked, request.unloaded);
        }
        let latency = now - request.admitted;
        if outcome == Outcome::Success
            && let Some(length) = request.streams
        {
            self.stream_on(index, length, latency);
            return;
        }
        let held = self.take_held(index);
        let request = &mut self.requests[index as usize];
        if outcome == Outcome::Success {
            self.release_request(index);
            self.user_thinks(user);
        } else {
            request.life += 1;
        }
        self.give_back(node, held, outcome, latency);
        if outcome == Outcome::Overload {
            self.try_again(index);
        }
    }

    pub(super) fn time_out(&mut self, index: u32, life: u32) {
        let now = self.agenda.now();
        let request = &mut self.requests[index as usize];
        if request.life != life {
            return;
        }
        match request.state {
            State::Running => {
                request.state = State::Abandoned;
                let (node, user, latency) = (request.node, request.user, now - request.admitted);
                if !request.headed {
                    self.meter
                        .given_up(now, now - request.asked, request.unloaded);
                }
                let held = self.take_held(index);
                self.user_thinks(user);
                self.give_back(node, held, Outcome::Overload, latency);
            }
            State::Free
            | State::Idle
            | State::Waiting
            | State::Queued
            | State::Streaming
            | State::Abandoned => {}
        }
    }

    /// What the request holds, if it is to be given back: a slot of a process that has a successor by now is not.
    pub(super) fn take_held(&mut self, index: u32) -> Option<Held> {
        let request = &mut self.requests[index as usize];
        let is_over = request.node_life != self.lives[request.node];
        let held = request.held.take();
        held.filter(|held| !(is_over && matches!(held, Held::Slot(_))))
    }

    pub(super) fn give_back(
        &mut self,
        node: usize,
        held: Option<Held>,
        outcome: Outcome,
        latency: Nanos,
    ) {
        if let Some(held) = held {
            self.limit(|limiter, scene| limiter.release(scene, node, held, outcome, latency));
            self.call();
        }
        self.serve(node);
    }

    /// Lets those in who wait at `node`, while there is room.
    pub(super) fn serve(&mut self, node: usize) {
        while let Some((index, life)) = self.waiting[node].front().copied() {
            let request = &self.requests[index as usize];
            if request.life != life || request.state != State::Waiting {
                self.waiting[node].pop_front();
                continue;
            }
            let asking = Asking {
                node,
                request: index,
                class: request.class,
            };
            let Verdict::Admit(held) = self.limit(|limiter, scene| limiter.ask(scene, asking))
            else {
                return;
            };
            self.waiting[node].pop_front();
            self.requests[index as usize].node_life = self.lives[node];
            self.admit(index, held);
        }
    }

    pub(super) fn refused(&mut self, index: u32) {
        let now = self.agenda.now();
        let node = self.requests[index as usize].node;
        self.meter.refused(
            now,
            node,
            f64::from(self.in_flight) + 1.0 <= self.knee.round(),
        );
        self.try_again(index);
    }

    pub(super) fn try_again(&mut self, index: u32) {
        let now = self.agenda.now();
        let request = &mut self.requests[index as usize];
        request.state = State::Idle;
        let (attempts, user) = (request.attempts, request.user);
        match self.scenario.load.retries {
            Some(retries) if attempts <= retries.attempts && self.retries_left >= 1.0 => {
                self.retries_left -= 1.0;
                let doubled = retries.backoff as f64 * f64::from(1_u32 << (attempts - 1).min(20));
                let wait = doubled * (0.5 + self.client_rng.f64());
                self.agenda.at(now + wait as Nanos, Event::Retry(index));
            }
            _ => {
                self.release_request(index);
                self.user_thinks(user);
            }
        }
    }

    pub(super) fn release_request(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        request.state = State::Free;
        request.life += 1;
        request.held = None;
        self.free.push(index);
    }

    pub(super) fn user_thinks(&mut self, user: Option<u32>) {
        if let (Some(user), Some(think)) = (user, self.scenario.load.think) {
            // Nobody asks again within the same instant, also who does not think.
            let wait = think as f64 * exponential(&mut self.client_rng) + MS as f64;
            self.agenda
                .at(self.agenda.now() + wait as Nanos, Event::User(user));
        }
    }
}
