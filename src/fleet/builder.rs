//! How a fleet guard is configured.

use crate::adaptive::{Estimator, Gradient2, LimitAlgorithm, WindowSetup};
use crate::error::ConfigError;
use crate::fleet::check;
use crate::fleet::driver::Task;
use crate::fleet::guard::{DistributedGuard, Handle, Progress, Shared};
use crate::fleet::key_state::EmptyStore;
use crate::fleet::member::Member;
use crate::fleet::node::Node;
use crate::fleet::settings::{Allocation, Estimate, Handoff, Outage, Settings};
use crate::fleet::stats::News;
use crate::permit::{Gate, GateSetup, Status};
use crate::store::FleetStore;
use crate::time::{Clock, LocalTime};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub(super) type OnFenced = Arc<dyn Fn() + Send + Sync>;

/// Configures a [`DistributedGuard`].
///
/// # Defaults
/// A random node name, which is printed; estimate [`Fleet`](Estimate::Fleet), allocation
/// [`MaxMin`](Allocation::MaxMin), handoff [`Acknowledged`](Handoff::Acknowledged), outage
/// [`FailClosed`](Outage::FailClosed), heartbeat 500 ms, ttl 2 s, margin ttl / 10, drain 1 s, limit 1 to 10 000
/// starting at 20, weight 1, revision 0, drain time-out 30 s.
#[must_use = "a builder does nothing until `build`"]
pub struct DistributedGuardBuilder {
    store: FleetStore,
    key: String,
    node: Option<String>,
    settings: Settings,
    margin: Option<Duration>,
    algorithm: Box<dyn LimitAlgorithm>,
    weight: u32,
    empty: Option<EmptyStore>,
    drain_timeout: Duration,
    on_fenced: Option<OnFenced>,
    runtime: Option<tokio::runtime::Handle>,
}

impl DistributedGuardBuilder {
    pub(super) fn new(store: FleetStore, key: String) -> Self {
        Self {
            store,
            key,
            node: None,
            settings: Settings::default(),
            margin: None,
            algorithm: Box::new(Gradient2::default()),
            weight: 1,
            empty: None,
            drain_timeout: Duration::from_secs(30),
            on_fenced: None,
            runtime: None,
        }
    }

    /// This process's name among the nodes of the key: 1 to 128 bytes, its own for every live process.
    ///
    /// A stable name lets a restarted process be recognised; without one a random name is drawn and printed.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// How the fleet's limit is found. Default: [`Estimate::Fleet`]. The same on every node.
    pub const fn estimate(mut self, estimate: Estimate) -> Self {
        self.settings.estimate = estimate;
        self
    }

    /// How the limit is divided. Default: [`Allocation::MaxMin`]. The same on every node.
    pub const fn allocation(mut self, allocation: Allocation) -> Self {
        self.settings.allocation = allocation;
        self
    }

    /// When budget moves to another node. Default: [`Handoff::Acknowledged`]. The same on every node.
    pub const fn handoff(mut self, handoff: Handoff) -> Self {
        self.settings.handoff = handoff;
        self
    }

    /// What happens when the lease runs out. Default: [`Outage::FailClosed`]. The same on every node.
    pub const fn outage(mut self, outage: Outage) -> Self {
        self.settings.outage = outage;
        self
    }

