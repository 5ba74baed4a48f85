//! What a fleet guard is doing, for whoever asks.

use crate::fleet::guard::Shared;
use crate::fleet::message::Pulse;
use crate::permit::{Gate, Shed};
use crate::store::StoreError;
use crate::time::LocalTime;
use std::sync::Arc;
use std::time::Duration;

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
    /// The part of the share that the store granted which the node admits, .5 to 1: less while it is much slower, or
    /// refused much more, than the rest of its fleet.
    pub brake: f64,
    /// What it would have if everybody had drained.
    pub target: u32,
    /// What it has in flight.
    pub in_flight: u32,
    /// Nodes at the last plan.
    pub nodes: u32,
    /// What the local estimator alone would allow.
    pub local_limit: u32,
    /// Mean latency of the whole fleet's requests in the last window, while [`Estimate::Fleet`] measures it.
    ///
    /// [`Estimate::Fleet`]: crate::fleet::Estimate::Fleet
    pub latency: Option<Duration>,
    /// What it would be without a queue, as far as is known.
    pub baseline: Option<Duration>,
    /// How many requests of the fleet wait for the backend, by Little's law.
    pub queue: Option<f64>,
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
    /// Requests that found no slot at once, waited for one and got it.
    pub waits: u64,
}

impl FleetStats {
    pub(super) fn of(shared: &Shared, gate: &Gate) -> Self {
        let news = shared.news().clone();
        let totals = gate.totals();
        Self {
            key: Arc::clone(&shared.key),
            node: Arc::clone(&shared.node),
            state: news.state,
            limit: news.limit,
            share: news.share,
            brake: 1.0 - news.withheld,
            target: news.target,
            in_flight: gate.sample().1,
            nodes: news.nodes,
            local_limit: gate.local_limit(),
            latency: micros(news.fleet.latency_us),
            baseline: micros(news.fleet.baseline_us),
            queue: micros(news.fleet.baseline_us).map(|_| news.fleet.queue()),
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
            waits: totals.waits,
        }
    }
}

/// 0 is not known.
fn micros(us: u64) -> Option<Duration> {
    (us > 0).then(|| Duration::from_micros(us))
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
    /// Not welcome; see [`DistributedGuard::ready`](crate::fleet::DistributedGuard::ready).
    Refused,
}

/// The driver's last word, for `stats`.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    pub(super) state: NodeState,
    pub(super) limit: u32,
    pub(super) share: u32,
    /// The part of the share.
    pub(super) withheld: f64,
    pub(super) fleet: Pulse,
    pub(super) target: u32,
    pub(super) nodes: u32,
    pub(super) beats: u64,
    pub(super) failures: u64,
    pub(super) plans: u64,
    pub(super) fences: u64,
    pub(super) last_latency: Option<Duration>,
    pub(super) last_answer: Option<LocalTime>,
    pub(super) trouble: Option<Arc<StoreError>>,
}
