//! Watches the promises of the fleet guard while it runs: I1, I2, I3, I4 and I11, on what really runs.

use crate::engine::Nanos;
use tidegate::fleet::sim::Store;

#[derive(Debug)]
pub(super) struct Audit {
    /// I2 is promised.
    keeps_in_flight: bool,
    running: u64,
    /// What may be in flight: the limit, or what was reserved when it fell (I3).
    allowed: u64,
    /// The store lost something: sums may be higher until it has planned again, in another epoch than this.
    disturbed: Option<Option<u64>>,
    /// The epoch, and the least of store time minus true time in it, in microseconds.
    behind: Option<(u64, i64)>,
    violations: u64,
}

impl Audit {
    pub(super) const fn new(keeps_in_flight: bool) -> Self {
        Self {
            keeps_in_flight,
            running: 0,
            allowed: 0,
            disturbed: None,
            behind: None,
            violations: 0,
        }
    }

    pub(super) const fn violations(&self) -> u64 {
        self.violations
    }

    /// A request runs that did not.
    pub(super) fn started(&mut self) {
        self.running += 1;
        if self.keeps_in_flight && self.running > self.allowed {
            self.broken("I2", self.running, self.allowed);
        }
    }

    /// So many requests do not run any more.
    pub(super) fn ended(&mut self, requests: u32) {
        self.running -= u64::from(requests);
    }

    /// The store lost something in `epoch`, or everything.
    pub(super) const fn disturbed(&mut self, epoch: Option<u64>) {
        self.disturbed = Some(epoch);
    }

    /// A plan for `limit` was committed when `reserved` was.
    pub(super) fn planned(&mut self, limit: u32, reserved: u64) {
        // Also after the store was disturbed: what is claimed then is no more than what was allowed before.
        self.allowed = self.allowed.min(reserved).max(u64::from(limit));
    }

    /// The store has taken a step.
    pub(super) fn check_store(&mut self, now: Nanos, store: &Store, slack_us: u64) {
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
        if self.disturbed.is_none() {
            if shares > self.allowed {
                self.broken("I1", shares, self.allowed);
            }
            if self.keeps_in_flight && self.running > reserved {
                self.broken("I2", self.running, reserved);
            }
        }
        self.check_time(now, epoch, time_us, slack_us);
    }

    /// I11: between any two moments store time gains at most the time that has passed, the drift of the clocks that
    /// measured it (100 000 millionths at the most), and one slack.
    fn check_time(&mut self, now: Nanos, epoch: u64, time_us: u64, slack_us: u64) {
        let now_us = (now / 1000) as i64;
        let ahead = time_us as i64 - now_us;
        let least = match self.behind {
            Some((known, least)) if known == epoch => least.min(ahead),
            _ => ahead,
        };
        self.behind = Some((epoch, least));
        if ahead > least + slack_us as i64 + now_us / 10 {
            self.broken("I11", ahead as u64, least as u64);
        }
    }

    pub(super) fn broken(&mut self, promise: &str, found: u64, allowed: u64) {
        if self.violations == 0 {
            eprintln!("{promise} is broken: {found} where {allowed} is allowed");
        }
        self.violations += 1;
    }
}
