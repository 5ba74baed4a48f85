//! Watches the promises of the fleet guard while it runs: I1, I2, I3, I4 and I11, on what really runs. I10 is watched in
//! `reclaim`.

use crate::engine::{MS, Nanos};
use std::collections::{HashMap, VecDeque};
use tidegate::fleet::sim::Store;

/// Where nobody is refused for so long, nobody wants more than there is.
const PAUSE: Nanos = 20 * MS;

#[derive(Debug)]
pub(super) struct Audit {
    /// I2 is promised.
    keeps_in_flight: bool,
    /// What was let in before a fence or a crash is promised to be counted for so long after it.
    drain: Nanos,
    /// Requests that run and are promised to be counted: those of all watches, but for what outlasted a drain.
    running: u64,
    watches: HashMap<u64, Watch>,
    last_watch: u64,
    /// Processes that go by their own estimators, as `LocalOnly` wants it of who has no lease: I1 and I2 are given up,
    alone: u32,
    /// and until then, when what was admitted meanwhile has drained.
    given_up: Nanos,
    /// Watches that were cut off, and when their drain is over; in this order.
    draining: VecDeque<(Nanos, u64)>,
    /// What may be in flight: the limit, or what was reserved when it fell (I3).
    allowed: u64,
    /// Of the last plan.
    limit: u64,
    /// The store lost something: sums may be higher until it has planned again, in another epoch than this.
    disturbed: Option<Option<u64>>,
    /// By what part the fastest of the nodes' clocks runs too fast; none, if all are slow.
    drift: f64,
    /// The epoch, and the least of store time minus what the fastest clock has passed in it, in nanoseconds.
    behind: Option<(u64, f64)>,
    /// Slots of the limit are nobody's, and nobody has to drain first.
    is_free: bool,
    /// While they are: since when somebody is refused, and when that was the last time.
    wanting: Option<(Nanos, Nanos)>,
    /// The longest of these, after the warm-up (I5).
    wanted: Nanos,
    warmup: Nanos,
    violations: u64,
}

/// The requests that a process let in between two fences.
#[derive(Debug, Default)]
struct Watch {
    running: u64,
    /// Its drain is over: what runs on is not promised to be counted.
    is_excused: bool,
}

impl Audit {
    pub(super) fn new(keeps_in_flight: bool, drain: Nanos, drift: f64, warmup: Nanos) -> Self {
        Self {
            keeps_in_flight,
            drain,
            drift: drift.max(0.0),
            running: 0,
            watches: HashMap::new(),
            last_watch: 0,
            alone: 0,
            given_up: 0,
            draining: VecDeque::new(),
            allowed: 0,
            limit: 0,
            disturbed: None,
            behind: None,
            is_free: false,
            wanting: None,
            wanted: 0,
            warmup,
            violations: 0,
        }
    }

    pub(super) const fn violations(&self) -> u64 {
        self.violations
    }

    /// A process begins to let requests in.
    pub(super) fn watch(&mut self) -> u64 {
        self.last_watch += 1;
        self.watches.insert(self.last_watch, Watch::default());
        self.last_watch
    }

    /// The process of this watch was fenced, or died.
    pub(super) fn cut_off(&mut self, watch: u64, now: Nanos) {
        if self.watches.contains_key(&watch) {
            self.draining.push_back((now + self.drain, watch));
        }
    }

    /// A process has no lease and goes by its own estimator.
    pub(super) const fn went_alone(&mut self) {
        self.alone += 1;
    }

    /// It has a lease again, or lets nobody in any more. What it let in alone has a drain to end, as `watch` is over.
    pub(super) fn came_back(&mut self, watch: &mut u64, now: Nanos) {
        self.alone -= 1;
        self.given_up = now + self.drain;
        self.cut_off(*watch, now);
        *watch = self.watch();
    }

    /// I1 and I2 are promised.
    const fn keeps_limit(&self, now: Nanos) -> bool {
        self.alone == 0 && now >= self.given_up
    }

    /// Excuses what runs on after its drain.
    fn pass(&mut self, now: Nanos) {
        while let Some((until, watch)) = self.draining.front().copied() {
            if until > now {
                return;
            }
            self.draining.pop_front();
            if let Some(watching) = self.watches.get_mut(&watch) {
                watching.is_excused = true;
                self.running -= watching.running;
                if watching.running == 0 {
                    self.watches.remove(&watch);
                }
            }
        }
    }

    /// A request runs that did not.
    pub(super) fn started(&mut self, watch: u64, now: Nanos) {
        self.pass(now);
        let watching = self.watches.entry(watch).or_default();
        watching.running += 1;
        self.running += 1;
        if self.keeps_in_flight && self.keeps_limit(now) && self.running > self.allowed {
            self.broken("I2", self.running, self.allowed);
        }
    }

