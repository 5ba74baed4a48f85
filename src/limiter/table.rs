//! The keyed table of one process: shards with a bound each, so that all together stay below `max_keys`.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::shard::{Placement, Shard};
use crate::rule::Gcra;
use crate::time::LocalTime;
use crossbeam_utils::CachePadded;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[CachePadded<RwLock<Shard>>]>,
    place: Placement,
    max_keys: usize,
    /// Whether the log has been told that the table ran full.
    told: AtomicBool,
}

/// How full a keyed table is, and what became of keys for which there was no room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct TableStats {
    /// Keys that have a cell of their own; some of them may be idle and not yet reclaimed.
    pub keys: usize,
    /// The most keys that ever have one.
    pub max_keys: usize,
    /// Bytes of memory that the cells take.
    pub bytes: usize,
    /// Keys that were forgotten before everything they spent had come back, because the table was full.
    pub evicted: u64,
    /// Decisions taken on an overflow cell, because every key in reach was being denied.
    pub overflowed: u64,
}

impl Table {
    pub(super) fn new(max_keys: NonZeroUsize) -> Self {
        let max_keys = max_keys.get();
        let random = RandomState::new();
        Self {
            shards: (0..max_keys.div_ceil(SHARD_KEYS))
                .map(|_| CachePadded::new(RwLock::new(Shard::new())))
                .collect(),
            place: Placement::new([random.hash_one(0), random.hash_one(1)]),
            max_keys,
            told: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn decide(&self, key: Key, rule: &Gcra, cost: u32, now: LocalTime) -> Decision {
        let place = self.place.of(key);
        let at = self.shard_of(place);
        let known = read(&self.shards[at]).decide(place, key, rule, cost, now);
        match known {
            Some(decision) => decision,
            None => self.admit(at, key, rule, cost, now),
        }
    }

    pub(super) fn peek(&self, key: Key, rule: &Gcra, now: LocalTime) -> Decision {
        let place = self.place.of(key);
        let shard = read(&self.shards[self.shard_of(place)]);
        shard
            .decide(place, key, rule, 0, now)
            .unwrap_or_else(|| shard.peek_overflow(rule, now))
    }

    #[cold]
    fn admit(&self, at: usize, key: Key, rule: &Gcra, cost: u32, now: LocalTime) -> Decision {
        let max = self.room_of(at);
        let mut shard = self.shards[at]
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = shard.tally();
        let decision = shard.admit(self.place, key, rule, cost, now, max);
        let after = shard.tally();
        drop(shard);
        if (before.evicted, before.overflowed) != (after.evicted, after.overflowed) {
            self.tell();
        }
        decision
    }

    pub(super) fn stats(&self) -> TableStats {
        let mut stats = TableStats {
            max_keys: self.max_keys,
            bytes: size_of_val(&*self.shards),
            ..TableStats::default()
        };
        for shard in &self.shards {
            let shard = read(shard);
            stats.keys += shard.len();
            stats.bytes += shard.bytes();
            stats.evicted += shard.tally().evicted;
            stats.overflowed += shard.tally().overflowed;
        }
        stats
    }

    /// The shard of a place, from bits that its hash table uses least.
    #[inline]
    fn shard_of(&self, place: u64) -> usize {
        ((place as u32 as u64 * self.shards.len() as u64) >> 32) as usize
    }

    /// How many keys shard `at` may hold; over all shards the sum is `max_keys`.
    fn room_of(&self, at: usize) -> usize {
        let shards = self.shards.len();
        self.max_keys / shards + usize::from(at < self.max_keys % shards)
    }

    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                max_keys = self.max_keys,
                "a rate limiter's table is full: keys without a cell of their own share one; raise max_keys if these \
                 are real clients"
            );
        }
    }
}

/// A poisoned shard is still right: nothing in it is ever half done.
#[inline]
fn read(shard: &RwLock<Shard>) -> std::sync::RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

/// Fills seven eighths of 1024 buckets: what growing moves at once, 28 bytes a key.
const SHARD_KEYS: usize = 896;
