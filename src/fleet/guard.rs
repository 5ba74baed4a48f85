//! The handle of a fleet guard: what users hold, ask and close.

use crate::criticality::Criticality;
use crate::fleet::builder::DistributedGuardBuilder;
use crate::fleet::member::Refusal;
use crate::fleet::settings::Settings;
use crate::permit::{Acquire, ConcurrencyGuard, Gate, Lease, Shed};
use crate::store::{FleetStore, StoreError};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Keeps the requests in flight of a whole fleet below one limit.
///
/// Every process that fronts the same backend builds one with the same key over the same store. Admission is local:
/// it takes tens of nanoseconds and never touches the network. Cloning is cheap; clones share the slots. When the
/// last clone is dropped the node leaves the fleet in the background.
///
/// # Guarantees
/// Those of the [module](crate::fleet). What is already running when the lease runs out still runs: the layers
/// cancel it, `on_fenced` and [`Lease::token`] let others do so, and
/// [`drain`](DistributedGuardBuilder::drain) says how long it may take.
///
/// # Examples
/// ```
/// use tidegate::fleet::{DistributedGuard, Estimate};
/// use tidegate::store::MemoryStore;
/// use tidegate::{ConcurrencyGuard, Criticality};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let guard = DistributedGuard::builder(MemoryStore::new(), "inference")
///     .node("a")
///     .estimate(Estimate::Fixed(24))
///     .build()?;
/// guard.ready().await?;
/// let lease = guard.try_acquire(Criticality::Default)?;
/// lease.success();
/// guard.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DistributedGuard {
    pub(super) handle: Arc<Handle>,
}

/// What the clones share. Dropping it closes the guard in the background.
pub(super) struct Handle {
    pub(super) gate: Arc<Gate>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) drain_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A driver that has ended has nothing to close.
        let _ = self.commands.send(Command::Close);
    }
}

/// What the driver tells the handles.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: Arc<str>,
    pub(super) node: Arc<str>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) news: Mutex<News>,
}

impl Shared {
    pub(super) fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().expect("nothing panics under this lock")
    }
}

/// How far the node has come. Only ever forward, but for `granted`.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) granted: bool,
    pub(super) ended: Option<FleetError>,
    /// The node has left: nothing of it is held any more.
    pub(super) left: bool,
}

/// The driver's last word, for `stats`.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    pub(super) state: NodeState,
    pub(super) limit: u32,
    pub(super) share: u32,
    pub(super) target: u32,
    pub(super) nodes: u32,
    pub(super) beats: u64,
    pub(super) failures: u64,
    pub(super) plans: u64,
    pub(super) fences: u64,
    pub(super) last_latency: Option<Duration>,
    pub(super) last_answer: Option<crate::time::LocalTime>,
    pub(super) trouble: Option<Arc<StoreError>>,
}

pub(super) enum Command {
    /// Beat now; tell when it is answered.
    Beat(oneshot::Sender<Result<(), FleetError>>),
    Close,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum NodeState {
    /// Waiting for the first answer of the store.
    #[default]
    Joining,
    /// The store records claims and grants nothing yet.
    Learning,
    /// Admitting under its share.
    Active,
    /// The lease ran out; the outage policy decides.
    Fenced,
    /// Draining.
    Closing,
    /// Gone.
    Left,
    /// Not welcome; see [`DistributedGuard::ready`].
    Refused,
}

/// Why a node is not, or no longer, part of the fleet.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Another live process has the same name.
    #[error(
        "another live process is node {name:?} of key {key:?}: give every process a name of its own"
    )]
    DuplicateName {
        /// The key.
        key: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
    /// The fleet runs with other settings.
    #[error(
        "{field} is {ours} here and {theirs} in the fleet of key {key:?}: use the same settings on every node, or a \
         higher revision to change them for all"
    )]
    SettingsMismatch {
        /// The key.
        key: Arc<str>,
        /// The first field that differs.
        field: &'static str,
        /// Its value here.
        ours: String,
        /// Its value in the fleet.
        theirs: String,
    },
    /// The store cannot serve a fleet, and waiting will not help.
    #[error("the store cannot serve key {key:?}")]
    Store {
        /// The key.
        key: Arc<str>,
        /// What is wrong.
        #[source]
        source: Arc<StoreError>,
    },
    /// The guard was closed.
    #[error("the guard is closed")]
    Closed,
}

