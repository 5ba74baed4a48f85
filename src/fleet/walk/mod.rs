//! Random walks over the protocol: the production member, key state and plan under a hostile network, in virtual time.
//!
//! Messages are delayed (some until after the fence), lost, repeated and swapped; nodes crash, restart under their
//! name, meet their name's other owners, leave and are fenced; the store is flushed, restarted and restored to an older
//! state; the limit and the settings move; every clock has its own offset and drift. After every step I1, I2, I3 and
//! I11 are checked against what the nodes really run. A found seed becomes a named test.

mod calm;
mod tests;

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Member, Phase, Sample};
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Committed, Push, Report};
use crate::fleet::plan::plan;
use crate::fleet::settings::{Estimate, Outage, Settings};
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

#[derive(Clone)]
enum Message {
    Beat(Beat),
    Answer(u64, Answer),
    Commit(Commit),
    CommitAnswer(u64, CommitAnswer),
    Push(u64, Push),
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

    fn send(&mut self, message: Message) {
        let node = match &message {
            Message::Beat(beat) => beat.incarnation,
            Message::Commit(commit) => commit.incarnation,
            Message::Answer(to, _) | Message::CommitAnswer(to, _) | Message::Push(to, _) => *to,
        };
        let is_cut = |of: &Node| of.incarnation() == node && self.now < of.cut_until;
        if self.nodes.iter().any(is_cut) {
            return;
        }
        let late = self.slow && self.rng.u32(..25) == 0;
        let wait = if late {
            self.rng.u64(50..2_000) * MS
        } else {
            0
        };
        self.network.push((self.now + wait, message));
    }

    fn server(&self) -> String {
        format!("server-{}", self.server)
    }

