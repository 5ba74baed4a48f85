//! What a tier is told once: its quota, and how it is to be kept.

use crate::decision::PolicyName;
use crate::layered::link::Outage;
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::time::nanos;
use std::time::Duration;

/// What a tier is told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) window: SlidingWindow,
    /// The name under which clients see it.
    pub(crate) policy: PolicyName,
    /// Which of the limiter's policies it is, counted from 0.
    pub(crate) number: u8,
    /// How long accepts are collected before origin hears of them.
    pub(crate) flush_after: Duration,
    pub(crate) outage: Outage,
    /// Whether other regions hear of this one.
    pub(crate) global: bool,
    /// The most keys.
    pub(crate) room: usize,
    /// Random: for jitter, the placing of keys, and this tier's names at origin.
    pub(crate) seed: u64,
}

impl Setup {
    /// The usual delay: a hundredth of the window, from 2 to 100 ms.
    pub(crate) fn flush_after(window: &SlidingWindow) -> Duration {
        let part = Duration::from_nanos(window.nanos() / 100);
        part.clamp(Duration::from_millis(2), Duration::from_millis(100))
    }

    /// Nanoseconds by which what is known of the other nodes is late at the least: they collect, and their messages are
    /// under way.
    #[inline]
    pub(super) fn lag(&self, now: &Moment) -> u64 {
        nanos(self.flush_after).saturating_add(nanos(now.round_trip))
    }

    pub(super) fn span(&self) -> Duration {
        Duration::from_nanos(self.window.nanos())
    }

    /// How long the cell before can still change: others flush, and their messages are under way.
    pub(super) fn grace(&self) -> Duration {
        (self.span() / 4).min(Duration::from_secs(1))
    }

    /// So many unsent accepts do not wait for the delay: near the limit fewer, since there each of them may be what
    /// another node should not accept any more.
    #[inline]
    pub(super) const fn plenty(&self, used: u64) -> u32 {
        let limit = self.window.limit();
        if used < limit as u64 - limit as u64 / 8 {
            max(limit / 64, 4)
        } else {
            max(limit / 448, 1)
        }
    }

    pub(super) fn share(&self) -> Option<SlidingWindow> {
        match self.outage {
            Outage::Local => None,
            Outage::Share { nodes } => Some(SlidingWindow::new(
                self.window.limit() / nodes,
                self.window.nanos(),
            )),
        }
    }
}

const fn max(one: u32, other: u32) -> u32 {
    if one > other { one } else { other }
}