impl FleetError {
    pub(super) fn refused(
        refusal: &Refusal,
        key: &Arc<str>,
        name: &Arc<str>,
        ours: &Settings,
    ) -> Self {
        match refusal {
            Refusal::DuplicateName => Self::DuplicateName {
                key: Arc::clone(key),
                name: Arc::clone(name),
            },
            Refusal::OtherSettings(line) => {
                let theirs = Settings::read(line);
                let field = theirs
                    .as_ref()
                    .and_then(|theirs| ours.difference(theirs))
                    .unwrap_or("protocol");
                let value = |line: &str| {
                    line.split(';')
                        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == field))
                        .map_or_else(String::new, |(_, value)| value.to_owned())
                };
                Self::SettingsMismatch {
                    key: Arc::clone(key),
                    field,
                    ours: value(&ours.to_string()),
                    theirs: value(line),
                }
            }
        }
    }
}

/// Closing took too long: requests are still running.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{in_flight} requests were still running when the time to drain was over; the node leaves when they end"
)]
#[non_exhaustive]
pub struct StillDraining {
    /// How many.
    pub in_flight: u32,
}

/// What a fleet guard is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FleetStats {
    /// The key.
    pub key: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// What the node is doing.
    pub state: NodeState,
    /// The fleet's limit at the last answer; 0 before the first plan.
    pub limit: u32,
    /// What this node may have in flight.
    pub share: u32,
    /// What it would have if everybody had drained.
    pub target: u32,
    /// What it has in flight.
    pub in_flight: u32,
    /// Nodes at the last plan.
    pub nodes: u32,
    /// What the local estimator alone would allow.
    pub local_limit: u32,
    /// Beats answered.
    pub beats: u64,
    /// Beats that were not.
    pub failures: u64,
    /// Plans this node made that were committed.
    pub plans: u64,
    /// How often the lease ran out.
    pub fences: u64,
    /// Round trip of the last answered beat.
    pub last_beat_latency: Option<Duration>,
    /// How long ago that answer arrived.
    pub last_beat_age: Option<Duration>,
    /// What is wrong with the store, until a beat is answered again.
    pub trouble: Option<Arc<StoreError>>,
    /// Requests that got a slot and have given it back.
    pub completions: u64,
    /// Of those, served.
    pub successes: u64,
    /// Of those, application errors.
    pub failures_of_requests: u64,
    /// Of those, refused or timed out by the backend.
    pub overloads: u64,
    /// Refusals by reason, in the order of [`Shed::ALL`].
    pub sheds: [u64; Shed::ALL.len()],
}

impl DistributedGuard {
    /// A guard for `key`, which nodes fronting the same backend share, over `store`.
    pub fn builder(
        store: impl Into<FleetStore>,
        key: impl Into<String>,
    ) -> DistributedGuardBuilder {
        DistributedGuardBuilder::new(store.into(), key.into())
    }

    /// Waits for the first slot of this process.
    ///
    /// On a shared store that knows nothing of the key this takes one lease time (I9). While the store is away it
    /// goes on waiting; [`stats`](Self::stats) says what is wrong.
    ///
    /// # Errors
    /// If the node is refused, the store cannot serve a fleet, or the guard was closed.
    pub async fn ready(&self) -> Result<(), FleetError> {
        let mut progress = self.handle.shared.progress.subscribe();
        let seen = progress
            .wait_for(|progress| progress.granted || progress.ended.is_some())
            .await;
        match seen.map(|progress| progress.ended.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(FleetError::Closed),
        }
    }