    fn deliver(&mut self, message: Message) {
        self.replies += usize::from(matches!(message, Message::Beat(_) | Message::Commit(_)));
        match message {
            Message::Beat(beat) => {
                let answer = self.store.beat(&beat, &self.server(), self.empty);
                if let Some(twin) = &mut self.twin {
                    assert_eq!(
                        twin.beat(&beat, self.empty),
                        answer,
                        "the twin answers {beat:?} otherwise"
                    );
                }
                self.send(Message::Answer(beat.incarnation, answer));
            }
            Message::Commit(commit) => {
                let before = self.store.reserved(commit.acknowledged);
                let (answer, pushes) = self.store.commit(&commit, &self.server());
                if answer.outcome == Committed::Applied {
                    let after = self.store.reserved(commit.acknowledged);
                    self.ledger.apply(commit.limit, before, after);
                }
                if let Some(twin) = &mut self.twin {
                    assert_eq!(
                        twin.commit(&commit),
                        answer,
                        "the twin answers {commit:?} otherwise"
                    );
                }
                self.send(Message::CommitAnswer(commit.incarnation, answer));
                for (to, push) in pushes {
                    self.send(Message::Push(to, push));
                }
            }
            Message::Answer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    let (events, ticket) = node.process.member.handle_answer(now, answer);
                    commits.extend(ticket.and_then(|ticket| plan(&ticket, to)));
                    events
                });
                commits
                    .into_iter()
                    .for_each(|commit| self.send(Message::Commit(commit)));
            }
            Message::CommitAnswer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    let events = node.process.member.handle_commit(now, &answer);
                    commits.extend(answer.ticket.and_then(|ticket| plan(&ticket, to)));
                    events
                });
                commits
                    .into_iter()
                    .for_each(|commit| self.send(Message::Commit(commit)));
            }
            Message::Push(to, push) => {
                self.with(to, |node, now| node.process.member.handle_push(now, push));
            }
        }
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

    fn step(&mut self, faults: Faults) {
        self.slow = faults.slow;
        let pick = self.rng.usize(..self.nodes.len());
        let incarnation = self.nodes[pick].incarnation();
        match self.rng.u32(..100) {
            0..10 => self.pass(),
            10..30 => self.tick(incarnation),
            30..65 if self.network.iter().any(|(due, _)| *due <= self.now) => {
                let due = |(_, (due, _)): &(usize, &(u64, Message))| *due <= self.now;
                let due: Vec<usize> = self
                    .network
                    .iter()
                    .enumerate()
                    .filter(due)
                    .map(|(index, _)| index)
                    .collect();
                let pick = if faults.network {
                    self.rng.usize(..due.len())
                } else {
                    0
                };
                let (_, message) = self.network.remove(due[pick]);
                match self.rng.u32(..10) {
                    0 if faults.network => {}
                    1 if faults.network => {
                        self.send(message.clone());
                        self.deliver(message);
                    }
                    _ => self.deliver(message),
                }
            }
            65..82 => self.with(incarnation, |node, now| {
                let events = node
                    .process
                    .member
                    .handle_timeout(now)
                    .into_iter()
                    .collect();
                node.process.ask(now);
                events
            }),
            82..94 => self.with(incarnation, |node, _| {
                if node.process.in_flight > node.process.parked {
                    node.process.in_flight -= 1;
                    node.process.member.handle_drained();
                }
                Vec::new()
            }),
            94 if faults.nodes && self.rng.u32(..5) == 0 => self.crash(pick),
            95 if faults.nodes && self.rng.u32(..5) == 0 => {
                self.with(incarnation, |node, now| {
                    node.process.member.close(now);
                    Vec::new()
                });
            }
            96 if faults.nodes && self.nodes.len() < 8 => {
                let name = self.rng.usize(..4);
                let taken = self.nodes.iter().any(|node| node.name == name);
                if !taken || faults.twins && self.rng.u32(..3) == 0 {
                    self.start(name);
                }
            }
            97 if faults.store && self.rng.u32(..20) == 0 => {
                self.store = KeyState::default();
                self.twin.iter_mut().for_each(|twin| twin.flush());
                self.ledger.disturb(&self.store);
            }
            98 if faults.store && self.rng.u32(..20) == 0 => {
                self.store = self.backup.clone();
                self.server = (self.server + 1) % self.servers;
                let server = self.server;
                self.twin.iter_mut().for_each(|twin| twin.restore(server));
                self.ledger.disturb(&self.store);
            }
            95 if faults.slow && self.rng.u32(..8) == 0 => {
                self.nodes[pick].cut_until = self.now + self.rng.u64(100..2_000) * MS;
            }
            98 if faults.clocks && self.rng.u32(..20) == 0 => {
                let step = 3_600_000 * MS;
                let offset = &mut self.nodes[pick].offset;
                *offset = if self.rng.bool() {
                    *offset + step
                } else {
                    offset.saturating_sub(step)
                };
            }
            99 if faults.revisions && self.rng.u32(..4) == 0 => self.revise(),
            99 => {
                self.backup = self.store.clone();
                self.twin.iter_mut().for_each(|twin| twin.back_up());
            }
            _ => {}
        }
        if self.nodes.is_empty() {
            self.start(0);
        }
    }

    /// Time passes; every process's fence is enforced by its clock, whether or not it is scheduled.
    fn pass(&mut self) {
        let time = self.rng.u64(1..25) * MS;
        self.pass_by(time);
    }

    fn pass_by(&mut self, time: u64) {
        self.now += time;
        let now = self.now;
        self.ghosts.retain(|ghosts| ghosts.end > now);
        let due: Vec<u64> = self.nodes.iter().map(Node::incarnation).collect();
        for incarnation in due {
            self.with(incarnation, |node, local| {
                let events = node
                    .process
                    .member
                    .handle_timeout(local)
                    .into_iter()
                    .collect();
                if now >= node.grace_ends {
                    node.process.end_parked();
                }
                events
            });
        }
    }

    /// Counters that grow, as a report carries them; now and then nonsense. Drawn from the time and not from the dice,
    /// which decide what else happens.
    fn counted(&self, incarnation: u64) -> Report {
        let clock_us = self.now / 1_000;
        let chance = (self.now ^ incarnation).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let nonsense = chance.is_multiple_of(31);
        Report {
            clock_us,
            completions: clock_us / 500,
            latency_us: if nonsense {
                u64::MAX
            } else {
                clock_us * 40 + chance % 1_000_000
            },
            held_us: clock_us * 3,
            sheds: clock_us / 1_000,
            drops: if nonsense { chance } else { clock_us / 100_000 },
            ..Report::default()
        }
    }

    fn tick(&mut self, incarnation: u64) {
        let fresh = self.rng.u64(1..);
        // Whatever it says it wants, the plans that follow must be safe.
        let demand = match self.rng.u32(..20) {
            0 => u32::MAX,
            1..4 => 0,
            4..10 => 1,
            _ => 2 * LIMIT,
        };
        let weight = [1, 1, 1, 1, 2, 7, 0, u32::MAX][self.rng.usize(..8)];
        let local_limit = self.rng.u32(LIMIT / 2..2 * LIMIT);
        let report = Report {
            demand,
            weight,
            local_limit,
            ..self.counted(incarnation)
        };
        self.beat(incarnation, report, fresh);
        if self.nodes.is_empty() {
            self.start(0);
        }
    }

    fn beat(&mut self, incarnation: u64, report: Report, fresh: u64) {
        let mut beats = Vec::new();
        self.with(incarnation, |node, now| {
            let events = node
                .process
                .member
                .handle_timeout(now)
                .into_iter()
                .collect();
            let in_flight = node.process.in_flight;
            beats.extend(node.process.member.poll_beat(
                now,
                || Sample { in_flight, report },
                fresh,
            ));
            events
        });
        beats
            .into_iter()
            .for_each(|beat| self.send(Message::Beat(beat)));
        let (now, ghosts) = (self.now, &mut self.ghosts);
        self.nodes.retain(|node| {
            let stays = !matches!(node.process.member.phase(), Phase::Left | Phase::Refused);
            if !stays && node.process.in_flight > 0 {
                ghosts.push(Ghosts {
                    count: node.process.in_flight,
                    end: now + node.drain(),
                });
            }
            stays
        });
    }

    /// From now on nodes start with other settings.
    fn revise(&mut self) {
        let ms = Duration::from_millis;
        let rng = &mut self.rng;
        let heartbeat = ms([50, 100, 200][rng.usize(..3)]);
        let ttl = heartbeat * rng.u32(2..=8);
        let hold = ms(rng.u64(50..500));
        self.older.push(self.settings.clone());
        self.settings = Settings {
            revision: self.settings.revision + 1,
            heartbeat,
            ttl,
            margin: ttl / 8,
            drain: ms(rng.u64(0..200)),
            outage: match rng.u32(..3) {
                0 => Outage::FailClosed,
                1 => Outage::Frozen { hold },
                _ => Outage::SafeShare {
                    slots: rng.u32(1..4),
                    hold,
                },
            },
            estimate: Estimate::Fixed(rng.u32(1..=2 * LIMIT)),
            ..self.settings
        };
        self.slack = self.slack.max(self.settings.slack());
    }

    fn crash(&mut self, index: usize) {
        let node = self.nodes.swap_remove(index);
        if node.process.in_flight > 0 {
            // The backend notices within the grace.
            self.ghosts.push(Ghosts {
                count: node.process.in_flight,
                end: self.now + node.drain() / 2,
            });
        }
        self.start(node.name);
    }

    fn running(&self) -> u32 {
        let nodes: u32 = self.nodes.iter().map(|node| node.process.in_flight).sum();
        nodes + self.ghosts.iter().map(|ghosts| ghosts.count).sum::<u32>()
    }

    /// I1, I2, I3 and I11, or what broke.
    fn check(&mut self) -> Result<(), String> {
        let running = self.running();
        self.most = self.most.max(running);
        self.ledger.settle(&self.store);
        self.check_time()?;
        self.ledger
            .check(&self.store, running)
            .map_err(|broken| broken.to_string())
    }
}

