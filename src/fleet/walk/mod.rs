//! Random walks over the protocol: the production member, key state and plan under a hostile network, in virtual time.
//!
//! Messages are delayed (some until after the fence), lost, repeated and swapped; nodes crash, restart under their
//! name, meet their name's other owners, leave and are fenced; the store is flushed, restarted and restored to an older
//! state; the limit and the settings move; every clock has its own offset and drift. After every step I1, I2, I3 and
//! I11 are checked against what the nodes really run. A found seed becomes a named test.

#[cfg(feature = "redis")]
mod beside;
mod calm;
mod check;
mod network;
mod steps;
mod tests;

#[cfg(feature = "redis")]
pub(crate) use self::beside::walk_beside;

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Member};
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer};
use crate::fleet::settings::{Estimate, Settings};
use crate::fleet::walk::network::Message;
use crate::fleet::witness::{Ledger, Process};
use crate::time::LocalTime;
use fastrand::Rng;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: u32 = 10;
const MS: u64 = 1_000_000;
/// Also such as a store might stumble over.
const NAMES: [&str; 8] = ["n0", "1 2 3", "%d {n2}", "ñ\u{2028}", "o", "@", "$", "n7"];

struct Node {
    process: Process,
    grace_ends: u64,
    /// This node's clock: true time times (1 + drift / 1000), and an offset.
    drift: i64,
    offset: u64,
    name: usize,
    /// Nothing reaches it, nor anybody else from it, until then.
    cut_until: u64,
}

/// Requests whose process died: they end by this true time.
struct Ghosts {
    count: u32,
    end: u64,
}

/// A second store that must answer as the first.
pub(crate) trait Twin {
    fn beat(&mut self, beat: &Beat, empty: EmptyStore) -> Answer;
    fn commit(&mut self, commit: &Commit) -> CommitAnswer;
    /// Loses everything.
    fn flush(&mut self);
    /// Remembers its state.
    fn back_up(&mut self);
    /// Goes on from the remembered state, as server `server`.
    fn restore(&mut self, server: u32);
}

struct World<'a> {
    rng: Rng,
    twin: Option<&'a mut dyn Twin>,
    /// Server identities repeat after so many restores.
    servers: u32,
    now: u64,
    settings: Settings,
    /// Of lower revisions.
    older: Vec<Settings>,
    empty: EmptyStore,
    store: KeyState,
    backup: KeyState,
    server: u32,
    nodes: Vec<Node>,
    ghosts: Vec<Ghosts>,
    /// What is on its way, and from when on it may arrive.
    network: Vec<(u64, Message)>,
    slow: bool,
    ledger: Ledger,
    slack: Duration,
    most: u32,
    replies: usize,
    /// The epoch, and the least of store time minus true time in it, in microseconds.
    behind: Option<(u64, i64)>,
}

/// How hostile a walk is.
#[derive(Clone, Copy)]
struct Faults {
    network: bool,
    nodes: bool,
    store: bool,
    /// Messages that arrive seconds late, and nodes that are cut off.
    slow: bool,
    /// Several living processes of one name.
    twins: bool,
    /// Higher revisions with other leases, policies and limits.
    revisions: bool,
    /// Clocks that step by an hour both ways. Outside of what I2 is promised for: for comparing stores alone.
    clocks: bool,
}

const CALM: Faults = Faults {
    network: false,
    nodes: false,
    store: false,
    slow: false,
    twins: false,
    revisions: false,
    clocks: false,
};
const ALL: Faults = Faults {
    network: true,
    nodes: true,
    store: true,
    slow: true,
    twins: true,
    revisions: false,
    clocks: false,
};

fn settings() -> Settings {
    let ms = Duration::from_millis;
    Settings {
        heartbeat: ms(100),
        ttl: ms(400),
        margin: ms(40),
        drain: ms(100),
        estimate: Estimate::Fixed(LIMIT),
        ..Settings::default()
    }
}

impl Node {
    fn incarnation(&self) -> u64 {
        self.process.member.incarnation()
    }

    fn drain(&self) -> u64 {
        u64::try_from(self.process.member.settings().drain.as_nanos()).expect("short")
    }

    fn clock(&self, now: u64) -> LocalTime {
        let drifted = i128::from(now) + i128::from(now) * i128::from(self.drift) / 1000;
        LocalTime::from_nanos(self.offset + u64::try_from(drifted).expect("drift is small"))
    }
}

impl World<'_> {
    fn new(seed: u64, settings: Settings, nodes: usize) -> Self {
        let slack = settings.slack();
        let mut world = Self {
            rng: Rng::with_seed(seed),
            twin: None,
            servers: u32::MAX,
            now: 0,
            settings,
            older: Vec::new(),
            empty: EmptyStore::Learn,
            store: KeyState::default(),
            backup: KeyState::default(),
            server: 0,
            nodes: Vec::new(),
            ghosts: Vec::new(),
            network: Vec::new(),
            slow: false,
            ledger: Ledger::new(LIMIT),
            slack,
            most: 0,
            replies: 0,
            behind: None,
        };
        (0..nodes).for_each(|name| world.start(name));
        world
    }

    /// Starts a node; after a revision now and then one that has missed it.
    fn start(&mut self, name: usize) {
        let settings = if self.older.is_empty() || self.rng.u32(..6) > 0 {
            self.settings.clone()
        } else {
            self.older[self.rng.usize(..self.older.len())].clone()
        };
        self.start_with(name, settings);
    }

    fn start_with(&mut self, name: usize, settings: Settings) {
        let member = Member::new(Arc::from("x"), 1, settings.clone(), LocalTime::ZERO);
        let mut node = Node {
            process: Process::new(member),
            grace_ends: 0,
            drift: self.rng.i64(-20..=20),
            offset: self.rng.u64(0..1_000_000 * MS),
            name,
            cut_until: 0,
        };
        let (incarnation, now) = (self.rng.u64(1..), node.clock(self.now));
        let name = Arc::from(NAMES[name]);
        node.process = Process::new(Member::new(name, incarnation, settings, now));
        self.nodes.push(node);
    }

    /// Runs `step` on the living node `incarnation`, and cancels what its events cancel.
    fn with(&mut self, incarnation: u64, step: impl FnOnce(&mut Node, LocalTime) -> Vec<Event>) {
        let now = self.now;
        let found = self
            .nodes
            .iter_mut()
            .find(|node| node.incarnation() == incarnation);
        if let Some(node) = found {
            let local = node.clock(now);
            let events = step(node, local);
            if node.process.obey(&events) {
                node.grace_ends = now + node.drain();
            }
        }
    }
}

/// Walks `steps` from `seed`; answers the most that was ever in flight, or what broke.
fn walk(
    seed: u64,
    steps: usize,
    settings: &Settings,
    nodes: usize,
    faults: Faults,
) -> Result<u32, String> {
    let mut world = World::new(seed, settings.clone(), nodes);
    for step in 0..steps {
        world.step(faults);
        world
            .check()
            .map_err(|broken| format!("seed {seed}, step {step}: {broken}"))?;
    }
    Ok(world.most)
}
