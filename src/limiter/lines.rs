//! The lines of those who wait for a key: whoever came first goes first.

use crate::key::Key;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::MutexGuard;

/// A line for each key that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Key, Queue>>);

/// A line, and how many places in it are taken: counted under the lock, as those who have left may still be letting go of
/// the line itself.
#[derive(Debug, Default)]
struct Queue {
    places: usize,
    line: Arc<Line>,
}

/// Served in the order of asking, as tokio promises. Whoever has had the turn may leave word of how many units were left
/// for those behind.
type Line = tokio::sync::Mutex<u32>;

/// A place in a line; the last one to leave takes the line away.
pub(crate) struct Place<'a> {
    lines: &'a Lines,
    key: Key,
    line: Arc<Line>,
}

impl Lines {
    /// Takes a place at the end of a key's line.
    pub(crate) fn join(&self, key: Key) -> Place<'_> {
        let mut lines = self.lock();
        let queue = lines.entry(key).or_default();
        queue.places += 1;
        Place {
            lines: self,
            key,
            line: Arc::clone(&queue.line),
        }
    }

    /// Whether somebody waits for `key`.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that somebody waits for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Place<'_> {
    /// Ready when nobody is in front, which holds until the turn is dropped.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, u32> {
        self.line.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Entry::Occupied(mut queue) = lines.entry(self.key) {
            queue.get_mut().places -= 1;
            if queue.get().places == 0 {
                queue.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It has given up its place, and is about to drop what it held: the next one to leave finds it so.
    #[test]
    fn the_last_one_takes_the_line_away_though_another_is_still_letting_go_of_it() {
        let (lines, key) = (Lines::default(), Key::of("a"));
        let [first, second] = [lines.join(key), lines.join(key)];
        let letting_go = Arc::clone(&first.line);
        drop(first);
        assert_eq!(lines.len(), 1, "the second waits");
        drop(second);
        assert_eq!(lines.len(), 0);
        drop(letting_go);
        let third = lines.join(key);
        assert!(lines.has(&key));
        drop(third);
        assert_eq!(lines.len(), 0);
    }
}