    /// Beats now and waits for the answer.
    ///
    /// # Errors
    /// If the store did not answer, the node is refused, or the guard was closed.
    pub async fn heartbeat(&self) -> Result<(), FleetError> {
        let (done, answered) = oneshot::channel();
        if self.handle.commands.send(Command::Beat(done)).is_err() {
            return Err(FleetError::Closed);
        }
        answered.await.unwrap_or(Err(FleetError::Closed))
    }

    /// Admits nothing more, waits for what is running and leaves the fleet.
    ///
    /// Waits at most the [`drain_timeout`](DistributedGuardBuilder::drain_timeout). Closing twice is the same as
    /// once.
    ///
    /// # Errors
    /// [`StillDraining`] if requests are still running then; the node goes on in the background and leaves when the
    /// last one ends.
    pub async fn close(&self) -> Result<(), StillDraining> {
        let mut progress = self.handle.shared.progress.subscribe();
        // A driver that has ended has closed already.
        let _ = self.handle.commands.send(Command::Close);
        let left = progress.wait_for(|progress| progress.left);
        match tokio::time::timeout(self.handle.drain_timeout, left).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StillDraining {
                in_flight: self.handle.gate.sample().1,
            }),
        }
    }

    /// Whether this process has no lease on slots at this instant, by the clock: it ran out, or there was none yet.
    ///
    /// For work with something between its admission and its effect, such as a connection to be made: ask last,
    /// right before the bytes go out. A process that was stopped meanwhile learns it here, also before the driver has
    /// woken up and cancelled the tokens. One clock reading.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.handle.gate.is_fenced()
    }

    /// The name of this node, given or drawn.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.handle.shared.node
    }

    /// What the guard is doing.
    #[must_use]
    pub fn stats(&self) -> FleetStats {
        let Handle { gate, shared, .. } = &*self.handle;
        let news = shared.news().clone();
        let totals = gate.totals();
        FleetStats {
            key: Arc::clone(&shared.key),
            node: Arc::clone(&shared.node),
            state: news.state,
            limit: news.limit,
            share: news.share,
            target: news.target,
            in_flight: gate.sample().1,
            nodes: news.nodes,
            local_limit: gate.local_limit(),
            beats: news.beats,
            failures: news.failures,
            plans: news.plans,
            fences: news.fences,
            last_beat_latency: news.last_latency,
            last_beat_age: news.last_answer.map(|at| gate.clock().now().since(at)),
            trouble: news.trouble,
            completions: totals.completions(),
            successes: totals.successes,
            failures_of_requests: totals.failures,
            overloads: totals.overloads,
            sheds: totals.sheds,
        }
    }
}

impl ConcurrencyGuard for DistributedGuard {
    #[inline]
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        self.handle.gate.try_acquire(class)
    }

    fn acquire(&self, class: Criticality, max_wait: Duration) -> Acquire {
        Acquire::new(Arc::clone(&self.handle.gate), class, max_wait)
    }
}

impl fmt::Debug for DistributedGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { gate, shared, .. } = &*self.handle;
        let (ceiling, in_flight) = gate.sample();
        f.debug_struct("DistributedGuard")
            .field("key", &shared.key)
            .field("node", &shared.node)
            .field("ceiling", &ceiling)
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_guard_is_fenced_before_its_first_grant_and_not_while_it_drains() {
        let builder = DistributedGuard::builder(MemoryStore::new(), "key").node("a");
        // A runtime that is not being polled: the driver gets nowhere until we let it.
        let guard = builder
            .runtime(tokio::runtime::Handle::current())
            .build()
            .unwrap();
        assert!(guard.is_fenced());
        guard.ready().await.unwrap();
        assert!(!guard.is_fenced());
        let lease = guard.try_acquire(Criticality::Default).unwrap();
        let (closing, ()) = tokio::join!(guard.close(), async {
            while guard.stats().state != NodeState::Closing {
                tokio::task::yield_now().await;
            }
            assert!(!guard.is_fenced());
            assert_eq!(
                guard.try_acquire(Criticality::Default).unwrap_err(),
                Shed::Closed
            );
            lease.success();
        });
        closing.unwrap();
        assert!(guard.is_fenced());
    }
}
