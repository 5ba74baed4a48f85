//! What may happen next: one step of a walk, drawn by its dice.

use crate::fleet::key_state::KeyState;
use crate::fleet::member::{Phase, Sample};
use crate::fleet::message::Report;
use crate::fleet::settings::{Estimate, Outage, Settings};
use crate::fleet::walk::network::Message;
use crate::fleet::walk::{Faults, Ghosts, LIMIT, MS, Node, World};
use std::time::Duration;

impl World<'_> {
    pub(super) fn step(&mut self, faults: Faults) {
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

    pub(super) fn pass_by(&mut self, time: u64) {
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
            latency_us2: chance.wrapping_mul(clock_us),
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

    pub(super) fn beat(&mut self, incarnation: u64, report: Report, fresh: u64) {
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
}
