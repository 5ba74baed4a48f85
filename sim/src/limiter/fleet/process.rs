//! A process of a fleet, and what its clock shows.

use crate::engine::Nanos;
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
    pub(super) was_active: bool,
    /// Was fenced in this life.
    pub(super) fenced: bool,
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
