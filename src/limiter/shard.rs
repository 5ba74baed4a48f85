//! One shard of the keyed table: cells, a hand that reclaims a few at a time, and an overflow cell.
//!
//! A key without a cell of its own is bounded by the overflow cell: whatever such a key has spent, the overflow cell
//! has spent at least as much. Evicting a key raises the overflow cell to what the key has spent, and a new key starts
//! from there (the idea of Space-Saving, Metwally, Agrawal and El Abbadi, 2005). So forgetting never gives anybody
//! more than the quota.

use crate::decision::Decision;
use crate::key::Key;
use crate::rule::{Gcra, Tat};
use crate::time::LocalTime;
use hashbrown::HashTable;
use std::sync::atomic::{AtomicU64, Ordering};

/// The cells of one shard. Cells are changed under a shared borrow, by compare-and-swap; the set of cells only under
/// an exclusive one.
#[derive(Debug)]
pub(super) struct Shard {
    cells: HashTable<Cell>,
    /// The bucket at which the next look for idle cells begins.
    hand: usize,
    overflow: Tat,
    tally: Tally,
}

/// What became of keys for which there was no room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Keys that were forgotten before they were idle.
    pub(super) evicted: u64,
    /// Decisions taken on the overflow cell.
    pub(super) overflowed: u64,
}

/// 24 bytes: a key and its state.
#[derive(Debug)]
struct Cell {
    key: Key,
    tat: AtomicU64,
}

/// How a table places its keys: its own secret, so that nobody outside can aim at one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement([u64; 2]);

impl Placement {
    pub(super) const fn new(seed: [u64; 2]) -> Self {
        Self(seed)
    }

    /// Where `key` belongs. A folded multiplication: both halves of the key are hashes already.
    #[inline]
    pub(super) const fn of(self, key: Key) -> u64 {
        let [high, low] = key.halves();
        let product = (high ^ self.0[0]) as u128 * (low ^ self.0[1]) as u128;
        (product >> 64) as u64 ^ product as u64
    }
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            cells: HashTable::new(),
            hand: 0,
            overflow: Tat::IDLE,
            tally: Tally {
                evicted: 0,
                overflowed: 0,
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.allocation_size()
    }

    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// Decides for a key that has a cell; `None` if it has none.
    #[inline]
    pub(super) fn decide(
        &self,
        place: u64,
        key: Key,
        rule: &Gcra,
        cost: u32,
        now: LocalTime,
    ) -> Option<Decision> {
        let cell = self.cells.find(place, |cell| cell.key == key)?;
        Some(decide_on(&cell.tat, rule, cost, now))
    }

    /// How a key that has no cell stands: as the overflow cell does, and nothing changes.
    pub(super) fn peek_overflow(&self, rule: &Gcra, now: LocalTime) -> Decision {
        rule.decide(self.overflow, 0, now).0
    }

    /// Decides for a key that may be new, and makes room for it if need be.
    pub(super) fn admit(
        &mut self,
        place: Placement,
        key: Key,
        rule: &Gcra,
        cost: u32,
        now: LocalTime,
        max: usize,
    ) -> Decision {
        let at = place.of(key);
        if let Some(decision) = self.decide(at, key, rule, cost, now) {
            return decision;
        }
        let (decision, state) = rule.decide(self.overflow, cost, now);
        if state == self.overflow {
            // Nothing was booked, so there is nothing to remember.
            if !self.overflow.is_idle(now) {
                self.tally.overflowed += 1;
            }
            return decision;
        }
        if !self.make_room(place, rule, now, max) {
            self.tally.overflowed += 1;
            self.overflow = state;
            return decision;
        }
        // Evicting may have raised the overflow cell, from which a new key starts.
        let (decision, state) = rule.decide(self.overflow, cost, now);
        if state != self.overflow {
            let cell = Cell {
                key,
                tat: AtomicU64::new(state.to_bits()),
            };
            self.cells
                .insert_unique(at, cell, |cell| place.of(cell.key));
        }
        decision
    }

    /// Reclaims a few idle cells and says whether a new one may be put in.
    fn make_room(&mut self, place: Placement, rule: &Gcra, now: LocalTime, max: usize) -> bool {
        let least = self.sweep(rule, now, SWEEP);
        if self.cells.len() >= max {
            let least = least.or_else(|| self.sweep(rule, now, SEARCH));
            if self.cells.len() >= max {
                let Some((bucket, state)) = least else {
                    return false;
                };
                self.evict(bucket, state);
            }
        }
        if self.cells.len() == self.cells.capacity() {
            self.grow(place, max);
        }
        true
    }

    /// Looks at the next `buckets`: removes what is idle, and returns the cell that has spent least among those that
    /// are not being denied.
    fn sweep(&mut self, rule: &Gcra, now: LocalTime, buckets: usize) -> Option<(usize, Tat)> {
        let all = self.cells.num_buckets();
        let mut least: Option<(usize, Tat)> = None;
        for _ in 0..buckets.min(all) {
            let bucket = if self.hand < all { self.hand } else { 0 };
            self.hand = bucket + 1;
            let Ok(mut entry) = self.cells.get_bucket_entry(bucket) else {
                continue;
            };
            let state = Tat::from_bits(*entry.get_mut().tat.get_mut());
            if state.is_idle(now) {
                entry.remove();
            } else if !rule.is_exhausted(state, now) && least.is_none_or(|(_, least)| state < least)
            {
                least = Some((bucket, state));
            }
        }
        least
    }

    fn evict(&mut self, bucket: usize, state: Tat) {
        if let Ok(entry) = self.cells.get_bucket_entry(bucket) {
            entry.remove();
            self.overflow = self.overflow.max(state);
            self.tally.evicted += 1;
        }
    }

    /// Moves the cells to a table twice as large, or to one of the same size without the marks of removed cells.
    /// Never larger than `max` needs: hashbrown alone would double again when the marks of removed cells fill it.
    fn grow(&mut self, place: Placement, max: usize) {
        let room = (self.cells.len() * 2).clamp(FIRST_ROOM, max.max(FIRST_ROOM));
        let mut cells = HashTable::with_capacity(room);
        for cell in self.cells.drain() {
            cells.insert_unique(place.of(cell.key), cell, |cell| place.of(cell.key));
        }
        self.cells = cells;
        self.hand = 0;
    }
}

/// One decision on a state that other threads change as well.
#[inline]
pub(super) fn decide_on(tat: &AtomicU64, rule: &Gcra, cost: u32, now: LocalTime) -> Decision {
    let mut bits = tat.load(Ordering::Relaxed);
    loop {
        let (decision, after) = rule.decide(Tat::from_bits(bits), cost, now);
        if after.to_bits() == bits {
            return decision;
        }
        // Relaxed: the word is the whole state and guards nothing else.
        match tat.compare_exchange_weak(bits, after.to_bits(), Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => return decision,
            Err(other) => bits = other,
        }
    }
}

/// Buckets looked at for each new key: more than the one it takes, so that idle cells go faster than new ones come.
const SWEEP: usize = 8;
/// Buckets looked at when the shard is full and the first look found nothing that may go.
const SEARCH: usize = 64;
/// The first cells of a shard.
const FIRST_ROOM: usize = 7;
