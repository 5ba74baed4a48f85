//! Whose turn it is to plan, and what becomes of the plan: the token and the commit.

use crate::fleet::key_state::epoch::Epoch;
use crate::fleet::message::{Commit, CommitAnswer, Committed, Grant, Push, Snapshot, Ticket};
use crate::fleet::record::Life;
use crate::time::StoreTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a planner may take before another gets its chance, at least.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_millis(250);
/// Then plans rest.
const MAX_PLANS_IN_A_ROW: u32 = 3;

impl Epoch {
    /// A token and what the planner must know. Records whose time is over end here and nowhere else.
    pub(super) fn issue_ticket(&mut self) -> Box<Ticket> {
        self.evict();
        self.token += 1;
        self.token_ends = self.time.saturating_add(self.token_life());
        self.dirty = false;
        Box::new(Ticket {
            token: self.token,
            snapshot: Snapshot {
                epoch: self.epoch,
                version: self.version,
                store_time: self.time,
                limit: self.limit,
                plan: self.plan,
                settings: Arc::clone(&self.settings),
                memory: Arc::clone(&self.memory),
                nodes: self
                    .records
                    .iter()
                    .map(|(incarnation, record)| record.view(*incarnation))
                    .collect(),
            },
        })
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> (CommitAnswer, Vec<(u64, Push)>) {
        let mut pushes = Vec::new();
        let outcome = if commit.token == self.committed && commit.token != 0 {
            Committed::Repeated
        } else if commit.token != self.token || self.token_ends == StoreTime::ZERO {
            Committed::StaleToken
        } else {
            // Spent, whatever becomes of it.
            self.token_ends = StoreTime::ZERO;
            if commit.version != self.version {
                self.dirty = true;
                Committed::StaleVersion
            } else if self.is_unsound(commit) {
                Committed::Unsound
            } else {
                pushes = self.apply(commit);
                Committed::Applied
            }
        };
        let spent = matches!(outcome, Committed::Applied | Committed::StaleVersion);
        let ticket = if spent && self.dirty && self.in_a_row < MAX_PLANS_IN_A_ROW {
            self.in_a_row += 1;
            Some(self.issue_ticket())
        } else {
            self.in_a_row = 0;
            None
        };
        let (grant, target) = self
            .records
            .get(&commit.incarnation)
            .map(|record| (record.grant, record.target))
            .unwrap_or_default();
        let answer = CommitAnswer {
            outcome,
            epoch: self.epoch,
            grant,
            target,
            limit: self.limit,
            plan: self.plan,
            nodes: self.nodes,
            ticket,
        };
        (answer, pushes)
    }

    /// Whether the plan would reserve more than the limit, beyond what is occupied already (I1, I2, I3).
    fn is_unsound(&self, commit: &Commit) -> bool {
        let changes: BTreeMap<u64, u32> = commit
            .changes
            .iter()
            .map(|change| (change.incarnation, change.share))
            .collect();
        let (mut before, mut after, mut shares, mut fixed) = (0_u64, 0_u64, 0_u64, 0_u64);
        for (incarnation, record) in &self.records {
            let occupied = if commit.acknowledged {
                record.hold()
            } else {
                record.in_flight
            };
            let share = changes
                .get(incarnation)
                .filter(|_| record.is_open())
                .map_or(record.grant.share, |share| *share);
            before += u64::from(occupied);
            after += u64::from(occupied.max(share));
            shares += u64::from(share);
            fixed += if record.is_open() {
                0
            } else {
                u64::from(share)
            };
        }
        let limit = u64::from(commit.limit);
        after > before.max(limit) || shares > fixed.max(limit)
    }

    fn apply(&mut self, commit: &Commit) -> Vec<(u64, Push)> {
        self.committed = commit.token;
        self.limit = commit.limit;
        self.plan += 1;
        self.nodes = commit.nodes;
        self.hungry = commit.hungry;
        self.memory = Arc::clone(&commit.memory);
        self.pulse = commit.pulse;
        self.plan_due = self.time.saturating_add(commit.round);
        self.rest_ends = self.time.saturating_add(commit.rest);
        let mut pushes = Vec::new();
        for change in &commit.changes {
            let Some(record) = self
                .records
                .get_mut(&change.incarnation)
                .filter(|record| record.is_open())
            else {
                continue;
            };
            record.target = change.target;
            if (change.share, change.safe) != (record.grant.share, record.grant.safe) {
                self.generation += 1;
                let grant = Grant {
                    generation: self.generation,
                    share: change.share,
                    safe: change.safe,
                };
                record.give(grant, self.time);
                pushes.push((
                    change.incarnation,
                    Push {
                        epoch: self.epoch,
                        grant: record.grant,
                        target: record.target,
                    },
                ));
            }
        }
        pushes
    }

    fn evict(&mut self) {
        let time = self.time;
        let owners = &mut self.owners;
        self.records.retain(|incarnation, record| {
            let lingers =
                record.life == Life::Lapsed || record.life != Life::Left && record.safe_high > 0;
            let over = time
                >= if lingers {
                    record.ends
                } else {
                    record.deadline
                };
            if over && owners.get(&record.name) == Some(incarnation) {
                owners.remove(&record.name);
            }
            !over
        });
        let mut generation = self.generation;
        for record in self.records.values_mut() {
            if time < record.deadline {
                continue;
            }
            if record.life == Life::Live {
                generation += 1;
                record.lapse(generation);
            }
            record.keep_safe();
        }
        self.generation = generation;
    }

    /// A planner hears its answer within half a heartbeat, and is heard as soon; while the store is slower than that,
    /// a plan may come too late, and the next one is due.
    fn token_life(&self) -> Duration {
        TOKEN_LIFE.max(self.slack / 4)
    }
}