impl World<'_> {
    /// I11: between any two moments store time gains at most the time that has passed, the drift of the clocks that
    /// measured it, and one slack.
    fn check_time(&mut self) -> Result<(), String> {
        let Some((epoch, time)) = self.store.time() else {
            return Ok(());
        };
        let now = i64::try_from(self.now / 1000).expect("short");
        let ahead = i64::try_from(time.as_micros()).expect("short") - now;
        let least = match self.behind {
            Some((known, least)) if known == epoch => least.min(ahead),
            _ => ahead,
        };
        self.behind = Some((epoch, least));
        let slack = i64::try_from(self.slack.as_micros()).expect("short");
        if ahead > least + slack + now / 50 {
            return Err(format!(
                "I11: store time gained {} us on {slack} us",
                ahead - least
            ));
        }
        Ok(())
    }
}

/// Walks `steps` from `seed` with `twin` beside the memory store, comparing every reply; answers how many there were.
#[cfg(feature = "redis")]
pub(crate) fn walk_beside(twin: &mut dyn Twin, seed: u64, steps: usize, servers: u32) -> usize {
    let outages = [
        Outage::FailClosed,
        Outage::Frozen {
            hold: Duration::from_millis(300),
        },
        Outage::SafeShare {
            slots: 2,
            hold: Duration::from_millis(300),
        },
    ];
    // The estimator's memory, too, must come back from the store as it was.
    let estimates = [
        Estimate::Fixed(LIMIT),
        Estimate::Fleet,
        Estimate::Fleet,
        Estimate::Median,
    ];
    let settings = Settings {
        outage: outages[(seed % 3) as usize],
        estimate: estimates[(seed / 2 % 4) as usize],
        ..settings()
    };
    let mut world = World::new(seed, settings, 3);
    (world.twin, world.servers) = (Some(twin), servers);
    world.empty = if seed.is_multiple_of(2) {
        EmptyStore::Learn
    } else {
        EmptyStore::Trust
    };
    for _ in 0..steps {
        world.step(Faults {
            clocks: true,
            revisions: seed % 4 == 3,
            ..ALL
        });
    }
    world.replies
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
