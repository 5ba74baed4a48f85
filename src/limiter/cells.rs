//! A hash table of key states in one array of words: a known key costs one cache miss.
//!
//! Linear probing, at most three quarters full, removal by moving back what follows (Knuth, volume 3, 6.4, algorithm
//! R), so there are no marks of removed cells to clean up and a key is found in 2.5 cells on average. A table of
//! control bytes beside the cells, as in hashbrown, is a second miss: with 100 000 keys that was a sixth of the time.
//!
//! A cell is a key and the words of its state, side by side. How many there are is a type where it is known, so that
//! a token bucket's cell is found with the same few instructions as if it were a struct.

use crate::key::Key;

/// Words of a state.
pub(super) trait Width: Copy {
    fn words(self) -> usize;
}

/// A state of one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneWord;

impl Width for OneWord {
    #[inline(always)]
    fn words(self) -> usize {
        1
    }
}

/// A state of as many words as its rules need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words(pub(super) usize);

impl Width for Words {
    #[inline(always)]
    fn words(self) -> usize {
        self.0
    }
}

/// The states of some keys. Never holds [`Key::EVERYONE`], which marks a free cell.
#[derive(Debug)]
pub(super) struct Cells<W> {
    /// Cell by cell: the two halves of a key, and its state.
    words: Box<[u64]>,
    /// Cells, free ones included: a power of two, or none.
    capacity: usize,
    len: usize,
    width: W,
    placement: Placement,
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

impl<W: Width> Cells<W> {
    pub(super) fn new(placement: Placement, width: W) -> Self {
        Self {
            words: Box::default(),
            capacity: 0,
            len: 0,
            width,
            placement,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many there are, free ones included.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    pub(super) fn width(&self) -> usize {
        self.width.words()
    }

    /// The state of `key`, which belongs at `place`.
    #[inline]
    pub(super) fn find(&mut self, place: u64, key: Key) -> Option<&mut [u64]> {
        let mask = self.capacity.checked_sub(1)?;
        let mut at = home(place) & mask;
        // Ends: at least a quarter is free.
        loop {
            let found = self.key(at);
            if found == key {
                return Some(&mut self.cell_mut(at)[KEY..]);
            }
            if found == Key::EVERYONE {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The state in cell `at`, unless it is free.
    pub(super) fn get(&self, at: usize) -> Option<&[u64]> {
        (at < self.capacity && !self.is_free(at)).then(|| &self.cell(at)[KEY..])
    }

    /// The key in cell `at` and its state, unless it is free.
    pub(super) fn entry(&self, at: usize) -> Option<(Key, &[u64])> {
        Some((self.key(at), self.get(at)?))
    }

    /// Puts in a key that has no cell. Moves all of them, to an array twice as large, when three quarters are taken.
    pub(super) fn insert(&mut self, key: Key, state: &[u64]) {
        if (self.len + 1) * 4 > self.capacity * 3 {
            self.grow();
        }
        let cell = self.vacate(key);
        cell[..KEY].copy_from_slice(&key.halves());
        cell[KEY..].copy_from_slice(state);
        self.len += 1;
    }

    /// Takes out the key in cell `at`. Keys from later cells may move into it, and into the ones after it.
    pub(super) fn remove(&mut self, at: usize) {
        let mask = self.capacity - 1;
        let stride = self.stride();
        let (mut hole, mut next) = (at, at);
        loop {
            next = (next + 1) & mask;
            if self.is_free(next) {
                break;
            }
            // A key may only move back as far as where it belongs.
            let home = home(self.placement.of(self.key(next))) & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.words
                    .copy_within(next * stride..(next + 1) * stride, hole * stride);
                hole = next;
            }
        }
        self.cell_mut(hole).fill(0);
        self.len -= 1;
    }

    /// Takes out all keys, and gives their memory back.
    pub(super) fn clear(&mut self) {
        self.words = Box::default();
        self.capacity = 0;
        self.len = 0;
    }

    fn grow(&mut self) {
        let twice = (self.capacity * 2).max(FIRST);
        let stride = self.stride();
        let before = std::mem::replace(&mut self.words, vec![0; twice * stride].into());
        self.capacity = twice;
        for cell in before.chunks_exact(stride) {
            let key = key_of(cell);
            if key != Key::EVERYONE {
                self.vacate(key).copy_from_slice(cell);
            }
        }
    }

    /// The free cell in which `key` belongs.
    fn vacate(&mut self, key: Key) -> &mut [u64] {
        let mask = self.capacity - 1;
        let mut at = home(self.placement.of(key)) & mask;
        while !self.is_free(at) {
            at = (at + 1) & mask;
        }
        self.cell_mut(at)
    }

    #[inline]
    fn is_free(&self, at: usize) -> bool {
        self.key(at) == Key::EVERYONE
    }

    #[inline]
    fn key(&self, at: usize) -> Key {
        key_of(self.cell(at))
    }

    #[inline]
    fn cell(&self, at: usize) -> &[u64] {
        let stride = self.stride();
        &self.words[at * stride..][..stride]
    }

    #[inline]
    fn cell_mut(&mut self, at: usize) -> &mut [u64] {
        let stride = self.stride();
        &mut self.words[at * stride..][..stride]
    }

    #[inline(always)]
    fn stride(&self) -> usize {
        KEY + self.width.words()
    }
}

#[inline]
fn key_of(cell: &[u64]) -> Key {
    Key::from_halves([cell[0], cell[1]])
}

/// Words of a key.
const KEY: usize = 2;

/// The cell from which a place is searched: the half of the place that does not choose the shard.
#[inline]
const fn home(place: u64) -> usize {
    (place >> 32) as usize
}

/// The first cells of a table: 192 bytes for a token bucket.
const FIRST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_token_buckets_cell_takes_24_bytes() {
        let mut cells = Cells::new(Placement::new([1, 2]), OneWord);
        cells.insert(Key::of("a"), &[1]);
        assert_eq!(cells.bytes(), FIRST * 24);
    }

    fn behaves_as_a_map<W: Width>(
        secret: [u64; 2],
        width: W,
        steps: Vec<(u64, bool)>,
    ) -> Result<(), TestCaseError> {
        let placement = Placement::new(secret);
        let mut cells = Cells::new(placement, width);
        let mut map = HashMap::new();
        for (step, (number, remove)) in steps.into_iter().enumerate() {
            let key = Key::of(&number);
            let state: Vec<u64> = (0..width.words()).map(|at| (step + at) as u64).collect();
            match cells.find(placement.of(key), key) {
                Some(found) if !remove => {
                    found.copy_from_slice(&state);
                    map.insert(key, state);
                }
                Some(found) => {
                    let found = found.to_vec();
                    let at = (0..cells.capacity())
                        .find(|&at| cells.get(at) == Some(&found))
                        .unwrap();
                    cells.remove(at);
                    prop_assert_eq!(map.remove(&key), Some(found));
                }
                None => {
                    prop_assert!(!map.contains_key(&key));
                    cells.insert(key, &state);
                    map.insert(key, state);
                }
            }
            prop_assert_eq!(cells.len(), map.len());
            prop_assert!(cells.len() * 4 <= cells.capacity() * 3);
            for (key, state) in &map {
                let found = cells.find(placement.of(*key), *key);
                prop_assert_eq!(found.as_deref(), Some(&**state));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn cells_behave_as_a_map(
            secret: [u64; 2],
            steps in prop::collection::vec((0u64..60, any::<bool>()), 1..300),
        ) {
            behaves_as_a_map(secret, OneWord, steps)?;
        }

        #[test]
        fn cells_of_any_width_behave_as_a_map(
            secret: [u64; 2],
            width in 1usize..7,
            steps in prop::collection::vec((0u64..60, any::<bool>()), 1..300),
        ) {
            behaves_as_a_map(secret, Words(width), steps)?;
        }
    }
}
