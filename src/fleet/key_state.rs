//! The state of one key and its two atomic steps, beat and commit: what every store must reproduce.
//!
//! The memory store runs these functions; the Redis scripts are their only other spelling and are held to them by
//! seeded differential runs. Nothing here reads a clock: store time comes with the beats (I11).

use crate::fleet::message::{
    Answer, Beat, Commit, CommitAnswer, Committed, Grant, Mode, Push, Snapshot, Ticket, Welcome,
};
use crate::fleet::record::{Life, Record};
use crate::time::StoreTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a planner may take before another gets its chance, at least.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_millis(250);
/// Then plans rest.
const MAX_PLANS_IN_A_ROW: u32 = 3;

/// What a store does when it knows nothing of a key and the node neither.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EmptyStore {
    /// An empty store looks like a lost one: wait one lease time before the first grant. For shared stores.
    #[default]
    Learn,
    /// Grant at once. Safe if the store cannot lose its data without ending the nodes too (the memory store);
    /// otherwise, after a loss, nodes that restart are given what others still use, up to twice the limit.
    Trust,
}

/// The state of one key.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct KeyState {
    epoch: Option<Epoch>,
}

/// One life of the state, from its creation to its loss.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Epoch {
    epoch: u64,
    server: Arc<str>,
    time: StoreTime,
    slack: Duration,
    learning_until: StoreTime,
    settings: Arc<str>,
    revision: u64,
    generation: u64,
    stamp: u64,
    version: u64,
    limit: u32,
    plan: u64,
    nodes: u32,
    hungry: bool,
    token: u64,
    token_ends: StoreTime,
    committed: u64,
    plan_due: StoreTime,
    rest_ends: StoreTime,
    dirty: bool,
    in_a_row: u32,
    records: BTreeMap<u64, Record>,
    /// The newest accepted incarnation of a name.
    owners: BTreeMap<Arc<str>, u64>,
}

impl KeyState {
    /// One report-and-renew: the atomic step behind I1, I2, I9, I10 and I11.
    pub(crate) fn beat(&mut self, beat: &Beat, server: &str, empty: EmptyStore) -> Answer {
        let lost = self.epoch.as_ref().is_some_and(|life| {
            &*life.server != server
                || (beat.epoch == Some(life.epoch)
                    && (beat.generation > life.generation || beat.echo > life.stamp))
        });
        if self.epoch.is_none() || lost {
            let trusted =
                self.epoch.is_none() && empty == EmptyStore::Trust && beat.epoch.is_none();
            self.epoch = Some(Epoch::begin(beat, server, trusted, self.epoch.as_ref()));
        }
        self.epoch.as_mut().expect("begun above").beat(beat)
    }

    /// Writes a plan, if nothing came between. Answers also who must be told.
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        server: &str,
    ) -> (CommitAnswer, Vec<(u64, Push)>) {
        match &mut self.epoch {
            Some(life) if life.epoch == commit.epoch && &*life.server == server => {
                life.commit(commit)
            }
            _ => {
                let answer = CommitAnswer {
                    outcome: Committed::OtherEpoch,
                    epoch: self.epoch.as_ref().map_or(0, |life| life.epoch),
                    grant: Grant::default(),
                    target: 0,
                    limit: 0,
                    plan: 0,
                    nodes: 0,
                    ticket: None,
                };
                (answer, Vec::new())
            }
        }
    }
}

#[cfg(test)]
impl KeyState {
    /// The sum of I1, and that of I3: what is committed, and what nobody else may have.
    pub(crate) fn committed(&self) -> (u64, u64) {
        let records = self.epoch.iter().flat_map(|epoch| epoch.records.values());
        records.fold((0, 0), |(shares, reserved), record| {
            let (share, hold) = (record.grant.share, record.reserved(true));
            (shares + u64::from(share), reserved + u64::from(hold))
        })
    }

    /// The epoch and its store time.
    pub(crate) fn time(&self) -> Option<(u64, StoreTime)> {
        self.epoch.as_ref().map(|epoch| (epoch.epoch, epoch.time))
    }

    /// Whether this epoch has committed a plan.
    pub(crate) fn has_planned(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.committed > 0)
    }
}

