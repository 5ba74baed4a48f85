//! What has happened to a strict limiter, as numbers.

use std::sync::atomic::AtomicU64;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) asked: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) without: AtomicU64,
    pub(super) remembered: AtomicU64,
}

/// What has happened to a [`StrictLimiter`](super::StrictLimiter) since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct StrictStats {
    /// Whether the store is asked: false while the circuit breaker is open or probing.
    pub up: bool,
    /// Times that the store was asked.
    pub asked: u64,
    /// Times that it did not answer in time, or not as it should.
    pub failures: u64,
    /// Decisions that were made without it.
    pub without: u64,
    /// Denials that were remembered, and cost no round trip.
    pub remembered: u64,
    /// Keys that something was admitted or goes back on which the store does not know of yet, or has not said so.
    pub untold: usize,
    /// Units that were admitted and that the store will never know of, since 100 000 keys were to be told of, and something
    /// was left of each.
    pub lost: u64,
    /// Units that were to be given back and stay booked, until they have come back by themselves, since there were too
    /// many that the store had not heard of.
    pub kept: u64,
}
