//! The node's side of the protocol: when to beat, what to say, what to enforce. A plain struct: no clock, no I/O.
//!
//! ```text
//!            first answer            no answer for ttl - margin
//!  Joining ───────────────► Active ◄───────────────────────────► Fenced
//!     │                       │      answer to a later beat        │
//!     └───────────┬───────────┴────────────────────────────────────┘
//!          close  ▼                         name taken, other settings
//!              Closing ── in-flight 0 ──► Left          ──► Refused
//! ```
//!
//! Getters tell what to enforce; `handle_*` say what happened; `poll_*` say what is to be done and when to come
//! back. Extra calls do nothing.

#[cfg(all(test, feature = "fleet"))]
pub(crate) mod canonical;

use crate::fleet::message::{
    Answer, Beat, CommitAnswer, Grant, Mode, Push, Report, Ticket, Welcome,
};
use crate::fleet::schedule::Schedule;
use crate::fleet::settings::{Estimate, Outage, Settings};
use crate::time::{LocalTime, StoreTime};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// So many beats more, at most, after the store has let the node go.
const MAX_FAREWELLS: u8 = 3;
/// Epochs that were left and must not come back.
const REMEMBERED_EPOCHS: usize = 16;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Phase {
    Joining,
    Active,
    /// Since when.
    Fenced(LocalTime),
    Closing,
    Left,
    Refused,
}

/// Why the store does not want this node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Refusal {
    DuplicateName,
    /// The canonical line of the key's settings.
    OtherSettings(Arc<str>),
}

/// What the shell should tell the world.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// The first grant of this life, or the first after a fence.
    Granted,
    /// The lease ran out: work in progress should stop.
    Fenced,
    /// A new epoch: the store has lost what it knew.
    NewEpoch,
    /// The store records claims and grants nothing for this long.
    Learning(Duration),
    Refused(Refusal),
    Left,
}

/// What the gate said in one instant, and what is to be reported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sample {
    pub(crate) in_flight: u32,
    pub(crate) report: Report,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Member {
    name: Arc<str>,
    incarnation: u64,
    settings: Arc<Settings>,
    line: Arc<str>,
    phase: Phase,
    sequence: u64,
    /// Answers to beats up to this one are dropped: sent before the last fence.
    barrier: u64,
    schedule: Schedule,
    /// The last beat said that nothing is in flight.
    idle: bool,
    /// The last beat said that there is nothing to do: the last slot may be lent.
    lends: bool,
    epoch: Option<u64>,
    left_epochs: VecDeque<u64>,
    /// The store of this epoch holds no more for this node than it has: nothing that a late beat has claimed.
    confirmed: bool,
    grant: Grant,
    target: u32,
    limit: u32,
    plan: u64,
    nodes: u32,
    stamp: u64,
    lease_ends: LocalTime,
    /// Its end was told.
    lease_over: bool,
    /// An answered store time, and when it arrived: see [`Self::anchor_to`].
    anchor: Option<(StoreTime, LocalTime)>,
    starved: bool,
    granted: bool,
    learning: bool,
    farewells: u8,
}