    /// A request does not run any more.
    pub(super) fn ended(&mut self, watch: u64) {
        let Some(watching) = self.watches.get_mut(&watch) else {
            return;
        };
        watching.running -= 1;
        if !watching.is_excused {
            self.running -= 1;
        } else if watching.running == 0 {
            self.watches.remove(&watch);
        }
    }

    /// Somebody was refused, or has to wait.
    pub(super) fn refused(&mut self, now: Nanos) {
        if !self.is_free || now < self.warmup {
            return;
        }
        let since = match self.wanting {
            Some((since, last)) if now - last < PAUSE => since,
            _ => now,
        };
        self.wanting = Some((since, now));
        self.wanted = self.wanted.max(now - since);
    }

    /// The longest that somebody was refused, again and again, while slots were nobody's.
    pub(super) const fn wanted(&self) -> Nanos {
        self.wanted
    }

    /// The store lost something in `epoch`, or everything.
    pub(super) const fn disturbed(&mut self, epoch: Option<u64>) {
        self.disturbed = Some(epoch);
    }

    /// A plan for `limit` was committed when `reserved` was.
    pub(super) fn planned(&mut self, limit: u32, reserved: u64) {
        self.limit = u64::from(limit);
        // Also after the store was disturbed: what is claimed then is no more than what was allowed before.
        self.allowed = self.allowed.min(reserved).max(u64::from(limit));
    }

    /// The store has taken a step.
    pub(super) fn check_store(&mut self, now: Nanos, store: &Store, slack_us: u64) {
        self.pass(now);
        let Some((epoch, time_us)) = store.time() else {
            return;
        };
        if self
            .disturbed
            .is_some_and(|lost| store.has_planned() && lost != Some(epoch))
        {
            self.disturbed = None;
        }
        let (shares, reserved) = store.committed();
        self.is_free = store.has_planned() && reserved < self.limit;
        if !self.is_free {
            self.wanting = None;
        }
        if self.disturbed.is_none() && self.keeps_limit(now) {
            if shares > self.allowed {
                self.broken("I1", shares, self.allowed);
            }
            if self.keeps_in_flight && self.running > reserved {
                self.broken("I2", self.running, reserved);
            }
        }
        self.check_time(now, epoch, time_us, slack_us);
    }

    /// I11: between any two moments store time gains at most what has passed by the fastest of the clocks that measured
    /// it, and one slack.
    fn check_time(&mut self, now: Nanos, epoch: u64, time_us: u64, slack_us: u64) {
        let ahead = time_us as f64 * 1e3 - now as f64 * (1.0 + self.drift);
        let least = match self.behind {
            Some((known, least)) if known == epoch => least.min(ahead),
            _ => ahead,
        };
        self.behind = Some((epoch, least));
        let gained_us = ((ahead - least) / 1e3).floor() as u64;
        // Store time is told in whole microseconds.
        if gained_us > slack_us + 1 {
            self.broken("I11", gained_us, slack_us);
        }
    }

    /// I4: a process's gate counts what runs, and perhaps some of those in its queue, who were handed a slot and have not
    /// come for it; within the grace after a fence also what was cancelled.
    pub(super) fn check_slots(&mut self, counted: u32, running: u32, queued: u32, grace: bool) {
        if counted < running || !grace && counted > running + queued {
            self.broken("I4", u64::from(counted), u64::from(running));
        }
    }

