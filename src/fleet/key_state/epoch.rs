//! One life of a key's state, from its creation to its loss, and what a beat does in it.

use crate::fleet::estimate::Memory;
use crate::fleet::message::{Answer, Beat, Mode, Pulse, Welcome};
use crate::fleet::record::{Life, Record};
use crate::time::StoreTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One life of the state, from its creation to its loss.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Epoch {
    pub(super) epoch: u64,
    pub(super) server: Arc<str>,
    pub(super) time: StoreTime,
    pub(super) slack: Duration,
    pub(super) learning_until: StoreTime,
    /// The longest lease that a node has had in this epoch, and that one may have from before it, of which all are over when
    /// the learning is.
    pub(super) longest: Duration,
    pub(super) inherited: Duration,
    pub(super) settings: Arc<str>,
    /// While the store learns: the plan that whoever brought the settings had heard of.
    pub(super) settings_plan: u64,
    /// What the estimator of the last plan left for the next one; nothing here looks into it.
    pub(super) memory: Arc<Memory>,
    pub(super) pulse: Pulse,
    pub(super) revision: u64,
    pub(super) generation: u64,
    pub(super) stamp: u64,
    pub(super) version: u64,
    pub(super) limit: u32,
    pub(super) plan: u64,
    pub(super) nodes: u32,
    pub(super) hungry: bool,
    pub(super) token: u64,
    pub(super) token_ends: StoreTime,
    pub(super) committed: u64,
    pub(super) plan_due: StoreTime,
    pub(super) rest_ends: StoreTime,
    pub(super) dirty: bool,
    pub(super) in_a_row: u32,
    pub(super) records: BTreeMap<u64, Record>,
    /// The newest accepted incarnation of a name.
    pub(super) owners: BTreeMap<Arc<str>, u64>,
}

impl Epoch {
    /// A new epoch. What the old one knew of the limit goes on; what it knew of nodes does not.
    pub(super) fn begin(beat: &Beat, server: &str, trusted: bool, lost: Option<&Self>) -> Self {
        let inherited = lost.map_or(Duration::ZERO, Self::told_longest);
        let inherited = inherited.max(longest_of(beat));
        Self {
            epoch: beat.fresh_epoch,
            server: Arc::from(server),
            time: StoreTime::ZERO,
            slack: beat.settings.slack(),
            learning_until: if trusted {
                StoreTime::ZERO
            } else {
                StoreTime::ZERO.saturating_add(inherited)
            },
            longest: Duration::ZERO,
            inherited,
            settings: lost
                .map_or_else(|| Arc::clone(&beat.line), |lost| Arc::clone(&lost.settings)),
            settings_plan: lost.map_or(0, |lost| lost.plan),
            memory: Arc::default(),
            pulse: Pulse::default(),
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

    pub(super) const fn is_learning(&self) -> bool {
        self.time.as_micros() < self.learning_until.as_micros()
    }

    pub(super) fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(super) fn beat(&mut self, beat: &Beat) -> Answer {
        // Of the settings of one revision those with the longer history are the fleet's: a stranger may have been the
        // first to find the store empty.
        let knows_more = self.is_learning() && beat.plan > self.settings_plan;
        let revision = beat.settings.revision;
        if revision > self.revision || revision == self.revision && knows_more {
            self.revision = revision;
            self.settings = Arc::clone(&beat.line);
            self.settings_plan = beat.plan;
        } else if beat.line != self.settings && (revision == self.revision || self.is_joining(beat))
        {
            let welcome = Welcome::OtherSettings(Arc::clone(&self.settings));
            return self.answer(beat, welcome, false);
        }
        self.tell_time(beat);
        self.stamp += 1;
        let settings = &beat.settings;
        let lease = settings.reclaim() + settings.linger() + self.slack;
        self.longest = self.longest.max(lease);
        if self.is_learning() {
            self.inherited = self.inherited.max(longest_of(beat));
            let waits = StoreTime::ZERO.saturating_add(longest_of(beat));
            self.learning_until = self.learning_until.max(waits);
            if beat.plan > self.plan {
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

    /// Whether `beat` is of a node that has never been in. Who was in already stays over a higher revision, and what it
    /// claims after a loss must be held.
    fn is_joining(&self, beat: &Beat) -> bool {
        beat.epoch.is_none() && !self.records.contains_key(&beat.incarnation)
    }

    /// The longest lease that a node may have.
    pub(super) fn told_longest(&self) -> Duration {
        if self.is_learning() {
            self.longest.max(self.inherited)
        } else {
            self.longest
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
            pulse: self.pulse,
            longest: self.told_longest(),
            learning: between(self.time, self.learning_until),
            again_in: waits.then(|| between(self.time, self.rest_ends)),
            ticket,
        }
    }
}

/// The longest lease that whoever sent `beat` has heard of, its own included.
fn longest_of(beat: &Beat) -> Duration {
    beat.longest.max(beat.settings.lease())
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
