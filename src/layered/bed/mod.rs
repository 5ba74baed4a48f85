//! A test bed in virtual time: nodes with the tiers that ship, origins with a round trip, one global store.
//!
//! Everything is an event with a time; a seed makes the arrivals. What one exact counter would admit of the same
//! requests is counted beside it.

mod accuracy;
mod failures;
mod holds;

use crate::decision::PolicyName;
use crate::key::Key;
use crate::layered::exchange::{FlushLine, ImportLine, PublishLine, ReadLine, Totals};
use crate::layered::hold::Booking;
use crate::layered::link::{LinkState, Outage};
use crate::layered::origin::{GlobalCell, OriginCell};
use crate::layered::setup::Setup;
use crate::layered::tier::{Answer, Tier};
use crate::layered::time::{Moment, OriginClock, shared_time};
use crate::layered::window::SlidingWindow;
use crate::time::LocalTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

pub(super) const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// When the bed's time begins, in nanoseconds since 1970: somewhere in a window.
const EPOCH: u64 = 1_700_000_003_300 * MS;
/// How long a node waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a node publishes and pulls.
const GLOBAL_EVERY: u64 = 250 * MS;

/// What is simulated.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) regions: usize,
    /// In each region.
    pub(super) nodes: usize,
    pub(super) limit: u32,
    pub(super) window: u64,
    pub(super) round_trip: u64,
    /// Of each node's wall clock, in nanoseconds.
    pub(super) skew: Vec<i64>,
    /// One in so many messages is lost; 0 for none.
    pub(super) loss: u64,
    pub(super) outage: Outage,
    pub(super) room: usize,
    pub(super) seed: u64,
}

impl Scene {
    pub(super) fn new(nodes: usize, limit: u32, window: u64, round_trip: u64) -> Self {
        Self {
            regions: 1,
            nodes,
            limit,
            window,
            round_trip,
            skew: Vec::new(),
            loss: 0,
            outage: Outage::Local,
            room: 100,
            seed: 1,
        }
    }

    pub(super) fn start(&self) -> World {
        World::new(self.clone())
    }
}

pub(super) struct World {
    scene: Scene,
    window: SlidingWindow,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: BTreeMap<usize, Event>,
    count: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) origins: Vec<Origin>,
    pub(super) global: BTreeMap<(Key, u64), GlobalCell>,
    pub(super) global_up: bool,
    rng: fastrand::Rng,
    exact: BTreeMap<(Key, u64), u64>,
    pub(super) seen: Seen,
}

pub(super) struct Node {
    region: usize,
    pub(super) tier: Tier,
    clock: OriginClock,
    link: LinkState,
    waiting: Vec<Request>,
    open: BTreeMap<u64, Sent>,
    /// When its timer goes off.
    wake_at: u64,
}

#[derive(Default)]
pub(super) struct Origin {
    pub(super) cells: BTreeMap<(Key, u64), OriginCell>,
    pub(super) away: bool,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) admitted: u64,
    pub(super) exact: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

impl Seen {
    /// Admitted, in thousandths of what one exact counter admits.
    pub(super) const fn accuracy(&self) -> u64 {
        self.admitted * 1_000 / self.exact
    }

    pub(super) const fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            admitted: self.admitted - before.admitted,
            exact: self.exact - before.exact,
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Request {
    key: Key,
    cost: u32,
}

#[derive(Clone, Debug)]
enum Sent {
    Read(Vec<ReadLine>),
    Flush(Vec<FlushLine>),
}

enum Event {
    Request(usize, Request),
    Wake(usize),
    Arrives(usize, u64, Sent, u64),
    Answer(usize, u64, Reply, u64, u64),
    GivenUp(usize, u64, u64),
    Global(usize),
}

enum Reply {
    Read(Vec<(ReadLine, Totals)>),
    Flush(Vec<(FlushLine, u64)>),
}

impl World {
    fn new(scene: Scene) -> Self {
        let window = SlidingWindow::new(scene.limit, scene.window);
        let setup = |seed| Setup {
            window,
            policy: PolicyName::DEFAULT,
            number: 0,
            flush_after: Setup::flush_after(&window),
            outage: scene.outage,
            global: scene.regions > 1,
            room: scene.room,
            seed,
        };
        let mut rng = fastrand::Rng::with_seed(scene.seed);
        let count = scene.nodes * scene.regions;
        let nodes = (0..count).map(|number| {
            let skew = scene.skew.get(number).copied().unwrap_or_default();
            Node {
                region: number % scene.regions,
                tier: Tier::new(setup(rng.u64(..))),
                clock: OriginClock::new(EPOCH.saturating_add_signed(skew), LocalTime::ZERO),
                link: LinkState::new(),
                waiting: Vec::new(),
                open: BTreeMap::new(),
                wake_at: u64::MAX,
            }
        });
        let nodes = nodes.collect();
        let mut world = Self {
            window,
            now: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            count: 0,
            nodes,
            origins: (0..scene.regions).map(|_| Origin::default()).collect(),
            global: BTreeMap::new(),
            global_up: true,
            rng,
            exact: BTreeMap::new(),
            seen: Seen::default(),
            scene,
        };
        if world.scene.regions > 1 {
            for node in 0..count {
                let at = world.rng.u64(..GLOBAL_EVERY);
                world.at(at, Event::Global(node));
            }
        }
        world
    }

