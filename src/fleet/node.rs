//! One node of a fleet: its member of the protocol and the gate it moves. A plain struct: no I/O, no task, no log.
//!
//! The member decides what may be used; the node makes the gate enforce it, reports what the gate counted, cancels
//! what a fence outlived and plans when it is handed the token. Whoever drives it sends what `poll_beat` and the
//! commits say, hands in what comes back, calls `handle_timeout` when `poll_timeout` is over, tells the world the events
//! and then calls `cancel`. Extra calls do nothing. After every `handle_*` the gate enforces what the member may use.

use crate::fleet::key_state::TOKEN_LIFE;
use crate::fleet::member::{Event, Member, Phase};
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Pulse, Push, Ticket};
use crate::fleet::plan::plan;
use crate::fleet::reporter::{Idle, Reporter};
use crate::fleet::reserve::reserves;
use crate::fleet::settings::Settings;
use crate::permit::{Gate, Signals, Status};
use crate::time::LocalTime;
use std::sync::Arc;
use std::time::Duration;

/// Who is asked seldom keeps its slot for up to so many leases without work, before it is lent; while there are fewer
/// slots than nodes, for one.
const IDLE: u32 = 5;

#[derive(Debug)]
pub(crate) struct Node {
    member: Member,
    gate: Arc<Gate>,
    reporter: Reporter,
    /// Has had a grant in this life.
    granted: bool,
    /// What the last lease outlived is yet to be cancelled.
    cancels: bool,
    /// When what the last fence cancelled has surely ended at the backend.
    grace_ends: LocalTime,
}

impl Node {
    /// A node that is about to join; nobody else moves `gate`.
    pub(crate) fn new(member: Member, weight: u32, gate: Arc<Gate>) -> Self {
        Self {
            member,
            gate,
            reporter: Reporter::new(weight),
            granted: false,
            cancels: false,
            grace_ends: LocalTime::NEVER,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.member.phase()
    }

    /// Nothing more is to be done: it has left, or it is not welcome.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.member.phase(), Phase::Left | Phase::Refused)
    }

    /// What the gate may have in flight, by the store's leave or by the local estimator's.
    pub(crate) fn ceiling(&self) -> u32 {
        if self.member.is_on_its_own() {
            self.gate.local_limit()
        } else {
            self.reporter.brake.part_of(self.member.ceiling())
        }
    }

    /// The part of its share that the node admits.
    pub(crate) fn brake(&self) -> f64 {
        self.reporter.brake.part()
    }

    /// What the whole fleet measured last.
    pub(crate) const fn fleet(&self) -> Pulse {
        self.reporter.fleet
    }

    pub(crate) const fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// How long the answer to a commit is worth waiting for: by then another node may plan.
    pub(crate) fn commit_timeout(&self) -> Duration {
        TOKEN_LIFE.max(self.settings().heartbeat / 2)
    }

    fn settings(&self) -> &Settings {
        self.member.settings()
    }

