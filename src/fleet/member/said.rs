//! What a node says to the store, and how often.

use crate::fleet::member::{Member, Phase, Sample};
use crate::fleet::message::{Beat, Mode};
use crate::fleet::settings::Estimate;
use crate::time::LocalTime;
use std::sync::Arc;
use std::time::Duration;

impl Member {
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
            longest: self.longest,
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
    pub(super) fn pace(&self) -> Duration {
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
