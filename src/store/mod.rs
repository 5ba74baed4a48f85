//! Where a fleet's shared state lives: one port, one atomic step at a time, data in and data out.
//!
//! A store runs the two steps of a key, beat and commit, atomically, and tells nodes of changed grants. It decides
//! nothing: [`MemoryStore`] runs the functions of `fleet::key_state`, `RedisStore` their other spelling.

mod error;
mod memory;
#[cfg(feature = "redis")]
pub mod redis;

pub use self::error::{StoreError, StoreErrorKind};
pub use self::memory::MemoryStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;

use crate::fleet::key_state::EmptyStore;
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The answer to come. Dropping it does not undo what the store did.
pub(crate) type Reply<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The port: what a fleet asks of a store.
pub(crate) trait Exchange: fmt::Debug + Send + Sync {
    /// What an empty store of this kind means, unless the user says otherwise.
    fn when_empty(&self) -> EmptyStore;

    /// One report-and-renew.
    fn beat(&self, key: &Arc<str>, beat: Beat, empty: EmptyStore) -> Reply<Answer>;

    /// Writes a plan.
    fn commit(&self, key: &Arc<str>, commit: Commit) -> Reply<CommitAnswer>;

    /// News of this incarnation's grant, from now until the receiver is dropped. Best effort.
    fn subscribe(&self, key: &Arc<str>, incarnation: u64) -> mpsc::UnboundedReceiver<Push>;
}

/// A store that a fleet can use. Made from any of the stores of this module; cheap to clone.
#[derive(Clone, Debug)]
pub struct FleetStore(pub(crate) Arc<dyn Exchange>);

impl From<MemoryStore> for FleetStore {
    fn from(store: MemoryStore) -> Self {
        Self(Arc::new(store))
    }
}

#[cfg(feature = "redis")]
impl From<RedisStore> for FleetStore {
    fn from(store: RedisStore) -> Self {
        Self(Arc::new(store))
    }
}
