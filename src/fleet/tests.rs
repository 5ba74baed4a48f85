//! Named cases of the protocol: what each promise means, step by step, on the production functions.

mod caps;
mod leases;
mod lend;
mod lives;
mod losses;
mod plans;
mod revisions;
mod safe_slots;

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Member, Sample};
use crate::fleet::message::{Answer, Beat, Report};
use crate::fleet::plan::plan;
use crate::fleet::settings::{Estimate, Settings};
use crate::time::LocalTime;
use std::sync::Arc;

const SERVER: &str = "server";

fn settings() -> Settings {
    Settings {
        estimate: Estimate::Fixed(8),
        ..Settings::default()
    }
}

fn ms(ms: u64) -> LocalTime {
    LocalTime::from_nanos((1_000_000 + ms) * 1_000_000)
}

/// A node and what it has in flight, talking to a store that answers at once.
struct Node {
    member: Member,
    in_flight: u32,
    demand: u32,
}

impl Node {
    fn new(name: &str, incarnation: u64, settings: &Settings, now: LocalTime) -> Self {
        Self {
            member: Member::new(Arc::from(name), incarnation, settings.clone(), now),
            in_flight: 0,
            demand: 8,
        }
    }

    /// One beat and its answer, the plan and its commit if this node is asked to; answers what the store said.
    fn beat(&mut self, now: LocalTime, store: &mut KeyState, empty: EmptyStore) -> Option<Answer> {
        let answer = self.ask(now, store, empty)?;
        self.hear(now, answer.clone(), store);
        Some(answer)
    }

    /// A beat whose answer stays on the way.
    fn ask(&mut self, now: LocalTime, store: &mut KeyState, empty: EmptyStore) -> Option<Answer> {
        let beat = self.say(now)?;
        Some(store.beat(&beat, SERVER, empty))
    }

    /// A beat that stays on the way.
    fn say(&mut self, now: LocalTime) -> Option<Beat> {
        self.member.handle_timeout(now);
        self.member.beat_now(now);
        let report = Report {
            demand: self.demand,
            weight: 1,
            ..Report::default()
        };
        let in_flight = self.in_flight;
        let sample = || Sample { in_flight, report };
        let fresh = 100_000 + now.as_nanos();
        self.member.poll_beat(now, sample, fresh)
    }

    fn hear(&mut self, now: LocalTime, answer: Answer, store: &mut KeyState) -> Vec<Event> {
        let (mut events, mut ticket) = self.member.handle_answer(now, answer);
        while let Some(commit) = ticket
            .take()
            .and_then(|ticket| plan(&ticket, self.member.incarnation()))
        {
            let (answer, _) = store.commit(&commit, SERVER);
            events.extend(self.member.handle_commit(now, &answer));
            ticket = answer.ticket;
        }
        events
    }
}

/// Beats all nodes every 100 ms from `from` until `to`.
fn run(nodes: &mut [Node], store: &mut KeyState, from: u64, to: u64) {
    for at in (from..to).step_by(100) {
        for (offset, node) in nodes.iter_mut().enumerate() {
            node.beat(ms(at + 10 * offset as u64), store, EmptyStore::Trust);
        }
    }
}

fn shares(nodes: &[Node]) -> Vec<u32> {
    nodes.iter().map(|node| node.member.ceiling()).collect()
}

/// One beat, and what the store says to it.
fn meet(store: &mut KeyState, node: &mut Node, now: u64) -> Answer {
    node.beat(ms(now), store, EmptyStore::Trust).expect("due")
}
