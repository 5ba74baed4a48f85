//! A test bed in virtual time: nodes with the tiers that ship, origins with a round trip, one global store.
//!
//! Everything is an event with a time; a seed makes the arrivals. What one exact counter would admit of the same
//! requests is counted beside it.

mod accuracy;
mod crowd;
mod failures;
mod holds;
mod lines;
mod network;
mod refusals;
mod scene;
mod successions;
mod waits;

use self::network::{Reply, Sent};
use self::scene::{Scene, Seen, hot};

use crate::decision::PolicyName;
use crate::key::Key;
use crate::layered::cursor::Cursor;
use crate::layered::link::{LinkState, Outage};
use crate::layered::origin::{Global, OriginCell};
use crate::layered::setup::Setup;
use crate::layered::tier::Tier;
use crate::layered::time::{Moment, OriginClock, shared_time};
use crate::layered::window::SlidingWindow;
use crate::time::LocalTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// When the bed's time begins, in nanoseconds since 1970: somewhere in a window.
const EPOCH: u64 = 1_700_000_003_300 * MS;
/// How long a node waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a node publishes and pulls.
const GLOBAL_EVERY: u64 = 250 * MS;

struct World {
    scene: Scene,
    window: SlidingWindow,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    what: BTreeMap<usize, Event>,
    count: usize,
    nodes: Vec<Node>,
    origins: Vec<Origin>,
    global: Global,
    global_up: bool,
    rng: fastrand::Rng,
    exact: BTreeMap<(Key, u64), u64>,
    seen: Seen,
}

struct Node {
    region: usize,
    tier: Tier,
    clock: OriginClock,
    link: LinkState,
    waiting: Vec<Request>,
    open: BTreeMap<u64, Sent>,
    /// How far it has read the global store.
    cursor: Cursor,
    /// When its timer goes off.
    wake_at: u64,
}

#[derive(Default)]
struct Origin {
    cells: BTreeMap<(Key, u64), OriginCell>,
    away: bool,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    key: Key,
    cost: u32,
}

enum Event {
    Request(usize, Request),
    Wake(usize),
    Arrives(usize, u64, Sent, u64),
    Answer(usize, u64, Reply, u64, u64),
    GivenUp(usize, u64, u64),
    Global(usize),
}

/// A tier of one region that goes on alone while origin is away.
fn setup(window: SlidingWindow, room: usize) -> Setup {
    Setup {
        window,
        policy: PolicyName::DEFAULT,
        number: 0,
        flush_after: Setup::flush_after(&window),
        outage: Outage::Local,
        global: false,
        room,
        seed: 7,
    }
}

impl World {
    fn new(scene: Scene) -> Self {
        let window = SlidingWindow::new(scene.limit, scene.window);
        let setup = |seed| Setup {
            outage: scene.outage,
            global: scene.regions > 1,
            seed,
            ..setup(window, scene.room)
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
                cursor: Cursor::default(),
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
            global: Global::default(),
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
    fn load(&mut self, key: Key, cost: u32, rate: u64, span: u64, regions: &[usize]) {
        let count = rate * span / self.window.nanos();
        for _ in 0..count {
            let at = self.now + self.rng.u64(..span);
            let region = regions[self.rng.usize(..regions.len())];
            let node = region + self.scene.regions * self.rng.usize(..self.scene.nodes);
            self.at(at, Event::Request(node, Request { key, cost }));
        }
    }

    /// Lives on for `span`.
    fn run(&mut self, span: u64) {
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

    /// What the first origin knows of all windows.
    fn known(&self) -> u64 {
        let cells = self.origins[0].cells.values();
        cells.map(OriginCell::total).sum()
    }

    /// What was seen while it lived on for `span`.
    fn watch(&mut self, span: u64) -> Seen {
        let before = self.seen;
        self.run(span);
        self.seen.since(&before)
    }

    /// Until a window begins.
    fn run_to_boundary(&mut self) {
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
