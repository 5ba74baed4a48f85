//! The handle of a fleet guard: what users hold, ask and close.

use crate::criticality::Criticality;
use crate::fleet::builder::DistributedGuardBuilder;
use crate::fleet::error::{FleetError, StillDraining};
use crate::fleet::stats::{FleetStats, News};
use crate::permit::{Acquire, ConcurrencyGuard, Gate, Lease, Queueing, Shed};
use crate::store::FleetStore;
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
/// # The local brake
/// Under [`Estimate::Fleet`](crate::fleet::Estimate::Fleet), and only there, a node that is much slower than its fleet,
/// or refused much more by the backend, admits less of its share, down to half of it, until that is over.
/// What it leaves is not dealt to others. [`FleetStats::brake`] tells.
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

pub(super) enum Command {
    /// Beat now; tell when it is answered.
    Beat(oneshot::Sender<Result<(), FleetError>>),
    Close,
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
        FleetStats::of(&self.handle.shared, &self.handle.gate)
    }
}

impl ConcurrencyGuard for DistributedGuard {
    #[inline]
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        self.handle.gate.try_acquire(class)
    }

    fn acquire(&self, class: Criticality, max_wait: Duration) -> Acquire {
        self.handle.gate.acquire(class, max_wait)
    }

    #[inline]
    fn acquire_or_queue(&self, class: Criticality, max_wait: Duration) -> Queueing {
        self.handle.gate.acquire_or_queue(class, max_wait)
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
    use crate::fleet::stats::NodeState;
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
