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
mod heard;
mod said;

use crate::fleet::message::{Grant, Report};
use crate::fleet::schedule::Schedule;
use crate::fleet::settings::{Outage, Settings};
use crate::time::{LocalTime, StoreTime};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
    /// The longest lease of any node, as far as the store has said.
    longest: Duration,
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
            longest: settings.lease(),
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
}