    /// How often the node reports. Default: 500 ms; at least 10 ms. Shorter reacts faster and costs the store more:
    /// N nodes make N / heartbeat beats a second; with [`Estimate::Fleet`] and work to measure up to four times as
    /// many, but no more than 4 000 a second for that. Of more than 6 000 nodes beats are as far apart as three fit a
    /// lease: by default 10 000 nodes make 16 700 a second, which is more than a core of Redis takes; with a
    /// [`ttl`](Self::ttl) of 3.4 s they keep to 10 000. A store whose answers take longer than a heartbeat is as good as
    /// away. The same on every node.
    pub const fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.settings.heartbeat = heartbeat;
        self
    }

    /// How long a lease lasts without an answer. Default: 2 s; must be longer than the heartbeat. A crashed node's
    /// share is back after ttl + drain + 3 heartbeats at the latest. The same on every node.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// How much earlier than the store the node considers its lease over. Default: ttl / 10. Covers the drift of two
    /// clocks over one ttl, twice: 10 % is a thousand times what crystals drift. The same on every node.
    pub const fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// How long work may go on after the fence. Default: 1 s. With the layers, which cancel at the fence, the time a
    /// cancellation takes to reach the backend; with a raw guard whose work is not cancelled, the longest request.
    /// Work that takes longer is outside I2. The same on every node.
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.settings.drain = drain;
        self
    }

    /// The bounds of the fleet's limit and where it starts. Default: 1, 10 000 and 20. The same on every node.
    pub const fn limits(mut self, min: u32, max: u32, initial: u32) -> Self {
        self.settings.min_limit = min;
        self.settings.max_limit = max;
        self.settings.initial_limit = initial;
        self
    }

    /// The number of these settings. Default: 0. A node with other settings than the fleet's is refused, unless its
    /// revision is higher: then its settings take over for the fleet, and nobody joins with older ones any more. Nodes
    /// that were in before stay, with the lease, heartbeat and outage policy they came with. Below 2^53.
    pub const fn revision(mut self, revision: u64) -> Self {
        self.settings.revision = revision;
        self
    }

    /// This node's weight in the split of the limit. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The algorithm of this node's own estimate. Default: [`Gradient2`]. For [`Estimate::Median`], [`Estimate::Min`] and
    /// an outage under [`Outage::LocalOnly`], in which it begins with the last share: an algorithm of your own does so if it
    /// has [`LimitAlgorithm::begin_at`].
    pub fn local(mut self, algorithm: impl LimitAlgorithm + 'static) -> Self {
        self.algorithm = Box::new(algorithm);
        self
    }

    /// What an empty store means. Default: [`EmptyStore::Trust`] for the memory store, else [`EmptyStore::Learn`].
    pub const fn empty_store(mut self, empty: EmptyStore) -> Self {
        self.empty = Some(empty);
        self
    }

    /// How long [`DistributedGuard::close`] waits for running requests. Default: 30 s.
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Called, on the driver's thread, when the lease runs out: whoever still works should stop. Must not block.
    pub fn on_fenced(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_fenced = Some(Arc::new(hook));
        self
    }

    /// Drives the guard on a runtime of the caller's, which must have time and I/O enabled. Default: one thread for
    /// all guards of the process, which a blocked or single-threaded runtime of the program cannot hold up.
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Builds the guard and starts to join the fleet. Needs no runtime.
    ///
    /// # Errors
    /// If a setting cannot work; the message says what to write instead.
    pub fn build(mut self) -> Result<DistributedGuard, ConfigError> {
        self.settings.margin = self.margin.unwrap_or(self.settings.ttl / 10);
        check::settings(&self.settings)?;
        check::name("key", &self.key)?;
        check::weight(self.weight)?;
        if let Some(node) = &self.node {
            check::name("node", node)?;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: identities are drawn here and passed in"
        )]
        let incarnation = fastrand::u64(1..);
        let node: Arc<str> = match self.node {
            Some(node) => node.into(),
            None => {
                let drawn = format!("node-{:08x}", incarnation >> 32);
                crate::observe::named(&self.key, &drawn);
                drawn.into()
            }
        };
        let clock = Clock::system();
        let key: Arc<str> = self.key.into();
        let gate = Arc::new(Gate::new(GateSetup {
            name: Arc::clone(&key),
            clock: clock.clone(),
            ceiling: 0,
            status: Status::Cold,
            fence_at: LocalTime::ZERO,
            estimator: Estimator::from(self.algorithm),
            window: WindowSetup::default(),
            estimator_rules: false,
        }));
        let shared = Arc::new(Shared {
            key: Arc::clone(&key),
            node: Arc::clone(&node),
            progress: watch::Sender::new(Progress::default()),
            news: Mutex::new(News::default()),
        });
        let (commands, inbox) = mpsc::unbounded_channel();
        let handle = Handle {
            gate: Arc::clone(&gate),
            shared: Arc::clone(&shared),
            commands,
            drain_timeout: self.drain_timeout,
        };
        let store = self.store.0;
        let empty = self.empty.unwrap_or_else(|| store.when_empty());
        let member = Member::new(node, incarnation, self.settings, clock.now());
        let task = Task::new(
            key,
            Node::new(member, self.weight, gate),
            shared,
            store,
            empty,
            self.on_fenced,
            inbox,
        );
        crate::background::spawn(self.runtime.as_ref(), task.run());
        Ok(DistributedGuard {
            handle: Arc::new(handle),
        })
    }
}

