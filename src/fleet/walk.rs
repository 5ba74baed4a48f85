//! Random walks over the protocol: the production member, key state and plan under a hostile network, in virtual time.
//!
//! Messages are delayed, lost, repeated and swapped; nodes crash, restart under their name, leave and are fenced; the
//! store is flushed, restarted and restored to an older state; every clock has its own offset and drift. After every
//! step I1 and I2 are checked against what the nodes really run. A found seed becomes a named test.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Member, Phase, Sample};
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push, Report};
use crate::fleet::plan::plan;
use crate::fleet::settings::{Allocation, Estimate, Handoff, Outage, Settings};
use crate::time::LocalTime;
use fastrand::Rng;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: u32 = 10;
const MS: u64 = 1_000_000;

struct Node {
    member: Member,
    /// Slots in use, as the gate counts them.
    in_flight: u32,
    /// Of those, cancelled by a fence: they may still run at the backend until the grace is over.
    parked: u32,
    grace_ends: u64,
    /// This node's clock: true time times (1 + drift / 1000), and an offset.
    drift: i64,
    offset: u64,
    name: usize,
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
    empty: EmptyStore,
    store: KeyState,
    backup: KeyState,
    server: u32,
    nodes: Vec<Node>,
    ghosts: Vec<Ghosts>,
    network: Vec<Message>,
    /// The store was disturbed; claims may add up to more than the limit until it has planned again.
    disturbed: bool,
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
    /// Clocks that step by an hour both ways. Outside of what I2 is promised for: for comparing stores alone.
    clocks: bool,
}

const CALM: Faults = Faults {
    network: false,
    nodes: false,
    store: false,
    clocks: false,
};
const ALL: Faults = Faults {
    network: true,
    nodes: true,
    store: true,
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
    fn clock(&self, now: u64) -> LocalTime {
        let drifted = i128::from(now) + i128::from(now) * i128::from(self.drift) / 1000;
        LocalTime::from_nanos(self.offset + u64::try_from(drifted).expect("drift is small"))
    }
}

