//! A test bed in virtual time: nodes with the tiers that ship, one store, and between them messages that take their
//! time, get lost, arrive twice or late. Nodes crash, and no two clocks agree.
//!
//! Everything is an event with a time; a seed makes all that chance decides. What was admitted is replayed through the
//! limit's own rule afterwards: it must allow every unit of it, at the moment at which it was spent.

mod bounds;
mod line;
mod usefulness;

use crate::decision::Policy;
use crate::key::Key;
use crate::leased::ledger::Ledger;
use crate::leased::message::{Ask, Told};
use crate::leased::tier::{Now, Outcome, Setup, Tier};
use crate::quota::Quota;
use crate::rule::RuleSet;
use crate::store::redis::rates::StoreMoment;
use crate::time::LocalTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const SECOND: u64 = 1_000 * MS;
/// What the store's clock shows at first, in nanoseconds: somewhere in a window.
const EPOCH: u64 = 200_000_000 * SECOND + 337 * MS;
/// How long a node waits for an answer.
const PATIENCE: u64 = 250 * MS;

/// What is simulated.
#[derive(Clone, Debug)]
struct Scene {
    nodes: usize,
    policies: Vec<Policy>,
    max_batch: u32,
    late: u32,
    room: usize,
    round_trip: u64,
    /// One in so many messages is lost, arrives twice or comes much later; 0 for none.
    trouble: u64,
    /// A node crashes about as often; 0 for never.
    crash_every: u64,
    /// Clocks run faster or slower by up to so many parts in a million.
    drift: u64,
    /// One in so many requests is refunded, soon or late, if none has come after it; 0 for none.
    refunds: u64,
    seed: u64,
}

impl Scene {
    fn new(nodes: usize, quotas: &str, round_trip: u64) -> Self {
        let name = |place| crate::decision::PolicyName::new(&format!("p{place}")).expect("a name");
        let quota = |(place, quota): (usize, &str)| {
            let quota: Quota = quota.trim().parse().expect("a quota");
            Policy::new(name(place), quota)
        };
        Self {
            nodes,
            policies: quotas.split(',').enumerate().map(quota).collect(),
            max_batch: 1_000,
            late: 0,
            room: 100,
            round_trip,
            trouble: 0,
            crash_every: 0,
            drift: 500,
            refunds: 0,
            seed: 1,
        }
    }
}

struct World {
    scene: Scene,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, Event>,
    count: u64,
    nodes: Vec<Node>,
    store: BTreeMap<Key, Ledger>,
    rng: fastrand::Rng,
    /// Of each key, when how many units were asked for, and spent.
    asked: BTreeMap<Key, Vec<(u64, u32)>>,
    spent: BTreeMap<Key, Vec<(u64, u32)>>,
    /// Which of them were refunded.
    void: BTreeSet<(Key, usize)>,
    round_trips: u64,
    waits: u64,
    failed: u64,
    lives: u64,
}

struct Node {
    tier: Tier,
    /// Of a node that crashes the next life has another.
    life: u64,
    open: BTreeMap<(Key, u64), u64>,
    /// What it spent last on each key.
    last: BTreeMap<Key, usize>,
    wake_at: u64,
    /// In parts of a million, and nanoseconds.
    speed: i64,
    ahead: u64,
}

enum Event {
    Request(usize, Key, u32),
    Arrives(usize, u64, Ask),
    Answer(usize, u64, Key, u64, Option<Told>),
    GivenUp(usize, u64, Key, u64),
    Wake(usize),
    Refund(usize, Key, usize),
    Crash(usize),
}

impl World {
    fn new(scene: &Scene) -> Self {
        let mut world = Self {
            scene: scene.clone(),
            now: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            store: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(scene.seed),
            asked: BTreeMap::new(),
            spent: BTreeMap::new(),
            void: BTreeSet::new(),
            round_trips: 0,
            waits: 0,
            failed: 0,
            lives: 0,
        };
        for number in 0..scene.nodes {
            let node = world.node();
            world.nodes.push(node);
            if scene.crash_every > 0 {
                let at = world.rng.u64(..2 * scene.crash_every);
                world.at(at, Event::Crash(number));
            }
        }
        world
    }

    fn node(&mut self) -> Node {
        let (scene, rng) = (&self.scene, &mut self.rng);
        let setup = Setup::new(&scene.policies, scene.max_batch, scene.late, rng.u64(..));
        let drift = scene.drift as i64;
        Node {
            tier: Tier::new(Arc::new(setup), scene.room),
            life: rng.u64(..),
            open: BTreeMap::new(),
            last: BTreeMap::new(),
            wake_at: u64::MAX,
            speed: rng.i64(-drift..=drift),
            ahead: rng.u64(..1_000 * SECOND),
        }
    }

