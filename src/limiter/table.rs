//! The keyed table of one process: shards with a bound each, so that all together stay below `max_keys`.

use crate::key::Key;
use crate::limiter::cells::{Placement, Width};
use crate::limiter::overflow::Overflown;
use crate::limiter::room;
use crate::limiter::rules::{Answer, Rules};
use crate::limiter::shard::{Handed, Shard};
use crate::rule::Moment;
use crossbeam_utils::CachePadded;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

/// A shard on cache lines of its own.
type Locked<W> = CachePadded<Mutex<Shard<W>>>;

/// The states of many keys under the same rules.
#[derive(Debug)]
pub(super) struct Table<R: Rules> {
    rules: R,
    shards: Box<[Locked<R::Width>]>,
    placement: Placement,
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

impl<R: Rules> Table<R> {
    pub(super) fn new(rules: R, max_keys: NonZeroUsize) -> Self {
        let max_keys = max_keys.get();
        let random = RandomState::new();
        let placement = Placement::new([random.hash_one(0), random.hash_one(1)]);
        let width = rules.width();
        let shards = room::shards(max_keys, shard_keys(width.words()));
        let room = |at| max_keys / shards + usize::from(at < max_keys % shards);
        Self {
            shards: (0..shards)
                .map(|at| CachePadded::new(Mutex::new(Shard::new(placement, width, room(at)))))
                .collect(),
            rules,
            placement,
            max_keys,
            told: AtomicBool::new(false),
        }
    }

    pub(super) const fn rules(&self) -> &R {
        &self.rules
    }

    /// Takes a `step` on the state of `key`, under the lock of its shard; none if that has moved. For a key without a
    /// cell it may be taken twice; the last answer counts.
    #[inline(always)]
    pub(super) fn step<A: Answer>(
        &self,
        key: &Key,
        at: Moment,
        step: impl FnMut(&mut [u64]) -> A,
    ) -> Option<A> {
        self.step_noting(key, at, &mut None, step)
    }

    /// As [`Self::step`], noting in `overflown` where it was booked if that is an overflow cell.
    #[inline(always)]
    pub(super) fn step_noting<A: Answer>(
        &self,
        key: &Key,
        at: Moment,
        overflown: &mut Option<Overflown>,
        mut step: impl FnMut(&mut [u64]) -> A,
    ) -> Option<A> {
        let place = self.placement.of(*key);
        let mut shard = self.shard(place);
        match shard.find(place, *key) {
            Some(state) => Some(step(state)),
            None => self.admit(shard, key, at, step, overflown),
        }
    }

    /// Gives back `units` that `key` has booked on an overflow cell: see [`Shard::give_back`]. Nothing if the shard has
    /// moved: what took it over has absorbed what was booked.
    pub(super) fn give_back_overflown(
        &self,
        key: Key,
        booking: Overflown,
        units: u32,
        own: impl FnOnce() -> u64,
        change: impl Fn(&mut [u64], u64),
    ) {
        let place = self.placement.of(key);
        let mut shard = self.shard(place);
        if !shard.moved() {
            shard.give_back(place, key, booking, units, own, change);
        }
    }

    /// Changes the state of `key`, unless it has no cell; none if its shard has moved.
    pub(super) fn change(&self, key: Key, change: impl FnOnce(&mut [u64])) -> Option<()> {
        let place = self.placement.of(key);
        let mut shard = self.shard(place);
        if let Some(state) = shard.find(place, key) {
            change(state);
            return Some(());
        }
        (!shard.moved()).then_some(())
    }

    /// Looks at the state of `key`, that of the overflow cell if it has none; none if its shard has moved.
    pub(super) fn look<T>(&self, key: Key, look: impl FnOnce(&[u64]) -> T) -> Option<T> {
        let place = self.placement.of(key);
        let mut shard = self.shard(place);
        if let Some(state) = shard.find(place, key) {
            return Some(look(state));
        }
        (!shard.moved()).then(|| look(&shard.overflow()))
    }

    #[cold]
    fn admit<A: Answer>(
        &self,
        mut shard: MutexGuard<'_, Shard<R::Width>>,
        key: &Key,
        at: Moment,
        step: impl FnMut(&mut [u64]) -> A,
        overflown: &mut Option<Overflown>,
    ) -> Option<A> {
        if shard.moved() {
            return None;
        }
        let before = shard.tally();
        let answer;
        (answer, *overflown) = shard.admit(*key, &self.rules, at, step);
        let full = shard.tally() != before;
        drop(shard);
        if full {
            self.tell();
        }
        Some(answer)
    }

    /// Hands over all it has, a shard at a time and under its lock, and answers nothing for that shard from then on.
    pub(super) fn hand_over(&self, mut take: impl FnMut(Handed<'_>)) {
        for shard in &self.shards {
            lock(shard).hand_over(&mut take);
        }
    }

    /// Makes every overflow cell one that has spent at least as much as `state`.
    pub(super) fn raise_overflow(&self, state: &[u64]) {
        for shard in &self.shards {
            lock(shard).raise_overflow(&self.rules, state);
        }
    }

    /// Puts in a key with its state.
    pub(super) fn put(&self, key: Key, state: &[u64], at: Moment) {
        let place = self.placement.of(key);
        self.shard(place).put(place, key, state, &self.rules, at);
    }

    pub(super) fn stats(&self) -> TableStats {
        let mut stats = TableStats {
            max_keys: self.max_keys,
            bytes: size_of_val(&*self.shards),
            ..TableStats::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            stats.keys += shard.len();
            stats.bytes += shard.bytes();
            stats.evicted += shard.tally().evicted;
            stats.overflowed += shard.tally().overflowed;
        }
        stats
    }

    /// The shard of a place, from the half of it that does not choose the cell.
    #[inline]
    fn shard(&self, place: u64) -> MutexGuard<'_, Shard<R::Width>> {
        let at = (u64::from(place as u32) * self.shards.len() as u64) >> 32;
        lock(&self.shards[at as usize])
    }

    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            crate::observe::table_full(self.max_keys);
        }
    }
}

#[inline]
fn lock<W>(shard: &Mutex<Shard<W>>) -> MutexGuard<'_, Shard<W>> {
    shard.lock().expect("nothing panics under this lock")
}

/// Keys of a shard, for states of so many words.
///
/// Three quarters of 1024 cells: 32 bytes a key of one word when full, and no more than that to move at once. Fewer
/// where that would be more than half a megabyte, but enough that a hash spreads keys over the shards evenly.
fn shard_keys(words: usize) -> usize {
    (SHARD_WORDS / words).clamp(64, 768)
}

const SHARD_WORDS: usize = 48 * 1024;

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::rule::{Gcra, Tat};
    use crate::time::LocalTime;
    use crate::warnings::Warnings;

    #[test]
    fn a_full_table_is_logged_once() {
        let (log, warnings) = Warnings::new();
        tracing::subscriber::with_default(log, || {
            let rule = Gcra::new(Quota::per_hour(1).into());
            let table = Table::new(rule, NonZeroUsize::new(4).unwrap());
            let now = Moment::at(LocalTime::from_nanos(1_000_000_000));
            let spend = |number: u32| {
                let _ = table.step(&Key::of(&number), now, |state| {
                    let (decision, after) =
                        table.rules().decide(Tat::from_bits(state[0]), 1, now.now);
                    state[0] = after.to_bits();
                    decision
                });
            };
            (0..4).for_each(spend);
            assert_eq!(warnings.load(Ordering::Relaxed), 0);
            (4..100).for_each(spend);
        });
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
    }
}
