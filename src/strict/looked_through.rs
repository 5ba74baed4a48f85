//! A table of keys that is looked through a few at a time: what is over makes room, and nobody waits for all of it.

use crate::key::Key;
use indexmap::IndexMap;

#[derive(Debug)]
pub(crate) struct LookedThrough<V> {
    keys: IndexMap<Key, V>,
    /// Where to look next.
    next: usize,
}

impl<V> Default for LookedThrough<V> {
    fn default() -> Self {
        Self {
            keys: IndexMap::default(),
            next: 0,
        }
    }
}

impl<V> LookedThrough<V> {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.keys.contains_key(&key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&V> {
        self.keys.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut V> {
        self.keys.get_mut(&key)
    }

    pub(crate) fn get_or_insert_with(&mut self, key: Key, make: impl FnOnce() -> V) -> &mut V {
        self.keys.entry(key).or_insert_with(make)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<V> {
        self.keys.swap_remove(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &V)> {
        self.keys.iter().map(|(key, value)| (*key, value))
    }

    /// The key at a place: when one is removed, the last one takes its place.
    pub(crate) fn at(&self, place: usize) -> Option<Key> {
        self.keys.get_index(place).map(|(key, _)| *key)
    }

    /// Looks at the next `most` keys, and removes those that `keeps` says no to.
    pub(crate) fn look_through(&mut self, most: usize, mut keeps: impl FnMut(Key, &mut V) -> bool) {
        for _ in 0..most.min(self.keys.len()) {
            if self.next >= self.keys.len() {
                self.next = 0;
            }
            let looked_at = self.keys.get_index_mut(self.next);
            if looked_at.is_some_and(|(key, value)| keeps(*key, value)) {
                self.next += 1;
            } else {
                // The last one takes its place, and is looked at next.
                self.keys.swap_remove_index(self.next);
            }
        }
    }
}

/// Keys that are looked at, or moved, by one operation or under one lock.
pub(crate) const AT_A_TIME: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_looks_at_every_key_once_and_never_at_more_than_asked() {
        let mut keys = LookedThrough::default();
        for number in 0..10_u64 {
            keys.get_or_insert_with(Key::of(&number), || number);
        }
        let mut seen = Vec::new();
        for _ in 0..5 {
            let before = seen.len();
            keys.look_through(2, |_, number| {
                seen.push(*number);
                *number % 3 != 0
            });
            assert_eq!(seen.len(), before + 2);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        let mut left: Vec<u64> = keys.iter().map(|(_, number)| *number).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 4, 5, 7, 8]);
        // A round of a table that is smaller ends.
        keys.look_through(100, |_, _| false);
        assert_eq!(keys.len(), 0);
        keys.look_through(1, |_, _| unreachable!("nothing is left"));
    }
}