    /// `rate` requests a window of `cost` on `key`, at random moments, on the nodes of `regions`, from now for `span`.
    pub(super) fn load(&mut self, key: Key, cost: u32, rate: u64, span: u64, regions: &[usize]) {
        let count = rate * span / self.window.nanos();
        for _ in 0..count {
            let at = self.now + self.rng.u64(..span);
            let region = regions[self.rng.usize(..regions.len())];
            let node = region + self.scene.regions * self.rng.usize(..self.scene.nodes);
            self.at(at, Event::Request(node, Request { key, cost }));
        }
    }

    /// Lives on for `span`.
    pub(super) fn run(&mut self, span: u64) {
        let end = self.now + span;
        while let Some(Reverse((at, ..))) = self.events.peek()
            && *at <= end
        {
            let Some(Reverse((at, _, number))) = self.events.pop() else {
                break;
            };
            self.now = at;
            if let Some(event) = self.what.remove(&number) {
                self.handle(event);
            }
        }
        self.now = end;
    }

    /// What was seen while it lived on for `span`.
    pub(super) fn watch(&mut self, span: u64) -> Seen {
        let before = self.seen;
        self.run(span);
        self.seen.since(&before)
    }

    /// Until a window begins.
    pub(super) fn run_to_boundary(&mut self) {
        let window = self.window.nanos();
        self.run(window - (EPOCH + self.now) % window);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.what.insert(self.count, event);
        self.events
            .push(Reverse((at, self.count as u64, self.count)));
    }

    fn local(&self) -> LocalTime {
        // Not from the clock's very beginning.
        LocalTime::from_nanos(self.now)
    }

    fn moment(&self, node: usize) -> Moment {
        let local = self.local();
        Moment {
            local,
            shared: shared_time(local, self.nodes[node].clock.offset()),
            link: self.nodes[node].link.link(local),
            round_trip: self.nodes[node].link.round_trip(),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(node, request) => {
                self.count_exactly(request);
                self.seen.requests += 1;
                self.ask(node, request);
                self.pump(node);
            }
            Event::Wake(node) => {
                self.nodes[node].wake_at = u64::MAX;
                self.pump(node);
            }
            Event::Arrives(node, id, sent, at) => self.arrives(node, id, &sent, at),
            Event::Answer(node, id, reply, theirs, sent) => {
                self.answered(node, id, reply, theirs, sent)
            }
            Event::GivenUp(node, id, sent) => self.given_up(node, id, sent),
            Event::Global(node) => self.exchange_globally(node),
        }
    }

    fn ask(&mut self, node: usize, request: Request) {
        let now = self.moment(node);
        let tier = &mut self.nodes[node].tier;
        match tier.decide(request.key, request.cost, Booking::Accept, &now) {
            Answer::Decided { decision, .. } => {
                if decision.is_allowed() {
                    self.seen.admitted += u64::from(request.cost);
                }
            }
            Answer::Wait => self.nodes[node].waiting.push(request),
        }
    }

    /// What the shell does: sends what is to be sent, and sets a timer.
    fn pump(&mut self, node: usize) {
        let now = self.local();
        let it = &mut self.nodes[node];
        if it.link.may_ask(now) {
            let reads: Vec<ReadLine> = std::iter::from_fn(|| it.tier.poll_read()).collect();
            let lines: Vec<FlushLine> = std::iter::from_fn(|| it.tier.poll_flush(now))
                .flatten()
                .flatten()
                .collect();
            if !reads.is_empty() || !lines.is_empty() {
                it.link.asks(now, PATIENCE);
            }
            self.seen.reads += reads.len() as u64;
            self.seen.writes += lines.len() as u64;
            if !lines.is_empty() {
                self.send(node, Sent::Flush(lines));
            }
            if !reads.is_empty() {
                self.send(node, Sent::Read(reads));
            }
        } else {
            while let Some(line) = it.tier.poll_read() {
                it.tier.handle_read_failure(&line, now);
            }
        }
        let it = &self.nodes[node];
        let due = it.tier.poll_timeout();
        if due != LocalTime::NEVER {
            let probe = it.link.poll_timeout().unwrap_or(due);
            let at = due.max(probe).as_nanos().max(self.now + 1);
            if at < it.wake_at {
                self.nodes[node].wake_at = at;
                self.at(at, Event::Wake(node));
            }
        }
    }

    fn send(&mut self, node: usize, sent: Sent) {
        let id = self.count as u64;
        self.nodes[node].open.insert(id, sent.clone());
        let patience = PATIENCE.as_nanos() as u64;
        self.at(self.now + patience, Event::GivenUp(node, id, self.now));
        if !self.is_lost() {
            let at = self.now + self.scene.round_trip / 2;
            self.at(at, Event::Arrives(node, id, sent, self.now));
        }
    }