    /// When to come back.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> LocalTime {
        if self.cancels {
            return LocalTime::ZERO;
        }
        self.member.poll_timeout().min(self.grace_ends)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: LocalTime) -> Vec<Event> {
        self.cancel();
        let events: Vec<Event> = self.member.handle_timeout(now).into_iter().collect();
        self.settle(now, &events);
        if now >= self.grace_ends {
            self.grace_ends = LocalTime::NEVER;
            self.gate.end_grace();
            self.member.handle_drained();
        }
        events
    }

    /// The beat to send now, if any. An epoch that begins with it is called `fresh_epoch`, which is random.
    #[must_use]
    pub(crate) fn poll_beat(&mut self, now: LocalTime, fresh_epoch: u64) -> Option<Beat> {
        self.cancel();
        let ttl = self.settings().ttl;
        // Who has not had its first slot waits for it, as `ready()` may.
        let idle = self.granted.then_some(Idle {
            long: ttl,
            longest: if self.member.is_round_robin() {
                ttl
            } else {
                IDLE * ttl
            },
        });
        let (gate, reporter) = (&self.gate, &mut self.reporter);
        let sample = || reporter.sample(gate, idle, now);
        let beat = self.member.poll_beat(now, sample, fresh_epoch);
        if beat.is_some() {
            // What each class wants was looked at for it.
            self.reserve();
        }
        beat
    }

    /// The beat that is out did not come back.
    pub(crate) fn handle_failure(&mut self, now: LocalTime) {
        self.member.handle_failure(now);
        self.enforce();
    }

    /// A beat was answered; there may be a plan to commit.
    #[must_use]
    pub(crate) fn handle_answer(
        &mut self,
        now: LocalTime,
        answer: Answer,
    ) -> (Vec<Event>, Option<Commit>) {
        self.cancel();
        if self.member.awaited() == Some(answer.sequence) {
            self.reporter
                .handle_answer(now, &self.gate, answer.nodes, answer.pulse);
        }
        let (events, ticket) = self.member.handle_answer(now, answer);
        self.settle(now, &events);
        (events, self.plan(ticket))
    }

    /// A commit was answered; there may be another plan to commit.
    #[must_use]
    pub(crate) fn handle_commit(
        &mut self,
        now: LocalTime,
        answer: CommitAnswer,
    ) -> (Vec<Event>, Option<Commit>) {
        self.cancel();
        let events = self.member.handle_commit(now, &answer);
        self.settle(now, &events);
        (events, self.plan(answer.ticket))
    }

    /// The store changed a grant.
    pub(crate) fn handle_push(&mut self, now: LocalTime, push: Push) -> Vec<Event> {
        self.cancel();
        let events = self.member.handle_push(now, push);
        self.settle(now, &events);
        events
    }

    /// The request path has news: what the gate's `poll_signals` answered.
    pub(crate) fn handle_signals(&mut self, signals: Signals) {
        if signals.starved {
            self.member.handle_starved();
        }
        if signals.drained {
            self.member.handle_drained();
        }
    }

    /// Beat now, if none is out.
    pub(crate) fn beat_now(&mut self, now: LocalTime) {
        self.member.beat_now(now);
    }

    /// Admit nothing more; leave when everything has drained.
    pub(crate) fn close(&mut self, now: LocalTime) {
        self.member.close(now);
        self.enforce();
    }

    /// Cancels what outlived the lease, after an event that says so. Whoever it wakes asks what has happened, so this
    /// is for when that was told; all other calls begin with it.
    pub(crate) fn cancel(&mut self) {
        if std::mem::take(&mut self.cancels) {
            self.gate.end_period();
            // The grace begins now: the process may have slept since the caller read the clock.
            let cancelled = self.gate.clock().now();
            self.grace_ends = cancelled.saturating_add(self.settings().drain);
        }
    }

    /// Nobody drives the node any more: nothing is admitted, and what still runs is told to stop.
    pub(crate) fn end(&mut self) {
        self.cancel();
        self.enforce();
        if !self.is_over() {
            self.gate.set_status(Status::Closed);
            self.gate.set_ceiling(0);
            self.gate.end_period();
        }
        self.gate.end_grace();
    }

    fn plan(&self, ticket: Option<Box<Ticket>>) -> Option<Commit> {
        plan(&*ticket?, self.member.incarnation())
    }

    /// Does to the gate what `events` mean for it.
    fn settle(&mut self, now: LocalTime, events: &[Event]) {
        if events.contains(&Event::Granted) {
            self.granted = true;
            // However long it waited for it: who is ready now is asked from now on.
            self.reporter.demand.begin(now);
        }
        if events.contains(&Event::Fenced) && self.member.is_on_its_own() {
            // The estimator could not see what a share holds back. What the fleet allowed last is what is known.
            self.gate.begin_local_at(self.gate.sample().0);
        }
        self.enforce();
        for event in events {
            match event {
                Event::Fenced if self.member.is_on_its_own() => {}
                // A refused node's record ends with its lease; what it still runs must end too.
                Event::Fenced | Event::Refused(_) => self.cancels = true,
                Event::Granted | Event::NewEpoch | Event::Learning(_) | Event::Left => {}
            }
        }
    }

    /// Lets each class leave to the more critical what these need by the last look at the demand.
    fn reserve(&self) {
        let reserves = reserves(self.ceiling(), self.reporter.demand.ranked());
        self.gate.set_reserves(reserves);
    }

    /// Makes the gate enforce what the member may use. Before every beat, so that what is acknowledged is true.
    fn enforce(&self) {
        let own = self.member.is_on_its_own();
        let status = match self.member.phase() {
            Phase::Joining => Status::Cold,
            Phase::Fenced(_) if !own && self.member.ceiling() == 0 => Status::Fenced,
            Phase::Active if self.member.ceiling() == 0 && !self.granted => Status::Cold,
            Phase::Active | Phase::Fenced(_) => Status::Open,
            Phase::Closing | Phase::Left | Phase::Refused => Status::Closed,
        };
        if self.gate.status() != status {
            self.gate.set_status(status);
        }
        self.gate.set_estimator_rules(own);
        self.gate.set_fence_at(if own {
            LocalTime::NEVER
        } else {
            self.member.fence_at()
        });
        let ceiling = self.ceiling();
        if self.gate.sample().0 != ceiling {
            self.gate.set_ceiling(ceiling);
        }
        self.gate.set_hungry(self.member.is_hungry());
        self.reserve();
    }
}

#[cfg(test)]
mod tests;