    pub(super) fn broken(&mut self, promise: &str, found: u64, allowed: u64) {
        if self.violations == 0 {
            eprintln!("{promise} is broken: {found} where {allowed} is allowed");
        }
        self.violations += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    fn audit(limit: u32) -> Audit {
        let mut audit = Audit::new(true, SECOND, 0.0, 0);
        audit.planned(limit, 0);
        audit
    }

    #[test]
    fn what_a_dead_process_left_behind_is_in_flight_until_it_ends() {
        let mut audit = audit(2);
        let (dead, other) = (audit.watch(), audit.watch());
        audit.started(dead, 0);
        audit.started(dead, 0);
        audit.cut_off(dead, 10);
        audit.started(other, 20);
        assert_eq!(audit.violations(), 1, "three on two");
        audit.ended(dead);
        audit.ended(dead);
        audit.started(other, 30);
        assert_eq!(audit.violations(), 1, "the backend is done with the dead");
    }

    #[test]
    fn what_runs_for_longer_than_the_drain_is_not_promised() {
        let mut audit = audit(1);
        let watch = audit.watch();
        audit.started(watch, 0);
        audit.cut_off(watch, 10);
        let next = audit.watch();
        audit.started(next, SECOND + 10);
        assert_eq!(audit.violations(), 0);
        // Its end frees nothing that is counted.
        audit.ended(watch);
        audit.started(next, SECOND + 20);
        assert_eq!(audit.violations(), 1);
    }

    #[test]
    fn what_local_only_gives_up_is_not_counted_and_what_is_before_and_after_is() {
        let mut audit = audit(2);
        let (mut lone, other) = (audit.watch(), audit.watch());
        let one_too_many = |audit: &mut Audit, watch, now| {
            audit.started(watch, now);
            audit.ended(watch);
            audit.violations()
        };
        audit.started(other, 0);
        audit.started(other, 0);
        assert_eq!(one_too_many(&mut audit, other, 5), 1, "before the outage");
        audit.went_alone();
        audit.started(lone, 10);
        audit.started(lone, 10);
        assert_eq!(one_too_many(&mut audit, other, 20), 1, "in the outage");
        let alone = lone;
        audit.came_back(&mut lone, 30);
        let drained = 30 + SECOND;
        assert_eq!(one_too_many(&mut audit, lone, drained - 1), 1, "it drains");
        assert_eq!(one_too_many(&mut audit, lone, drained), 2, "after it");
        // What it let in alone, and still runs, is not counted.
        audit.ended(other);
        assert_eq!(one_too_many(&mut audit, lone, drained), 2);
        audit.ended(alone);
        audit.started(lone, drained);
        assert_eq!(one_too_many(&mut audit, lone, drained), 3);
    }

    #[test]
    fn free_slots_are_wanted_for_as_long_as_somebody_is_refused_meanwhile() {
        let mut audit = Audit::new(true, SECOND, 0.0, 10 * MS);
        audit.is_free = true;
        audit.refused(9 * MS);
        for at in [11, 25, 40] {
            audit.refused(at * MS);
        }
        assert_eq!(audit.wanted(), 29 * MS);
        // Nobody wanted any for a while.
        for at in [60, 70] {
            audit.refused(at * MS);
        }
        assert_eq!(audit.wanted(), 29 * MS);
        // Nor is anything missing where no slot is free.
        audit.is_free = false;
        for at in 71..200 {
            audit.refused(at * MS);
        }
        assert_eq!(audit.wanted(), 29 * MS);
    }

    /// What the fastest clock has passed since any moment, and the slack.
    #[test]
    fn store_time_gains_no_more_than_the_fastest_clock_and_one_slack() {
        const SLACK_US: u64 = 1_000_000;
        for (drift, passed_us, broken) in [
            (0.0, 60_000_000, 0),
            (0.0, 61_000_000, 0),
            (0.0, 61_000_010, 1),
            // A store clock that runs 9 % fast.
            (0.0, 65_400_000, 1),
            (0.09, 65_400_000, 0),
            (0.09, 66_400_000, 0),
            (0.09, 66_400_010, 1),
            // Slow clocks allow nothing.
            (-0.1, 61_000_010, 1),
        ] {
            let mut audit = Audit::new(true, SECOND, drift, 0);
            // Began with whatever the first beat said.
            audit.check_time(0, 7, 500, SLACK_US);
            audit.check_time(60 * SECOND, 7, 500 + passed_us, SLACK_US);
            assert_eq!(audit.violations(), broken, "{passed_us} by {drift}");
        }
        let mut audit = Audit::new(true, SECOND, 0.0, 0);
        // It stood still for a while, which is not to be caught up with.
        audit.check_time(0, 7, 0, SLACK_US);
        audit.check_time(40 * SECOND, 7, 0, SLACK_US);
        audit.check_time(41 * SECOND, 7, 3_000_000, SLACK_US);
        assert_eq!(audit.violations(), 1);
        // Another epoch has another time.
        audit.check_time(42 * SECOND, 8, 90_000_000, SLACK_US);
        assert_eq!(audit.violations(), 1);
    }

    #[test]
    fn a_gate_counts_what_runs_and_at_most_those_who_were_handed_a_slot_beside_it() {
        for (counted, running, queued, grace, broken) in [
            (3, 3, 0, false, 0),
            (2, 3, 0, false, 1),
            (4, 3, 0, false, 1),
            // One in the queue may have been handed a slot, but not two.
            (4, 3, 1, false, 0),
            (5, 3, 1, false, 1),
            (2, 3, 5, false, 1),
            // What a fence cancelled is counted for a while; what runs, always.
            (9, 3, 0, true, 0),
            (2, 3, 0, true, 1),
        ] {
            let mut audit = audit(9);
            audit.check_slots(counted, running, queued, grace);
            assert_eq!(audit.violations(), broken, "{counted} where {running} run");
        }
    }
}