impl Member {
    /// A node that is about to join. `incarnation` is random and new for every life; `now` is when it starts.
    pub(crate) fn new(
        name: Arc<str>,
        incarnation: u64,
        settings: Settings,
        now: LocalTime,
    ) -> Self {
        Self {
            name,
            incarnation,
            line: Arc::from(settings.to_string()),
            schedule: Schedule::new(settings.heartbeat, incarnation, now),
            settings: Arc::new(settings),
            phase: Phase::Joining,
            sequence: 0,
            barrier: 0,
            idle: false,
            lends: false,
            epoch: None,
            left_epochs: VecDeque::new(),
            confirmed: true,
            grant: Grant::default(),
            target: 0,
            limit: 0,
            plan: 0,
            nodes: 0,
            stamp: 0,
            lease_ends: LocalTime::ZERO,
            lease_over: true,
            anchor: None,
            starved: false,
            granted: false,
            learning: false,
            farewells: 0,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// The most that may be in flight now by the store's leave. `LocalOnly` is not by its leave.
    pub(crate) fn ceiling(&self) -> u32 {
        match self.phase {
            Phase::Active => self.grant.share,
            Phase::Fenced(_) => self.grant.share,
            Phase::Joining | Phase::Closing | Phase::Left | Phase::Refused => 0,
        }
    }

    /// From when on nothing may be admitted under [`Self::ceiling`].
    pub(crate) fn fence_at(&self) -> LocalTime {
        match (self.phase, self.settings.outage) {
            // What runs while the node closes runs under its last lease.
            (Phase::Active | Phase::Closing, _) => self.lease_ends,
            (Phase::Fenced(since), Outage::SafeShare { hold, .. }) => since.saturating_add(hold),
            _ => LocalTime::ZERO,
        }
    }

    /// Whether the local estimator alone decides until the store answers again.
    pub(crate) fn is_on_its_own(&self) -> bool {
        self.settings.outage == Outage::LocalOnly && matches!(self.phase, Phase::Fenced(_))
    }

    /// Whether refusals deserve an early beat.
    pub(crate) fn is_hungry(&self) -> bool {
        let lent = self.lends && self.grant.share == 0;
        self.phase == Phase::Active && (self.grant.share < self.target || lent)
    }

    /// Whether single slots go round.
    pub(crate) const fn is_round_robin(&self) -> bool {
        self.limit < self.nodes
    }

    /// Whether the store only records claims.
    pub(crate) const fn is_learning(&self) -> bool {
        self.learning
    }

    /// The sequence number of the beat whose answer is awaited.
    pub(crate) fn awaited(&self) -> Option<u64> {
        self.schedule.awaited()
    }

    pub(crate) const fn target(&self) -> u32 {
        self.target
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn nodes(&self) -> u32 {
        self.nodes
    }

    pub(crate) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When to come back.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> LocalTime {
        let fence = match (self.phase, self.settings.outage) {
            (Phase::Active, _) => self.lease_ends,
            (Phase::Closing, _) if !self.lease_over => self.lease_ends,
            (Phase::Fenced(since), Outage::SafeShare { hold, .. }) if self.grant.share > 0 => {
                since.saturating_add(hold)
            }
            _ => LocalTime::NEVER,
        };
        let beat = match self.phase {
            Phase::Left | Phase::Refused => LocalTime::NEVER,
            Phase::Joining | Phase::Active | Phase::Fenced(_) | Phase::Closing => {
                self.schedule.poll_timeout()
            }
        };
        fence.min(beat)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: LocalTime) -> Option<Event> {
        if self.schedule.is_late(now) {
            self.handle_failure(now);
        }
        match (self.phase, self.settings.outage) {
            (Phase::Active, outage) if now >= self.lease_ends => {
                self.phase = Phase::Fenced(self.lease_ends);
                self.lease_over = true;
                self.barrier = self.sequence;
                self.granted = false;
                self.grant.share = match outage {
                    Outage::SafeShare { .. } => self.grant.safe.min(self.grant.share),
                    Outage::FailClosed | Outage::LocalOnly | Outage::Frozen { .. } => 0,
                };
                self.schedule.beat_soon();
                Some(Event::Fenced)
            }
            (Phase::Fenced(since), Outage::SafeShare { hold, .. })
                if self.grant.share > 0 && now >= since.saturating_add(hold) =>
            {
                self.grant.share = 0;
                Some(Event::Fenced)
            }
            (Phase::Closing, _) if !self.lease_over && now >= self.lease_ends => {
                self.lease_over = true;
                self.barrier = self.sequence;
                Some(Event::Fenced)
            }
            _ => None,
        }
    }

    /// The beat to send now, if any. `sample` was taken after the last change of [`Self::ceiling`] was enforced.
    #[must_use]
    pub(crate) fn poll_beat(
        &mut self,
        now: LocalTime,
        sample: impl FnOnce() -> Sample,
        fresh_epoch: u64,
    ) -> Option<Beat> {
        let mode = match self.phase {
            Phase::Joining | Phase::Active => Mode::Running,
            Phase::Fenced(_) => Mode::Fenced,
            Phase::Closing => Mode::Closing,
            Phase::Left | Phase::Refused => return None,
        };
        if !self.schedule.is_due(now) {
            return None;
        }
        let sample = sample();
        self.sequence += 1;
        self.schedule.handle_sent(now, self.sequence);
        self.idle = sample.in_flight == 0;
        self.lends = sample.report.demand == 0;
        let told = self.anchor.map(|(answered, arrived)| {
            answered.saturating_add(now.since(arrived).min(self.settings.slack()))
        });
        Some(Beat {
            name: Arc::clone(&self.name),
            incarnation: self.incarnation,
            sequence: self.sequence,
            epoch: self.epoch,
            fresh_epoch,
            store_time: told,
            echo: self.stamp,
            generation: self.grant.generation,
            share: self.ceiling(),
            in_flight: sample.in_flight,
            mode,
            starved: std::mem::take(&mut self.starved),
            limit: self.limit,
            plan: self.plan,
            report: sample.report,
            settings: Arc::clone(&self.settings),
            line: Arc::clone(&self.line),
        })
    }

    /// The beat that is out did not come back. It may have happened.
    pub(crate) fn handle_failure(&mut self, now: LocalTime) {
        let soon = matches!(self.phase, Phase::Active | Phase::Fenced(_)).then(|| self.retry());
        let was_out = self.schedule.handle_failure(now, soon);
        if was_out && self.phase == Phase::Closing && self.idle && self.lease_over {
            // Nothing runs and nothing is lent: the record ends by itself.
            self.phase = Phase::Left;
        }
    }

    /// An answer arrived. Late ones, and those to beats from before a fence, change nothing.
    pub(crate) fn handle_answer(
        &mut self,
        now: LocalTime,
        answer: Answer,
    ) -> (Vec<Event>, Option<Box<Ticket>>) {
        let mut events: Vec<Event> = self.handle_timeout(now).into_iter().collect();
        let pace = self.pace();
        let Some(sent) = self.schedule.handle_answer(now, answer.sequence, pace) else {
            return (events, None);
        };
        match &answer.welcome {
            Welcome::Member => {}
            // What this node gave back is not dealt yet: ask once more, else the others wait for a heartbeat.
            Welcome::Gone if answer.again_in.is_some() && self.farewells < MAX_FAREWELLS => {
                self.farewells += 1;
                self.schedule
                    .beat_after(now, answer.again_in.unwrap_or_default());
                return (events, answer.ticket);
            }
            Welcome::Gone => {
                self.phase = Phase::Left;
                events.push(Event::Left);
                return (events, answer.ticket);
            }
            Welcome::DuplicateName => {
                return (self.refuse(events, Refusal::DuplicateName), None);
            }
            Welcome::OtherSettings(line) => {
                return (
                    self.refuse(events, Refusal::OtherSettings(Arc::clone(line))),
                    None,
                );
            }
        }
        if answer.sequence <= self.barrier || self.left_epochs.contains(&answer.epoch) {
            return (events, None);
        }
        let before = self.grant.share;
        if self.epoch == Some(answer.epoch) {
            if answer.grant.generation > self.grant.generation {
                self.grant = if self.confirmed {
                    answer.grant
                } else {
                    self.lower(answer.grant)
                };
            } else if answer.grant.generation == self.grant.generation {
                // The beat that is answered has acknowledged it, and told what this node has.
                self.confirmed = true;
            }
        } else {
            self.grant = self.lower(answer.grant);
            self.anchor = None;
            if let Some(left) = self.epoch.replace(answer.epoch) {
                events.push(Event::NewEpoch);
                self.left_epochs.push_back(left);
                if self.left_epochs.len() > REMEMBERED_EPOCHS {
                    self.left_epochs.pop_front();
                }
                self.confirmed = false;
            }
        }
        self.stamp = answer.stamp;
        self.anchor_to(answer.store_time, now);
        self.lease_ends = self.lease_from(sent);
        self.lease_over = self.lease_ends <= now;
        if matches!(self.phase, Phase::Joining | Phase::Fenced(_)) && self.lease_ends > now {
            self.phase = Phase::Active;
        }
        self.learn(answer.target, answer.limit, answer.plan, answer.nodes);
        if answer.learning > Duration::ZERO {
            if !self.learning {
                events.push(Event::Learning(answer.learning));
            }
            // Come back when it is over, not a heartbeat later.
            self.schedule.beat_within(now, answer.learning);
        }
        self.learning = answer.learning > Duration::ZERO;
        if let Some(wait) = answer.again_in {
            self.schedule.beat_within(now, wait);
        }
        self.settle(before, &mut events);
        (events, answer.ticket)
    }

    /// The store took this node's plan, or not.
    pub(crate) fn handle_commit(&mut self, now: LocalTime, answer: &CommitAnswer) -> Vec<Event> {
        let events = self.handle_push(
            now,
            Push {
                epoch: answer.epoch,
                grant: answer.grant,
                target: answer.target,
            },
        );
        if self.phase == Phase::Active
            && self.epoch == Some(answer.epoch)
            && answer.plan > self.plan
        {
            self.learn(answer.target, answer.limit, answer.plan, answer.nodes);
        }
        events
    }

    /// A grant was changed. Only a newer one of the same epoch counts, and no lease is renewed.
    pub(crate) fn handle_push(&mut self, now: LocalTime, push: Push) -> Vec<Event> {
        let mut events: Vec<Event> = self.handle_timeout(now).into_iter().collect();
        let newer = self.epoch == Some(push.epoch) && push.grant.generation > self.grant.generation;
        if newer && self.confirmed && self.phase == Phase::Active {
            let before = self.grant.share;
            self.grant = push.grant;
            self.target = push.target;
            self.settle(before, &mut events);
        }
        events
    }

    /// Requests were refused while the share was below the target, or while the last slot was lent.
    pub(crate) fn handle_starved(&mut self) {
        if self.is_hungry() {
            self.starved = true;
            if self.grant.share < self.target {
                self.schedule.beat_soon();
            } else {
                // All whose slots are lent may be asked at once.
                self.schedule.beat_among(self.nodes);
            }
        }
    }

    /// In-flight fell while above the share: somebody may be waiting for what came free.
    pub(crate) fn handle_drained(&mut self) {
        if matches!(
            self.phase,
            Phase::Active | Phase::Fenced(_) | Phase::Closing
        ) {
            self.schedule.beat_soon();
        }
    }

    /// Beat now, if none is out.
    pub(crate) fn beat_now(&mut self, now: LocalTime) {
        self.schedule.beat_by(now);
    }

    /// Admit nothing more; leave when everything has drained.
    pub(crate) fn close(&mut self, now: LocalTime) {
        match self.phase {
            Phase::Active | Phase::Fenced(_) => {
                self.phase = Phase::Closing;
                self.grant.share = 0;
                self.beat_now(now);
            }
            // Nothing was ever granted: there is nothing to give back. A beat that is out expires as a record.
            Phase::Joining if self.sequence == 0 => self.phase = Phase::Left,
            Phase::Joining => {
                self.phase = Phase::Closing;
                self.beat_now(now);
            }
            Phase::Closing | Phase::Left | Phase::Refused => {}
        }
    }

    /// From which answer on the store's time is told (I11). Any of this epoch is right: it left the store at that time, and
    /// what passes here until a beat is sent has passed there before it comes. The last one is short of everything that
    /// was spent on the way since an earlier one: where a round trip is as long as the pause between two beats, no time
    /// would ever pass by it. So one is kept, as long as it is the better one, until it is two heartbeats old; nothing
    /// told by an older one counts.
    fn anchor_to(&mut self, answered: StoreTime, now: LocalTime) {
        let is_better = |(told, arrived): &(StoreTime, LocalTime)| {
            let age = now.since(*arrived);
            age < self.settings.slack() && told.saturating_add(age) > answered
        };
        let kept = self.anchor.filter(is_better);
        self.anchor = kept.or(Some((answered, now)));
    }

    fn refuse(&mut self, mut events: Vec<Event>, refusal: Refusal) -> Vec<Event> {
        self.phase = Phase::Refused;
        self.grant.share = 0;
        events.push(Event::Refused(refusal));
        events
    }

    /// `grant`, but nothing that this node does not have: the share the store knows of, and what a plan has made of
    /// it, may come from the claim of a delayed beat (I9).
    fn lower(&self, grant: Grant) -> Grant {
        Grant {
            generation: grant.generation,
            share: self.grant.share.min(grant.share),
            safe: self.grant.safe.min(grant.safe),
        }
    }

    fn learn(&mut self, target: u32, limit: u32, plan: u64, nodes: u32) {
        (self.target, self.limit, self.plan, self.nodes) = (target, limit, plan, nodes);
    }

    /// A grant was applied: tell the world of a first one, the store of a lower one.
    fn settle(&mut self, before: u32, events: &mut Vec<Event>) {
        if self.phase == Phase::Closing {
            self.grant.share = 0;
            return;
        }
        if self.grant.share < before {
            self.schedule.beat_soon();
        }
        if self.phase == Phase::Active && self.grant.share > 0 && !self.granted {
            self.granted = true;
            events.push(Event::Granted);
        }
    }

    /// Counted from when the beat was sent, on this node's own clock (I11).
    fn lease_from(&self, sent: LocalTime) -> LocalTime {
        let frozen = match self.settings.outage {
            Outage::Frozen { hold } => hold,
            Outage::FailClosed | Outage::LocalOnly | Outage::SafeShare { .. } => Duration::ZERO,
        };
        sent.saturating_add(self.settings.ttl - self.settings.margin + frozen)
    }

    /// How soon a beat that did not come back is worth another, while a lease, or the end of a fence, hangs on it: four
    /// times a heartbeat, in large fleets less often, so that a key gets at most 10 000 beats a second for it.
    fn retry(&self) -> Duration {
        (Duration::from_micros(100) * self.nodes).max(self.settings.heartbeat / 4)
    }

    /// The heartbeat, stretched for large fleets so that a key gets at most 10 000 beats a second, but never so far
    /// that fewer than three fit a lease.
    ///
    /// The fleet's estimator learns from reports alone: while there is work for it to measure, a node reports up to
    /// four times a heartbeat, in large fleets less often, so that a key gets at most 4 000 beats a second for it.
    fn pace(&self) -> Duration {
        let heartbeat = self.settings.heartbeat;
        if self.settings.estimate == Estimate::Fleet && !self.idle {
            let measuring = Duration::from_micros(250) * self.nodes;
            if measuring < heartbeat {
                return measuring.max(heartbeat / 4);
            }
        }
        let lease = self.settings.ttl - self.settings.margin;
        (Duration::from_micros(100) * self.nodes)
            .min(lease / 3)
            .max(heartbeat)
    }
}
