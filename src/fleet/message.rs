//! What nodes and the store say to one another. Integers only: the same in memory, over Redis and in a model.

use crate::fleet::estimate::Memory;
use crate::fleet::settings::Settings;
use crate::time::StoreTime;
use std::sync::Arc;
use std::time::Duration;

/// What a node is doing, as far as the store must know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Mode {
    /// Admitting under its share.
    Running,
    /// Its lease ran out; it enforces what the beat says and drops answers to earlier beats.
    Fenced,
    /// Draining, to leave.
    Closing,
}

/// Cumulative counters of one incarnation, and a few gauges. The store carries them, planners read them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Report {
    /// The node's own estimate of the backend; 0 while it has no samples.
    pub(crate) local_limit: u32,
    /// Offered concurrency, in slots, rounded up; 0 while there is nothing to do, so that slots can be lent.
    pub(crate) demand: u32,
    /// Of the demand, in slots, rounded up: what is critical, what is at least default, and at least sheddable.
    pub(crate) ranked: [u32; 3],
    /// The most in flight since the last beat that was answered.
    pub(crate) peak: u32,
    pub(crate) weight: u32,
    /// This node's baseline latency, in microseconds; 0 if unknown.
    pub(crate) baseline_us: u64,
    /// Served, each with a latency.
    pub(crate) completions: u64,
    /// Sum of those latencies, in microseconds.
    pub(crate) latency_us: u64,
    /// Sum of the squares of those latencies, in square microseconds, coarsely; the last 64 bits of it.
    pub(crate) latency_us2: u64,
    /// Integral of in-flight over time, in slot-microseconds.
    pub(crate) held_us: u64,
    /// Requests that asked for a slot.
    pub(crate) arrivals: u64,
    /// Found the share in use: refused, or made to wait and served.
    pub(crate) sheds: u64,
    /// Refused for other reasons.
    pub(crate) other_sheds: u64,
    /// The backend said no, or timed out.
    pub(crate) drops: u64,
    /// The node's own clock, in microseconds: only what passes between two reports means anything.
    pub(crate) clock_us: u64,
    /// Of the slot-time, what came after the sample, by bodies that stream on, and until now; in slot-microseconds.
    pub(crate) lingered_us: u64,
}

/// One report-and-renew.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Beat {
    pub(crate) name: Arc<str>,
    /// Random identity of one process life.
    pub(crate) incarnation: u64,
    /// Rises with every beat of an incarnation.
    pub(crate) sequence: u64,
    /// The epoch whose grant the node enforces.
    pub(crate) epoch: Option<u64>,
    /// The epoch to begin if the store has none: random, new in every beat.
    pub(crate) fresh_epoch: u64,
    /// The answered store time, advanced by the node's own clock (I11).
    pub(crate) store_time: Option<StoreTime>,
    /// The stamp of the last applied answer: a sign of life newer than it.
    pub(crate) echo: u64,
    /// The generation enforced: acknowledged by this beat.
    pub(crate) generation: u64,
    /// The share enforced, in the same instant as `in_flight`.
    pub(crate) share: u32,
    pub(crate) in_flight: u32,
    pub(crate) mode: Mode,
    /// Requests were refused while the share was below the target.
    pub(crate) starved: bool,
    /// The last limit the node heard of, and the number of the plan that set it.
    pub(crate) limit: u32,
    pub(crate) plan: u64,
    /// The longest lease that any node of this key has had as far as this one has heard, with all that a lease waits for.
    pub(crate) longest: Duration,
    pub(crate) report: Report,
    pub(crate) settings: Arc<Settings>,
    /// The canonical line of these settings.
    pub(crate) line: Arc<str>,
}

/// What a node may have in flight, by number.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Grant {
    pub(crate) generation: u64,
    pub(crate) share: u32,
    /// The part of the share that outlives an outage under `SafeShare`.
    pub(crate) safe: u32,
}

/// Whether the node is welcome.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Welcome {
    Member,
    /// Another live process has this name.
    DuplicateName,
    /// The key has other settings, of the same revision, or to a newcomer of a higher one: their canonical line.
    OtherSettings(Arc<str>),
    /// The record is closed: the node has left.
    Gone,
}

/// What the whole fleet measured in its last window, for nodes to compare themselves with.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Pulse {
    /// Of the window; 0 before the first, and while nobody measures.
    pub(crate) number: u64,
    /// The mean latency, in microseconds, each node's usual distance from it taken off.
    pub(crate) latency_us: u64,
    /// What it would be without a queue, as far as is known; else 0.
    pub(crate) baseline_us: u64,
    /// In flight on average, in thousandths.
    pub(crate) milli: u64,
    /// Drops among a million answers.
    pub(crate) drops_ppm: u64,
}

