//! One node as the store knows it, and the most that node may be occupying.

use crate::fleet::message::{Grant, NodeView, Report};
use crate::time::StoreTime;
use std::sync::Arc;

/// Where a record is in its life.
///
/// ```text
///             newer incarnation joins            the older one proves alive
///   (join) ─► Live ───────────────► Quarantined ──────────► Live
///              │ │ deadline, safe slots   and its rival ──► Refused
///              │ └──────► Lapsed ──beat──► Live
///              └ closing, in-flight 0 ──► Left            every one of them ends by eviction
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Life {
    Live,
    /// A newer incarnation of the same name has joined; this one is probably dead.
    Quarantined,
    /// An older incarnation of the same name is alive.
    Refused,
    /// Silent past its deadline; only the safe slots are still its own.
    Lapsed,
    /// Has left: a tombstone, so that a late beat does not bring the node back.
    Left,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Record {
    pub(crate) name: Arc<str>,
    pub(crate) life: Life,
    pub(crate) closing: bool,
    pub(crate) starved: bool,
    /// Of the last beat that counted.
    pub(crate) sequence: u64,
    /// The stamp of the first answer: signs of life above it are newer than this record.
    pub(crate) born: u64,
    /// The lease has surely ended at this store time...
    pub(crate) deadline: StoreTime,
    /// ...and the safe slots at this one.
    pub(crate) ends: StoreTime,
    pub(crate) grant: Grant,
    /// When a plan last gave it a share after having none, or took its last slot.
    pub(crate) since: StoreTime,
    pub(crate) target: u32,
    pub(crate) in_flight: u32,
    /// The share the node said it enforces.
    pub(crate) enforced: u32,
    /// The highest share granted at or before `mark` that may still arrive.
    pub(crate) low: u32,
    /// The highest share granted since.
    pub(crate) high: u32,
    pub(crate) mark: u64,
    /// The highest safe part granted since the last full acknowledgement.
    pub(crate) safe_high: u32,
    pub(crate) report: Report,
}

impl Record {
    /// `max(highest unacknowledged share, reported in-flight)`: the most it may be occupying.
    pub(crate) fn hold(&self) -> u32 {
        self.enforced
            .max(self.low)
            .max(self.high)
            .max(self.in_flight)
    }

    /// What nobody else may have.
    pub(crate) fn reserved(&self, acknowledged: bool) -> u32 {
        let occupied = if acknowledged {
            self.hold()
        } else {
            self.in_flight
        };
        occupied.max(self.grant.share)
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.life, Life::Live) && !self.closing
    }

    /// A beat says which generation and share the node enforces.
    ///
    /// Two buckets let holds fall even when grants change as often as they are acknowledged: an acknowledgement at
    /// or above the mark proves that everything granted before the mark is superseded.
    pub(crate) fn acknowledge(&mut self, generation: u64, share: u32) {
        self.enforced = share;
        if generation == self.grant.generation {
            (self.low, self.high, self.mark) = (0, 0, generation);
            self.safe_high = self.grant.safe;
            self.grant.share = self.grant.share.min(share);
        } else if generation >= self.mark {
            (self.low, self.high, self.mark) = (self.high, 0, self.grant.generation);
        }
    }

    /// A new grant, under a new generation.
    pub(crate) fn give(&mut self, grant: Grant, now: StoreTime) {
        if (grant.share > 0) != (self.grant.share > 0) {
            self.since = now;
        }
        self.grant = grant;
        self.high = self.high.max(grant.share);
        self.safe_high = self.safe_high.max(grant.safe);
    }

    /// Takes the share away, under a new generation; what may be occupied stays held.
    pub(crate) fn withdraw(&mut self, generation: u64) {
        self.grant = Grant {
            generation,
            share: 0,
            safe: 0,
        };
        self.target = 0;
    }

    /// Silent past its deadline: the safe slots stay, the rest goes.
    pub(crate) fn lapse(&mut self, generation: u64) {
        let share = self.safe_high.min(self.grant.share);
        self.life = Life::Lapsed;
        self.grant = Grant {
            generation,
            share,
            safe: share,
        };
        self.target = share;
    }

    /// Past its deadline a record holds the safe slots alone: those it may know of, and those it will be told of.
    pub(crate) fn keep_safe(&mut self) {
        (self.enforced, self.low, self.high) = (self.safe_high, 0, self.grant.share);
        self.in_flight = 0;
        self.starved = false;
    }

    pub(crate) fn view(&self, incarnation: u64) -> NodeView {
        NodeView {
            incarnation,
            name: Arc::clone(&self.name),
            open: self.is_open(),
            starved: self.starved,
            deadline: self.deadline,
            share: self.grant.share,
            safe: self.grant.safe,
            since: self.since,
            target: self.target,
            hold: self.hold(),
            in_flight: self.in_flight,
            report: self.report,
        }
    }
}
