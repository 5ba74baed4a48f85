//! A process of a fleet, and what its clock shows.

use crate::engine::{MS, Nanos};
use tidegate::fleet::sim::Node;

/// One life of a node's process, and its clock.
pub(super) struct Process {
    /// Of the node whose process it is.
    pub(super) number: usize,
    pub(super) node: Option<Node>,
    pub(super) incarnation: u64,
    /// Requests that run in this life.
    pub(super) running: u32,
    /// What the audit counts these as.
    pub(super) watch: u64,
    /// Requests in its queue, some of which may have been handed a slot that they have not come for.
    pub(super) queued: u32,
    pub(super) was_active: bool,
    /// It was without a lease and went by its own estimator.
    pub(super) was_alone: bool,
    /// Until when, by its own clock, what a fence cancelled may be counted though it does not run.
    pub(super) grace_ends: Option<Nanos>,
    pub(super) offset: Nanos,
    pub(super) drift: f64,
    /// When the agenda next says TIME.
    pub(super) timer: Nanos,
}

impl Process {
    /// It died, or has left; nothing of it runs.
    pub(super) fn is_gone(&self) -> bool {
        self.running == 0 && self.node.as_ref().is_none_or(Node::is_over)
    }

    /// It was fenced, with so long for what it cancels.
    pub(super) fn begin_grace(&mut self, now: Nanos, grace: Nanos) {
        // The node begins it with its next step, not with the one that told.
        self.grace_ends = Some(self.local(now) + grace + MS);
    }

    pub(super) fn is_in_grace(&mut self, now: Nanos) -> bool {
        let local = self.local(now);
        self.grace_ends = self.grace_ends.filter(|ends| *ends > local);
        self.grace_ends.is_some()
    }

    pub(super) fn local(&self, now: Nanos) -> Nanos {
        (self.offset + now).saturating_add_signed((now as f64 * self.drift) as i64)
    }

    /// When this clock shows `local`.
    pub(super) fn global(&self, local: Nanos) -> Nanos {
        let passed = local.saturating_sub(self.offset) as f64;
        // Rounded up, so that it is not too early.
        (passed / (1.0 + self.drift)).ceil() as Nanos + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SECOND;

    #[test]
    fn a_grace_ends_by_the_clock_of_the_process_and_another_fence_begins_another() {
        let mut process = Process {
            number: 0,
            node: None,
            incarnation: 1,
            running: 0,
            watch: 1,
            queued: 0,
            was_active: false,
            was_alone: false,
            grace_ends: None,
            offset: 7 * SECOND,
            drift: 0.1,
            timer: Nanos::MAX,
        };
        assert!(!process.is_in_grace(0));
        for fenced in [SECOND, 10 * SECOND] {
            process.begin_grace(fenced, SECOND);
            // Its clock runs a tenth too fast.
            assert!(process.is_in_grace(fenced + SECOND / 10 * 9));
            assert!(!process.is_in_grace(fenced + SECOND / 100 * 92));
            assert!(!process.is_in_grace(fenced + SECOND));
        }
    }
}