impl fmt::Debug for DistributedGuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedGuardBuilder")
            .field("key", &self.key)
            .field("node", &self.node)
            .field("settings", &self.settings)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn refused(
        configure: impl FnOnce(DistributedGuardBuilder) -> DistributedGuardBuilder,
    ) -> String {
        let builder = DistributedGuard::builder(MemoryStore::new(), "key").node("node");
        configure(builder)
            .build()
            .expect_err("this cannot work")
            .to_string()
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_write_instead() {
        let ms = Duration::from_millis;
        for (message, part) in [
            (
                refused(|builder| builder.node("")),
                "node cannot be \"\" (0 bytes): use 1 to 128 bytes",
            ),
            (
                refused(|builder| builder.node("x".repeat(129))),
                "use 1 to 128 bytes",
            ),
            (
                refused(|builder| builder.node("a\nb")),
                "without control characters",
            ),
            (
                refused(|builder| builder.heartbeat(ms(0))),
                "heartbeat cannot be 0ns: use 10 ms",
            ),
            (
                refused(|builder| builder.heartbeat(Duration::MAX)),
                "heartbeat",
            ),
            (
                refused(|builder| builder.ttl(ms(500))),
                "ttl cannot be 500ms: use more than the heartbeat",
            ),
            (refused(|builder| builder.ttl(Duration::MAX)), "ttl"),
            (
                refused(|builder| builder.margin(ms(2000))),
                "margin cannot be 2s: use less than the ttl",
            ),
            (refused(|builder| builder.margin(ms(0))), "clocks drift"),
            (refused(|builder| builder.drain(Duration::MAX)), "drain"),
            (
                refused(|builder| builder.limits(0, 5, 1)),
                "limits cannot be (0, 5)",
            ),
            (
                refused(|builder| builder.limits(9, 5, 7)),
                "at most the maximum",
            ),
            (
                refused(|builder| builder.limits(1, 5, 7)),
                "initial limit cannot be 7",
            ),
            (
                refused(|builder| builder.estimate(Estimate::Fixed(0))),
                "1 to 1 000 000",
            ),
            (refused(|builder| builder.weight(0)), "weight cannot be 0"),
            (
                refused(|builder| builder.revision(1 << 53)),
                "revision cannot be 9007199254740992: use less than 2^53",
            ),
            (
                refused(|builder| builder.weight(u32::MAX)),
                "weight cannot be 4294967295: use 1 to 1 000 000",
            ),
            (
                refused(|builder| builder.outage(Outage::Frozen { hold: ms(0) })),
                "more than zero",
            ),
            (
                refused(|builder| {
                    builder.outage(Outage::SafeShare {
                        slots: 0,
                        hold: ms(9),
                    })
                }),
                "at least 1",
            ),
        ] {
            assert!(
                message.contains(part),
                "{message:?} does not contain {part:?}"
            );
        }
        let error = DistributedGuard::builder(MemoryStore::new(), "")
            .build()
            .expect_err("no key");
        assert!(error.to_string().starts_with("key cannot be"), "{error}");
    }
}