    fn is_lost(&mut self) -> bool {
        self.scene.loss > 0 && self.rng.u64(..self.scene.loss) == 0
    }

    fn arrives(&mut self, node: usize, id: u64, sent: &Sent, at: u64) {
        let origin = &mut self.origins[self.nodes[node].region];
        if origin.away {
            return;
        }
        let total = |cells: &BTreeMap<(Key, u64), OriginCell>, key, sequence| {
            cells.get(&(key, sequence)).map_or(0, OriginCell::total)
        };
        let reply = match sent {
            Sent::Read(lines) => Reply::Read(
                lines
                    .iter()
                    .map(|line| {
                        let previous = line
                            .previous
                            .then(|| total(&origin.cells, line.key, line.sequence - 1));
                        let current = total(&origin.cells, line.key, line.sequence);
                        (*line, Totals { current, previous })
                    })
                    .collect(),
            ),
            Sent::Flush(lines) => Reply::Flush(
                lines
                    .iter()
                    .map(|line| {
                        let cell = origin.cells.entry((line.key, line.sequence)).or_default();
                        (*line, cell.tell(line.holder, line.told))
                    })
                    .collect(),
            ),
        };
        if !self.is_lost() {
            let back = self.now + self.scene.round_trip / 2;
            self.at(back, Event::Answer(node, id, reply, EPOCH + self.now, at));
        }
    }

    fn answered(&mut self, node: usize, id: u64, reply: Reply, theirs: u64, sent: u64) {
        if self.nodes[node].open.remove(&id).is_none() {
            return;
        }
        let sent = LocalTime::from_nanos(sent);
        let received = self.local();
        self.nodes[node].clock.handle_answer(theirs, sent, received);
        self.nodes[node].link.handle_answer(sent, received);
        let now = self.moment(node);
        let tier = &mut self.nodes[node].tier;
        match reply {
            Reply::Read(lines) => {
                for (line, totals) in lines {
                    tier.handle_read(&line, totals, sent, &now);
                }
            }
            Reply::Flush(lines) => {
                for (line, total) in lines {
                    tier.handle_flush(&line, total, sent);
                }
            }
        }
        self.wake_waiting(node);
    }

    fn given_up(&mut self, node: usize, id: u64, sent: u64) {
        let now = self.local();
        let it = &mut self.nodes[node];
        let Some(message) = it.open.remove(&id) else {
            return;
        };
        it.link.handle_failure(LocalTime::from_nanos(sent), now);
        match message {
            Sent::Read(lines) => {
                for line in lines {
                    it.tier.handle_read_failure(&line, now);
                }
            }
            Sent::Flush(lines) => {
                for line in lines {
                    it.tier.handle_flush_failure(&line, now);
                }
            }
        }
        self.wake_waiting(node);
    }

    fn wake_waiting(&mut self, node: usize) {
        for request in std::mem::take(&mut self.nodes[node].waiting) {
            self.ask(node, request);
        }
        self.pump(node);
    }

    /// Publishes, pulls, and comes back in a while.
    fn exchange_globally(&mut self, node: usize) {
        let now = self.moment(node);
        let it = &mut self.nodes[node];
        let region = format!("region-{}", it.region);
        let lines: Vec<PublishLine> = std::iter::from_fn(|| it.tier.poll_publish())
            .flatten()
            .flatten()
            .collect();
        for line in lines {
            if self.global_up {
                let cell = self.global.entry((line.key, line.sequence)).or_default();
                cell.publish(&region, line.total);
                it.tier.handle_publish(&line);
            } else {
                it.tier.handle_publish_failure(&line);
            }
        }
        if self.global_up {
            for (&(key, sequence), cell) in &self.global {
                let (own, foreign) = cell.seen_from(&region);
                let line = ImportLine {
                    policy: 0,
                    key,
                    sequence,
                    own,
                    foreign,
                };
                it.tier.handle_import(&line, &now);
            }
        }
        let jitter = self.rng.u64(..GLOBAL_EVERY / 4);
        self.at(
            self.now + GLOBAL_EVERY * 7 / 8 + jitter,
            Event::Global(node),
        );
    }

    /// What one counter for all would do.
    fn count_exactly(&mut self, request: Request) {
        let now = EPOCH + self.now;
        let sequence = self.window.sequence(now);
        let count = |sequence| self.exact.get(&(request.key, sequence)).copied();
        let current = count(sequence).unwrap_or_default();
        let previous = count(sequence - 1).unwrap_or_default();
        let cost = u64::from(request.cost);
        let view = self.window.view_of(sequence, [current, previous], now);
        if view.used() + cost <= u64::from(self.scene.limit) {
            self.seen.exact += cost;
            *self.exact.entry((request.key, sequence)).or_default() += cost;
        }
    }
}
