//! A limit over windows that begin at the same moments on every node.

use crate::rule::is_in;

/// A limit and its window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SlidingWindow {
    limit: u32,
    nanos: u64,
}

impl SlidingWindow {
    /// `limit` units in each `nanos` nanoseconds, which are not 0.
    pub(crate) const fn new(limit: u32, nanos: u64) -> Self {
        Self { limit, nanos }
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn nanos(&self) -> u64 {
        self.nanos
    }

    /// The window of a moment, in nanoseconds of the time that all nodes share.
    #[inline]
    pub(crate) const fn sequence(&self, time: u64) -> u64 {
        time / self.nanos
    }

    /// Whether that is window `sequence`. Takes no division.
    #[inline]
    pub(crate) const fn is_in(&self, sequence: u64, time: u64) -> bool {
        is_in(sequence, self.nanos, time)
    }

    /// Nanoseconds of that window that are over.
    #[inline]
    pub(crate) const fn elapsed(&self, time: u64) -> u64 {
        time % self.nanos
    }
}