    /// `units` a second on `key` at random moments of the next `span`, in costs of up to `most`, by `nodes`.
    fn load(&mut self, key: Key, units: u64, span: u64, most: u32, nodes: std::ops::Range<usize>) {
        let mut left = units * span / SECOND;
        while left > 0 {
            let cost = self.rng.u32(1..=most);
            left = left.saturating_sub(cost.into());
            let at = self.now + self.rng.u64(..span);
            let node = self.rng.usize(nodes.clone());
            self.at(at, Event::Request(node, key, cost));
        }
    }

    /// Lives on for `span`.
    fn run(&mut self, span: u64) {
        let end = self.now + span;
        while let Some(Reverse((at, number))) = self.events.peek().copied()
            && at <= end
        {
            self.events.pop();
            self.now = at;
            if let Some(event) = self.what.remove(&number) {
                self.handle(event);
            }
        }
        self.now = end;
    }

    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.what.insert(self.count, event);
        self.events.push(Reverse((at, self.count)));
    }

    fn store_time(&self) -> u64 {
        EPOCH + self.now
    }

    fn local(&self, node: usize) -> LocalTime {
        let node = &self.nodes[node];
        let drifted = i128::from(self.now) * i128::from(1_000_000 + node.speed) / 1_000_000;
        LocalTime::from_nanos(node.ahead + drifted as u64)
    }

    fn moment(&self, node: usize) -> Now {
        Now {
            local: self.local(node),
            round_trip: Duration::from_nanos(self.scene.round_trip),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(node, key, cost) => self.request(node, key, cost),
            Event::Arrives(node, life, ask) => self.arrives(node, life, &ask),
            Event::Answer(node, life, key, number, told) => {
                self.answered(node, life, key, number, told)
            }
            Event::GivenUp(node, life, key, number) => {
                if self.nodes[node].life == life {
                    self.failed(node, key, number);
                }
            }
            Event::Wake(node) => {
                self.nodes[node].wake_at = u64::MAX;
                self.pump(node);
            }
            Event::Refund(node, key, number) => self.refund(node, key, number),
            Event::Crash(node) => {
                self.lives += 1;
                self.nodes[node] = self.node();
                let at = self.now + self.rng.u64(..2 * self.scene.crash_every);
                self.at(at, Event::Crash(node));
            }
        }
    }

    fn request(&mut self, node: usize, key: Key, cost: u32) {
        let at = self.store_time();
        self.asked.entry(key).or_default().push((at, cost));
        let now = self.moment(node);
        if self.nodes[node].tier.spend(key, cost, now, None).is_some() {
            self.spends(node, key, at, cost);
        } else {
            self.waits += 1;
            let ticket = self.count;
            self.nodes[node].tier.wait(key, cost, ticket, now);
        }
        self.pump(node);
    }

    fn spends(&mut self, node: usize, key: Key, at: u64, cost: u32) {
        let spent = self.spent.entry(key).or_default();
        let number = spent.len();
        spent.push((at, cost));
        if self.scene.refunds > 0 {
            self.nodes[node].last.insert(key, number);
            if self.rng.u64(..self.scene.refunds) == 0 {
                let late = self.rng.u64(..4) == 0;
                let after = self.rng.u64(..if late { SECOND } else { 2 * MS });
                self.at(self.now + after, Event::Refund(node, key, number));
            }
        }
    }

    fn refund(&mut self, node: usize, key: Key, number: usize) {
        if self.nodes[node].last.get(&key) == Some(&number) {
            let (now, units) = (self.moment(node), self.spent[&key][number].1);
            self.nodes[node].tier.refund(key, units, now);
            self.nodes[node].last.remove(&key);
            self.void.insert((key, number));
            self.pump(node);
        }
    }

    /// What the shell does: sends what is to be sent, and sets a timer.
    fn pump(&mut self, node: usize) {
        let now = self.moment(node);
        while let Some(ask) = self.nodes[node].tier.poll_ask(now) {
            self.round_trips += 1;
            let life = self.nodes[node].life;
            let (key, number) = (ask.key, ask.number);
            self.nodes[node].open.insert((key, number), self.now);
            let patience = self.now + PATIENCE;
            self.at(patience, Event::GivenUp(node, life, key, number));
            for _ in 0..self.copies() {
                let at = self.now + self.way();
                self.at(at, Event::Arrives(node, life, ask.clone()));
            }
        }
        let due = self.nodes[node].tier.poll_timeout();
        if due != LocalTime::NEVER {
            // Local clocks run otherwise: whoever comes too early comes again.
            let wait = due.since(now.local).as_nanos() as u64;
            let at = self.now + wait.max(10 * US);
            if at < self.nodes[node].wake_at {
                self.nodes[node].wake_at = at;
                self.at(at, Event::Wake(node));
            }
        }
    }

    fn copies(&mut self) -> usize {
        match self.scene.trouble {
            0 => 1,
            trouble => match self.rng.u64(..trouble) {
                0 => 0,
                1 => 2,
                _ => 1,
            },
        }
    }

    /// One way, which sometimes takes longer than anybody waits.
    fn way(&mut self) -> u64 {
        let half = self.scene.round_trip / 2;
        match self.scene.trouble {
            0 => half,
            trouble if self.rng.u64(..trouble) == 0 => self.rng.u64(half..4 * PATIENCE),
            _ => self.rng.u64(half / 2..=2 * half),
        }
    }

    fn arrives(&mut self, node: usize, life: u64, ask: &Ask) {
        let now = StoreMoment::from_micros(self.store_time() / US);
        let rules: Vec<_> = self
            .scene
            .policies
            .iter()
            .map(|it| crate::rule::Rule::new(*it))
            .collect();
        let ledger = self.store.entry(ask.key).or_default();
        let told = ledger.exchange(&rules, ask, now);
        for _ in 0..self.copies() {
            let at = self.now + self.way();
            let answer = Event::Answer(node, life, ask.key, ask.number, told.clone());
            self.at(at, answer);
        }
    }

    fn answered(&mut self, node: usize, life: u64, key: Key, number: u64, told: Option<Told>) {
        if self.nodes[node].life != life || !self.nodes[node].open.contains_key(&(key, number)) {
            return;
        }
        let Some(told) = told else {
            return self.failed(node, key, number);
        };
        self.nodes[node].open.remove(&(key, number));
        let now = self.moment(node);
        let mut served: Vec<Outcome> = Vec::new();
        let tier = &mut self.nodes[node].tier;
        let waited = tier.handle_answer(key, number, &told, now, &mut served);
        for (place, outcome) in served.into_iter().enumerate() {
            if outcome.decisions.is_allowed() {
                assert_eq!(outcome.drawn.len(), self.scene.policies.len());
                // Whoever waited for this answer spends at the moment at which the store decided.
                let at = if place < waited {
                    told.now.as_micros() * US
                } else {
                    self.store_time()
                };
                let tier = &mut self.nodes[node].tier;
                tier.note_spent(key, &outcome.drawn, now);
                self.spends(node, key, at, outcome.cost);
            }
        }
        self.pump(node);
    }

    fn failed(&mut self, node: usize, key: Key, number: u64) {
        if self.nodes[node].open.remove(&(key, number)).is_some() {
            let now = self.moment(node);
            let left = self.nodes[node].tier.handle_failure(key, number, now);
            self.failed += left.len() as u64;
            self.pump(node);
        }
    }

    /// Units that were spent, and units that one counter would have admitted of the same requests.
    fn sums(&self) -> (u64, u64) {
        let units = |all: &BTreeMap<Key, Vec<(u64, u32)>>| -> u64 {
            let each = all.values().flatten();
            each.map(|(_, cost)| u64::from(*cost)).sum()
        };
        let mut exact = 0;
        for asked in self.asked.values() {
            let rules = RuleSet::new(&self.scene.policies);
            let mut state = vec![0; rules.words()];
            let mut asked = asked.clone();
            asked.sort_unstable();
            for (at, cost) in asked {
                let at = StoreMoment::from_micros(at / US).moment(0);
                let allowed = rules.decide(&mut state, cost, at).is_allowed();
                exact += u64::from(cost) * u64::from(allowed);
            }
        }
        (units(&self.spent), exact)
    }

    /// The first spending that `policies` would not have allowed.
    fn breach(&self, policies: &[Policy]) -> Option<String> {
        let rules = RuleSet::new(policies);
        for (key, spent) in &self.spent {
            let spent = spent.iter().enumerate();
            let stays = spent.filter(|(number, _)| !self.void.contains(&(*key, *number)));
            let mut spent: Vec<_> = stays.map(|(_, spent)| *spent).collect();
            spent.sort_unstable();
            let mut state = vec![0; rules.words()];
            for (at, cost) in spent {
                let moment = crate::rule::Moment::at(LocalTime::from_nanos(at));
                let wall = StoreMoment::from_micros(at / US).moment(0).wall;
                let decision = rules.decide(&mut state, cost, moment.on(wall));
                if !decision.is_allowed() {
                    return Some(format!("{key:?} at {at}, {cost} units: {decision:?}"));
                }
            }
        }
        None
    }
}
