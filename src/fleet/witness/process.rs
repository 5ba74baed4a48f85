//! A process with its gate: the production machine, and what it really runs.

use crate::fleet::member::{Event, Member};
use crate::time::LocalTime;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Process {
    pub(crate) member: Member,
    /// Slots in use, as the gate counts them.
    pub(crate) in_flight: u32,
    /// Of those, cancelled by a fence: they may still run at the backend until the grace is over.
    pub(crate) parked: u32,
}

impl Process {
    pub(crate) const fn new(member: Member) -> Self {
        Self {
            member,
            in_flight: 0,
            parked: 0,
        }
    }

    /// Whether the gate would let a request in.
    pub(crate) fn admits(&self, now: LocalTime) -> bool {
        self.in_flight < self.member.ceiling() && now < self.member.fence_at()
    }

    /// A request asks for a slot.
    pub(crate) fn ask(&mut self, now: LocalTime) {
        if self.admits(now) {
            self.in_flight += 1;
        } else {
            self.member.handle_starved();
        }
    }

    /// Parks what `events` cancel; answers whether they cancel anything. Its grace begins now.
    pub(crate) fn obey(&mut self, events: &[Event]) -> bool {
        let cancels = events
            .iter()
            .any(|event| matches!(event, Event::Fenced | Event::Refused(_)));
        if cancels {
            self.parked = self.in_flight;
        }
        cancels
    }

    /// The grace is over: what was cancelled has ended.
    pub(crate) fn end_parked(&mut self) {
        if self.parked > 0 {
            self.in_flight -= std::mem::take(&mut self.parked);
            self.member.handle_drained();
        }
    }
}