impl Epoch {
    /// A new epoch. What the old one knew of the limit goes on; what it knew of nodes does not.
    fn begin(beat: &Beat, server: &str, trusted: bool, lost: Option<&Self>) -> Self {
        Self {
            epoch: beat.fresh_epoch,
            server: Arc::from(server),
            time: StoreTime::ZERO,
            slack: beat.settings.slack(),
            learning_until: if trusted {
                StoreTime::ZERO
            } else {
                learning_until(beat)
            },
            settings: lost
                .map_or_else(|| Arc::clone(&beat.line), |lost| Arc::clone(&lost.settings)),
            revision: lost.map_or(beat.settings.revision, |lost| lost.revision),
            generation: 0,
            stamp: 0,
            version: 0,
            limit: lost.map_or(0, |lost| lost.limit),
            plan: lost.map_or(0, |lost| lost.plan),
            nodes: 0,
            hungry: false,
            token: 0,
            token_ends: StoreTime::ZERO,
            committed: 0,
            plan_due: StoreTime::ZERO,
            rest_ends: StoreTime::ZERO,
            dirty: false,
            in_a_row: 0,
            records: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    const fn is_learning(&self) -> bool {
        self.time.as_micros() < self.learning_until.as_micros()
    }

    /// A planner that hears its answer at all hears it within half a heartbeat, and is heard as soon.
    fn token_life(&self) -> Duration {
        TOKEN_LIFE.max(self.slack / 4)
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn beat(&mut self, beat: &Beat) -> Answer {
        // Of the settings of one revision those with the longer history are the fleet's: a stranger may have been the
        // first to find the store empty.
        let knows_more = self.is_learning() && beat.plan > self.plan;
        let revision = beat.settings.revision;
        if revision > self.revision || revision == self.revision && knows_more {
            self.revision = revision;
            self.settings = Arc::clone(&beat.line);
        } else if revision == self.revision && beat.line != self.settings {
            let welcome = Welcome::OtherSettings(Arc::clone(&self.settings));
            return self.answer(beat, welcome, false);
        }
        self.tell_time(beat);
        self.stamp += 1;
        if self.is_learning() {
            self.learning_until = self.learning_until.max(learning_until(beat));
            if knows_more {
                (self.plan, self.limit) = (beat.plan, beat.limit);
            }
        }
        match self
            .records
            .get(&beat.incarnation)
            .map(|record| (record.sequence, record.life))
        {
            None if beat.mode == Mode::Closing && beat.in_flight == 0 => {
                self.answer(beat, Welcome::Gone, false)
            }
            None => {
                self.join(beat);
                self.answer(beat, Welcome::Member, true)
            }
            Some((sequence, life)) if beat.sequence <= sequence || life == Life::Left => {
                self.answer(beat, welcome(life), false)
            }
            Some(_) => {
                let material = self.renew(beat);
                self.answer(
                    beat,
                    welcome(self.records[&beat.incarnation].life),
                    material,
                )
            }
        }
    }

    /// Store time moves at the nodes' word, at most `slack` a beat (I11).
    fn tell_time(&mut self, beat: &Beat) {
        self.slack = self.slack.max(beat.settings.slack());
        if let (true, Some(told)) = (beat.epoch == Some(self.epoch), beat.store_time) {
            self.time = self
                .time
                .max(told.min(self.time.saturating_add(self.slack)));
        }
    }

    fn lease_ends(&self, beat: &Beat) -> (StoreTime, StoreTime) {
        let deadline = self
            .time
            .saturating_add(beat.settings.reclaim() + self.slack);
        (deadline, deadline.saturating_add(beat.settings.linger()))
    }

    /// A node this epoch does not know. What it claims is held; what it may have is at most that, and only while
    /// the store is learning (I9).
    fn join(&mut self, beat: &Beat) {
        // Who drains is on its way out, and contests no name.
        let predecessor = match beat.mode {
            Mode::Closing => None,
            Mode::Running | Mode::Fenced => {
                self.owners.insert(Arc::clone(&beat.name), beat.incarnation)
            }
        };
        if let Some(older) = predecessor
            && self
                .records
                .get(&older)
                .is_some_and(|record| matches!(record.life, Life::Live | Life::Lapsed))
        {
            let generation = self.next_generation();
            let record = self.records.get_mut(&older).expect("looked up above");
            record.life = Life::Quarantined;
            record.withdraw(generation);
        }
        let generation = self.next_generation();
        let claimed = if beat.epoch == Some(self.epoch) {
            0
        } else {
            beat.share
        };
        let capped = if self.limit > 0 {
            claimed.min(self.limit)
        } else {
            claimed
        };
        let share = if self.is_learning() && beat.mode != Mode::Closing {
            capped
        } else {
            0
        };
        if beat.share > 0 || beat.in_flight > 0 {
            self.version += 1;
        }
        let (deadline, ends) = self.lease_ends(beat);
        self.records.insert(
            beat.incarnation,
            Record {
                name: Arc::clone(&beat.name),
                life: Life::Live,
                closing: beat.mode == Mode::Closing,
                starved: beat.starved,
                sequence: beat.sequence,
                born: self.stamp,
                deadline,
                ends,
                grant: Grant {
                    generation,
                    share,
                    safe: 0,
                },
                since: self.time,
                target: share,
                in_flight: beat.in_flight,
                enforced: beat.share,
                low: 0,
                high: 0,
                mark: generation,
                safe_high: 0,
                report: beat.report,
            },
        );
    }

    /// A known node reports. Answers whether a plan is wanted before the round is over.
    fn renew(&mut self, beat: &Beat) -> bool {
        self.wake(beat);
        let (deadline, ends) = self.lease_ends(beat);
        let same_epoch = beat.epoch == Some(self.epoch);
        let record = self
            .records
            .get_mut(&beat.incarnation)
            .expect("the caller looked it up");
        let before = (record.reserved(true), record.reserved(false));
        let known = record.hold();
        if beat.in_flight > known || (!same_epoch && beat.share > known) {
            self.version += 1;
        }
        record.sequence = beat.sequence;
        (record.deadline, record.ends) = (deadline, ends);
        record.in_flight = beat.in_flight;
        record.report = beat.report;
        record.starved = beat.starved;
        if same_epoch {
            record.acknowledge(beat.generation, beat.share);
        } else {
            record.enforced = record.enforced.max(beat.share);
        }
        let leaves = beat.mode == Mode::Closing;
        let news = leaves && !record.closing;
        record.closing |= leaves;
        if record.closing {
            record.grant.share = 0;
            if record.in_flight == 0 {
                record.life = Life::Left;
                (record.enforced, record.low, record.high, record.safe_high) = (0, 0, 0, 0);
            }
        }
        let freed = record.reserved(true) < before.0 || record.reserved(false) < before.1;
        news || record.starved || record.life == Life::Left || (freed && self.hungry)
    }

    /// A lapsed node comes back. A quarantined one is alive if it answers to something newer than the first beat of
    /// its rival, which then is refused; unless the rival is the older of the two and was alive after it came.
    fn wake(&mut self, beat: &Beat) {
        let record = &self.records[&beat.incarnation];
        let (life, born) = (record.life, record.born);
        match life {
            Life::Live | Life::Refused | Life::Left => return,
            Life::Quarantined if beat.mode == Mode::Closing => return,
            Life::Lapsed => {}
            Life::Quarantined => {
                let owner = self.owners.get(&beat.name).copied();
                let rival = owner
                    .filter(|owner| *owner != beat.incarnation)
                    .and_then(|owner| Some((owner, self.records.get(&owner)?)))
                    .filter(|(_, record)| record.life != Life::Left)
                    .map(|(owner, record)| (owner, record.born));
                match rival {
                    Some((_, rivals)) if rivals < born => {
                        return self.refuse(beat.incarnation);
                    }
                    Some((_, rivals)) if beat.epoch != Some(self.epoch) || beat.echo <= rivals => {
                        return;
                    }
                    Some((rival, _)) => self.refuse(rival),
                    None => {}
                }
                self.owners.insert(Arc::clone(&beat.name), beat.incarnation);
            }
        }
        self.version += 1;
        self.records
            .get_mut(&beat.incarnation)
            .expect("looked up above")
            .life = Life::Live;
    }

    fn refuse(&mut self, incarnation: u64) {
        let generation = self.next_generation();
        let record = self
            .records
            .get_mut(&incarnation)
            .expect("the caller looked it up");
        record.life = Life::Refused;
        record.withdraw(generation);
    }

    fn answer(&mut self, beat: &Beat, welcome: Welcome, material: bool) -> Answer {
        // A node that has just left may still plan what it freed; one that is not welcome may not.
        let may_plan =
            welcome == Welcome::Member || (welcome == Welcome::Gone && (material || self.dirty));
        let ticket = if self.is_learning() || !may_plan {
            self.dirty |= material;
            None
        } else {
            let rested = self.time >= self.rest_ends;
            let due = self.time >= self.plan_due || ((material || self.dirty) && rested);
            if due && self.time >= self.token_ends {
                Some(self.issue_ticket())
            } else {
                self.dirty |= material;
                None
            }
        };
        let waits = self.dirty && self.time >= self.token_ends && !self.is_learning();
        let (grant, target) = self
            .records
            .get(&beat.incarnation)
            .map(|record| (record.grant, record.target))
            .unwrap_or_default();
        Answer {
            sequence: beat.sequence,
            epoch: self.epoch,
            welcome,
            stamp: self.stamp,
            store_time: self.time,
            grant,
            target,
            limit: self.limit,
            plan: self.plan,
            nodes: self.nodes,
            learning: between(self.time, self.learning_until),
            again_in: waits.then(|| between(self.time, self.rest_ends)),
            ticket,
        }
    }

    /// A token and what the planner must know. Records whose time is over end here and nowhere else.
    fn issue_ticket(&mut self) -> Box<Ticket> {
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
                nodes: self
                    .records
                    .iter()
                    .map(|(incarnation, record)| record.view(*incarnation))
                    .collect(),
            },
        })
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

    fn commit(&mut self, commit: &Commit) -> (CommitAnswer, Vec<(u64, Push)>) {
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
}

/// When every lease as long as that of `beat` has surely ended, of those that were given before the epoch.
fn learning_until(beat: &Beat) -> StoreTime {
    let wait = beat.settings.reclaim() + beat.settings.linger() + beat.settings.slack();
    StoreTime::ZERO.saturating_add(wait)
}

const fn welcome(life: Life) -> Welcome {
    match life {
        Life::Live | Life::Lapsed | Life::Quarantined => Welcome::Member,
        Life::Refused => Welcome::DuplicateName,
        Life::Left => Welcome::Gone,
    }
}

fn between(now: StoreTime, then: StoreTime) -> Duration {
    Duration::from_micros(then.as_micros().saturating_sub(now.as_micros()))
}
