//! The embedded store: the state of keys in this process, for one guard or several.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push};
use crate::store::{Exchange, Reply};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Holds the state of a fleet within one process: no server needed. Guards built over clones of it form a fleet.
///
/// An empty memory store grants at once: it cannot lose its data without ending the nodes too.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    keys: Arc<Mutex<HashMap<Arc<str>, Key>>>,
}

#[derive(Debug, Default)]
struct Key {
    state: KeyState,
    subscribers: BTreeMap<u64, mpsc::UnboundedSender<Push>>,
}

/// There is one server, and it lives as long as the process.
const SERVER: &str = "memory";

impl MemoryStore {
    /// A store with no keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, as a flushed server would: for tests of what a program does then.
    pub fn flush(&self) {
        for key in self.lock().values_mut() {
            key.state = KeyState::default();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Key>> {
        // Steps are pure until they return; a panic in one leaves nothing half-written that could be read.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange for MemoryStore {
    fn when_empty(&self) -> EmptyStore {
        EmptyStore::Trust
    }

    fn beat(&self, key: &Arc<str>, beat: Beat, empty: EmptyStore) -> Reply<Answer> {
        let answer = self
            .lock()
            .entry(Arc::clone(key))
            .or_default()
            .state
            .beat(&beat, SERVER, empty);
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn commit(&self, key: &Arc<str>, commit: Commit) -> Reply<CommitAnswer> {
        let mut keys = self.lock();
        let key = keys.entry(Arc::clone(key)).or_default();
        let (answer, pushes) = key.state.commit(&commit, SERVER);
        for (incarnation, push) in pushes {
            if key
                .subscribers
                .get(&incarnation)
                .is_some_and(|subscriber| subscriber.send(push).is_err())
            {
                key.subscribers.remove(&incarnation);
            }
        }
        drop(keys);
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn subscribe(&self, key: &Arc<str>, incarnation: u64) -> mpsc::UnboundedReceiver<Push> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut keys = self.lock();
        let subscribers = &mut keys.entry(Arc::clone(key)).or_default().subscribers;
        subscribers.retain(|_, subscriber| !subscriber.is_closed());
        subscribers.insert(incarnation, sender);
        receiver
    }
}
