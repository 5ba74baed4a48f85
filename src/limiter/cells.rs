//! A hash table of key states in one array: a known key costs one cache miss.
//!
//! Linear probing, at most three quarters full, removal by moving back what follows (Knuth, volume 3, 6.4, algorithm
//! R), so there are no marks of removed cells to clean up and a key is found in 2.5 cells on average. A table of
//! control bytes beside the cells, as in hashbrown, is a second miss: with 100 000 keys that was a sixth of the time.

use crate::key::Key;
use crate::rule::Tat;

/// The states of some keys. Never holds [`Key::EVERYONE`], which marks a free cell.
#[derive(Debug)]
pub(super) struct Cells {
    /// A power of two, or none.
    cells: Box<[Cell]>,
    len: usize,
    placement: Placement,
}

/// 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Cell {
    key: Key,
    state: Tat,
}

impl Cell {
    const FREE: Self = Self {
        key: Key::EVERYONE,
        state: Tat::IDLE,
    };

    fn is_free(&self) -> bool {
        self.key == Key::EVERYONE
    }
}

/// How a table places its keys: under a secret of its own, so that nobody outside can aim at one part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement([u64; 2]);

impl Placement {
    pub(super) const fn new(secret: [u64; 2]) -> Self {
        Self(secret)
    }

    /// Where `key` belongs. A folded multiplication: both halves of the key are hashes already.
    #[inline]
    pub(super) const fn of(self, key: Key) -> u64 {
        let [high, low] = key.halves();
        let product = (high ^ self.0[0]) as u128 * (low ^ self.0[1]) as u128;
        (product >> 64) as u64 ^ product as u64
    }
}

impl Cells {
    pub(super) fn new(placement: Placement) -> Self {
        Self {
            cells: Box::default(),
            len: 0,
            placement,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many there are, free ones included.
    pub(super) const fn capacity(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    /// The state of `key`, which belongs at `place`.
    #[inline]
    pub(super) fn find(&mut self, place: u64, key: Key) -> Option<&mut Tat> {
        let mask = self.cells.len().checked_sub(1)?;
        let mut at = home(place) & mask;
        // Ends: at least a quarter is free.
        loop {
            let found = self.cells[at].key;
            if found == key {
                return Some(&mut self.cells[at].state);
            }
            if found == Key::EVERYONE {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The state in cell `at`, unless it is free.
    pub(super) fn get(&self, at: usize) -> Option<Tat> {
        let cell = self.cells.get(at)?;
        (!cell.is_free()).then_some(cell.state)
    }

    /// Puts in a key that has no cell. Moves all of them, to an array twice as large, when three quarters are taken.
    pub(super) fn insert(&mut self, key: Key, state: Tat) {
        if (self.len + 1) * 4 > self.cells.len() * 3 {
            self.grow();
        }
        self.put(Cell { key, state });
        self.len += 1;
    }

    /// Takes out the key in cell `at`. Keys from later cells may move into it, and into the ones after it.
    pub(super) fn remove(&mut self, at: usize) {
        let mask = self.cells.len() - 1;
        let (mut hole, mut next) = (at, at);
        loop {
            next = (next + 1) & mask;
            let cell = self.cells[next];
            if cell.is_free() {
                break;
            }
            // A key may only move back as far as where it belongs.
            let home = home(self.placement.of(cell.key)) & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.cells[hole] = cell;
                hole = next;
            }
        }
        self.cells[hole] = Cell::FREE;
        self.len -= 1;
    }

    fn grow(&mut self) {
        let twice = (self.cells.len() * 2).max(FIRST);
        let before = std::mem::replace(&mut self.cells, vec![Cell::FREE; twice].into());
        for cell in before.iter().filter(|cell| !cell.is_free()) {
            self.put(*cell);
        }
    }

    fn put(&mut self, cell: Cell) {
        let mask = self.cells.len() - 1;
        let mut at = home(self.placement.of(cell.key)) & mask;
        while !self.cells[at].is_free() {
            at = (at + 1) & mask;
        }
        self.cells[at] = cell;
    }
}

/// The cell from which a place is searched: the half of the place that does not choose the shard.
#[inline]
const fn home(place: u64) -> usize {
    (place >> 32) as usize
}

/// The first cells of a table: 192 bytes.
const FIRST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_cell_takes_24_bytes() {
        assert_eq!(size_of::<Cell>(), 24);
    }

    proptest! {
        #[test]
        fn cells_behave_as_a_map(
            secret: [u64; 2],
            steps in prop::collection::vec((0u64..60, any::<bool>()), 1..300),
        ) {
            let placement = Placement::new(secret);
            let mut cells = Cells::new(placement);
            let mut map = HashMap::new();
            for (step, (number, remove)) in steps.into_iter().enumerate() {
                let key = Key::of(&number);
                let state = Tat::from_bits(step as u64);
                match cells.find(placement.of(key), key) {
                    Some(found) if !remove => {
                        *found = state;
                        map.insert(key, state);
                    }
                    Some(found) => {
                        let found = *found;
                        let at = (0..cells.capacity())
                            .find(|&at| cells.get(at) == Some(found))
                            .unwrap();
                        cells.remove(at);
                        prop_assert_eq!(map.remove(&key), Some(found));
                    }
                    None => {
                        prop_assert!(!map.contains_key(&key));
                        cells.insert(key, state);
                        map.insert(key, state);
                    }
                }
                prop_assert_eq!(cells.len(), map.len());
                prop_assert!(cells.len() * 4 <= cells.capacity() * 3);
                for (key, state) in &map {
                    let found = cells.find(placement.of(*key), *key).copied();
                    prop_assert_eq!(found, Some(*state));
                }
            }
        }
    }
}