impl Pulse {
    /// As many numbers, in the order in which they are written.
    pub(crate) const fn numbers(self) -> [u64; 5] {
        [
            self.number,
            self.latency_us,
            self.baseline_us,
            self.milli,
            self.drops_ppm,
        ]
    }

    /// The numbers back.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) const fn of([number, latency_us, baseline_us, milli, drops_ppm]: [u64; 5]) -> Self {
        Self {
            number,
            latency_us,
            baseline_us,
            milli,
            drops_ppm,
        }
    }

    /// How many of the requests in flight wait for the backend, by Little's law.
    pub(crate) fn queue(self) -> f64 {
        let waiting = self.latency_us.saturating_sub(self.baseline_us) as f64;
        self.milli as f64 / 1000.0 * waiting / self.latency_us.max(1) as f64
    }
}

/// The store's answer to a beat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// Of the beat that is answered.
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
    pub(crate) welcome: Welcome,
    pub(crate) stamp: u64,
    pub(crate) store_time: StoreTime,
    pub(crate) grant: Grant,
    /// What the node would have if everybody had drained.
    pub(crate) target: u32,
    pub(crate) limit: u32,
    pub(crate) plan: u64,
    /// Nodes at the last plan.
    pub(crate) nodes: u32,
    pub(crate) pulse: Pulse,
    /// The longest lease that a node may have: whoever finds the store empty lets everybody wait so long.
    pub(crate) longest: Duration,
    /// How long the store goes on recording claims before it grants; zero in ordinary life.
    pub(crate) learning: Duration,
    /// A plan is wanted but must wait this long: beat again then.
    pub(crate) again_in: Option<Duration>,
    pub(crate) ticket: Option<Box<Ticket>>,
}

/// The right to make the next plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) token: u64,
    pub(crate) snapshot: Snapshot,
}

/// A key as a planner sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) epoch: u64,
    /// Bumped by claims alone: a commit over an older one is refused.
    pub(crate) version: u64,
    pub(crate) store_time: StoreTime,
    pub(crate) limit: u32,
    pub(crate) plan: u64,
    /// The canonical line of the key's settings.
    pub(crate) settings: Arc<str>,
    /// What the last planner's estimator left for this one.
    pub(crate) memory: Arc<Memory>,
    /// By incarnation, ascending.
    pub(crate) nodes: Vec<NodeView>,
}

/// A record as a planner sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) incarnation: u64,
    pub(crate) name: Arc<str>,
    /// Alive and staying: may be given more.
    pub(crate) open: bool,
    pub(crate) starved: bool,
    /// When its lease has surely ended.
    pub(crate) deadline: StoreTime,
    pub(crate) share: u32,
    pub(crate) safe: u32,
    /// When it got a share after having none, or lost its last slot.
    pub(crate) since: StoreTime,
    pub(crate) target: u32,
    /// The most it may be occupying as far as the store can know.
    pub(crate) hold: u32,
    pub(crate) in_flight: u32,
    pub(crate) report: Report,
}

/// What a planner decided about one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) incarnation: u64,
    pub(crate) share: u32,
    pub(crate) safe: u32,
    pub(crate) target: u32,
}

/// A plan to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Commit {
    /// Who planned.
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) token: u64,
    pub(crate) version: u64,
    pub(crate) limit: u32,
    pub(crate) nodes: u32,
    /// Somebody has less than its target.
    pub(crate) hungry: bool,
    /// Whether unacknowledged shares are reserved.
    pub(crate) acknowledged: bool,
    pub(crate) round: Duration,
    /// How long the next plan waits at least.
    pub(crate) rest: Duration,
    pub(crate) memory: Arc<Memory>,
    pub(crate) pulse: Pulse,
    pub(crate) changes: Vec<Change>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Committed {
    Applied,
    /// The same commit had been applied before.
    Repeated,
    /// A newer token is out, or this one is spent.
    StaleToken,
    /// The store began a new epoch, or is another server.
    OtherEpoch,
    /// A claim came between: plan again.
    StaleVersion,
    /// Would give out more than there is.
    Unsound,
}

/// The store's answer to a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CommitAnswer {
    pub(crate) outcome: Committed,
    pub(crate) epoch: u64,
    /// The planner's own grant.
    pub(crate) grant: Grant,
    pub(crate) target: u32,
    pub(crate) limit: u32,
    pub(crate) plan: u64,
    pub(crate) nodes: u32,
    pub(crate) ticket: Option<Box<Ticket>>,
}

/// News of a changed grant. Never renews a lease.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Push {
    pub(crate) epoch: u64,
    pub(crate) grant: Grant,
    pub(crate) target: u32,
}