impl World<'_> {
    fn new(seed: u64, settings: Settings, nodes: usize) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            twin: None,
            servers: u32::MAX,
            now: 0,
            settings,
            empty: EmptyStore::Learn,
            store: KeyState::default(),
            backup: KeyState::default(),
            server: 0,
            nodes: Vec::new(),
            ghosts: Vec::new(),
            network: Vec::new(),
            disturbed: false,
            most: 0,
            replies: 0,
            behind: None,
        };
        (0..nodes).for_each(|name| world.start(name));
        world
    }

    fn start(&mut self, name: usize) {
        let mut node = Node {
            member: Member::new(Arc::from("x"), 1, self.settings.clone(), LocalTime::ZERO),
            in_flight: 0,
            parked: 0,
            grace_ends: 0,
            drift: self.rng.i64(-20..=20),
            offset: self.rng.u64(0..1_000_000 * MS),
            name,
        };
        let (incarnation, now) = (self.rng.u64(1..), node.clock(self.now));
        node.member = Member::new(
            Arc::from(format!("n{name}")),
            incarnation,
            self.settings.clone(),
            now,
        );
        self.nodes.push(node);
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
                self.network.push(Message::Answer(beat.incarnation, answer));
            }
            Message::Commit(commit) => {
                let (answer, pushes) = self.store.commit(&commit, &self.server());
                if let Some(twin) = &mut self.twin {
                    assert_eq!(
                        twin.commit(&commit),
                        answer,
                        "the twin answers {commit:?} otherwise"
                    );
                }
                self.network
                    .push(Message::CommitAnswer(commit.incarnation, answer));
                self.network
                    .extend(pushes.into_iter().map(|(to, push)| Message::Push(to, push)));
            }
            Message::Answer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    let (_, ticket) = node.member.handle_answer(now, answer);
                    commits.extend(ticket.and_then(|ticket| plan(&ticket, to)));
                });
                self.network
                    .extend(commits.into_iter().map(Message::Commit));
            }
            Message::CommitAnswer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    node.member.handle_commit(now, &answer);
                    commits.extend(answer.ticket.and_then(|ticket| plan(&ticket, to)));
                });
                self.network
                    .extend(commits.into_iter().map(Message::Commit));
            }
            Message::Push(to, push) => self.with(to, |node, now| {
                node.member.handle_push(now, push);
            }),
        }
    }

    /// Runs `step` on the living node `incarnation`, and ends what a fence cancels.
    fn with(&mut self, incarnation: u64, step: impl FnOnce(&mut Node, LocalTime)) {
        let now = self.now;
        let drain = u64::try_from(self.settings.drain.as_nanos()).expect("short");
        let found = self
            .nodes
            .iter_mut()
            .find(|node| node.member.incarnation() == incarnation);
        if let Some(node) = found {
            let local = node.clock(now);
            let fenced_before = node.member.phase();
            step(node, local);
            let lost = matches!(node.member.phase(), Phase::Fenced(_) | Phase::Refused)
                && fenced_before != node.member.phase();
            if lost {
                (node.parked, node.grace_ends) = (node.in_flight, now + drain);
            }
        }
    }

    fn step(&mut self, faults: Faults) {
        let pick = self.rng.usize(..self.nodes.len());
        let incarnation = self.nodes[pick].member.incarnation();
        match self.rng.u32(..100) {
            0..10 => self.pass(),
            10..30 => self.tick(incarnation),
            30..65 if !self.network.is_empty() => {
                let index = if faults.network {
                    self.rng.usize(..self.network.len())
                } else {
                    0
                };
                let message = self.network.remove(index);
                match self.rng.u32(..10) {
                    0 if faults.network => {}
                    1 if faults.network => {
                        self.network.push(message.clone());
                        self.deliver(message);
                    }
                    _ => self.deliver(message),
                }
            }
            65..82 => self.with(incarnation, |node, now| {
                node.member.handle_timeout(now);
                if node.in_flight < node.member.ceiling() && now < node.member.fence_at() {
                    node.in_flight += 1;
                } else {
                    node.member.handle_starved();
                }
            }),
            82..94 => self.with(incarnation, |node, _| {
                if node.in_flight > node.parked {
                    node.in_flight -= 1;
                    node.member.handle_drained();
                }
            }),
            94 if faults.nodes && self.rng.u32(..5) == 0 => self.crash(pick),
            95 if faults.nodes && self.rng.u32(..5) == 0 => {
                self.with(incarnation, |node, now| node.member.close(now))
            }
            96 if faults.nodes && self.nodes.len() < 8 => {
                let name = self.rng.usize(..4);
                if !self.nodes.iter().any(|node| node.name == name) {
                    self.start(name);
                }
            }
            97 if faults.store && self.rng.u32(..20) == 0 => {
                self.store = KeyState::default();
                self.twin.iter_mut().for_each(|twin| twin.flush());
                self.disturbed = true;
            }
            98 if faults.store && self.rng.u32(..20) == 0 => {
                self.store = self.backup.clone();
                self.server = (self.server + 1) % self.servers;
                let server = self.server;
                self.twin.iter_mut().for_each(|twin| twin.restore(server));
                self.disturbed = true;
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
        self.now += self.rng.u64(1..25) * MS;
        let now = self.now;
        self.ghosts.retain(|ghosts| ghosts.end > now);
        let due: Vec<u64> = self
            .nodes
            .iter()
            .map(|node| node.member.incarnation())
            .collect();
        for incarnation in due {
            self.with(incarnation, |node, local| {
                node.member.handle_timeout(local);
                if now >= node.grace_ends && node.parked > 0 {
                    node.in_flight -= std::mem::take(&mut node.parked);
                    node.member.handle_drained();
                }
            });
        }
    }

    fn tick(&mut self, incarnation: u64) {
        let fresh = self.rng.u64(1..);
        // Whatever it says it wants, the plans that follow must be safe.
        let demand = if self.rng.bool() { 1 } else { 2 * LIMIT };
        let mut beats = Vec::new();
        self.with(incarnation, |node, now| {
            node.member.handle_timeout(now);
            let in_flight = node.in_flight;
            let report = Report {
                demand,
                weight: 1,
                ..Report::default()
            };
            beats.extend(
                node.member
                    .poll_beat(now, || Sample { in_flight, report }, fresh),
            );
        });
        self.network.extend(beats.into_iter().map(Message::Beat));
        let end = self.now + u64::try_from(self.settings.drain.as_nanos()).expect("short");
        let ghosts = &mut self.ghosts;
        self.nodes.retain(|node| {
            let stays = !matches!(node.member.phase(), Phase::Left | Phase::Refused);
            if !stays && node.in_flight > 0 {
                ghosts.push(Ghosts {
                    count: node.in_flight,
                    end,
                });
            }
            stays
        });
        if self.nodes.is_empty() {
            self.start(0);
        }
    }

    fn crash(&mut self, index: usize) {
        let node = self.nodes.swap_remove(index);
        if node.in_flight > 0 {
            // The backend notices within the grace.
            let drain = u64::try_from(self.settings.drain.as_nanos()).expect("short");
            self.ghosts.push(Ghosts {
                count: node.in_flight,
                end: self.now + drain / 2,
            });
        }
        self.start(node.name);
    }

    fn running(&self) -> u32 {
        let nodes: u32 = self.nodes.iter().map(|node| node.in_flight).sum();
        nodes + self.ghosts.iter().map(|ghosts| ghosts.count).sum::<u32>()
    }

    /// I1 and I2, or what broke.
    fn check(&mut self) -> Result<(), String> {
        let running = self.running();
        self.most = self.most.max(running);
        if running > LIMIT {
            return Err(format!("I2: {running} in flight on {LIMIT}"));
        }
        if self.disturbed && self.store.has_planned() {
            self.disturbed = false;
        }
        self.check_time()?;
        let committed = self.store.committed_shares();
        if !self.disturbed && committed > u64::from(LIMIT) {
            return Err(format!("I1: {committed} committed on {LIMIT}"));
        }
        Ok(())
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
        let slack = i64::try_from(self.settings.slack().as_micros()).expect("short");
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
    let settings = Settings {
        outage: outages[(seed % 3) as usize],
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

/// Walks many seeds; every one must hold, and enough of them must be able to work at all.
fn hold(settings: &Settings, nodes: usize, faults: Faults, walks: u64) {
    let mut full = 0;
    for seed in 0..walks {
        let most =
            walk(seed, 2500, settings, nodes, faults).unwrap_or_else(|broken| panic!("{broken}"));
        full += u64::from(most == LIMIT);
    }
    assert!(
        full * 20 > walks,
        "only {full} of {walks} walks ever used the limit: they prove nothing"
    );
}

/// How many seeds: more with `TIDEGATE_WALKS`.
fn walks() -> u64 {
    std::env::var("TIDEGATE_WALKS")
        .ok()
        .and_then(|walks| walks.parse().ok())
        .unwrap_or(100)
}

#[test]
fn i1_i2_hold_on_a_calm_network() {
    hold(&settings(), 3, CALM, walks());
}

#[test]
fn i1_i2_i11_hold_over_loss_repetition_and_reordering() {
    hold(
        &settings(),
        3,
        Faults {
            network: true,
            ..CALM
        },
        walks(),
    );
}

#[test]
fn i1_i2_i10_hold_over_crashes_restarts_and_leaves() {
    hold(
        &settings(),
        3,
        Faults {
            nodes: true,
            network: true,
            ..CALM
        },
        walks(),
    );
}

#[test]
fn i1_i2_i9_hold_over_flushed_and_restored_stores() {
    hold(&settings(), 3, ALL, walks());
}

#[test]
fn i1_i2_hold_under_every_allocation() {
    for allocation in [Allocation::EqualSplit, Allocation::DemandProportional] {
        hold(
            &Settings {
                allocation,
                ..settings()
            },
            3,
            ALL,
            walks(),
        );
    }
}

#[test]
fn i1_i2_hold_under_the_outage_policies_that_promise_it() {
    let hold_for = Duration::from_millis(300);
    for outage in [
        Outage::Frozen { hold: hold_for },
        Outage::SafeShare {
            slots: 1,
            hold: hold_for,
        },
    ] {
        hold(
            &Settings {
                outage,
                ..settings()
            },
            3,
            ALL,
            walks(),
        );
    }
}

/// The walks can see what they are there to see: without the acknowledgement I2 breaks.
#[test]
fn without_the_acknowledgement_the_walks_see_i2_broken() {
    let careless = Settings {
        handoff: Handoff::Committed,
        ..settings()
    };
    let broken = (0..walks()).any(|seed| {
        walk(
            seed,
            2500,
            &careless,
            3,
            Faults {
                network: true,
                ..CALM
            },
        )
        .is_err_and(|broken| broken.contains("I2"))
    });
    assert!(broken, "the walks are too tame");
}
