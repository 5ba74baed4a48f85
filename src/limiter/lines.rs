//! The lines of those who wait for a key: whoever came first goes first.

use crate::key::Key;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::MutexGuard;

/// A line for each key that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Key, Arc<Line>>>);

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
        let line = Arc::clone(self.lock().entry(key).or_default());
        Place {
            lines: self,
            key,
            line,
        }
    }

    /// Whether somebody waits for `key`.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Line>>> {
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
        // Ours and the map's: nobody joins while the map is locked.
        if Arc::strong_count(&self.line) <= 2 {
            lines.remove(&self.key);
        }
    }
}
