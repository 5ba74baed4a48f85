//! What operators see: counters and gauges with the feature `metrics`, events with the feature `tracing`.
//!
//! # Metrics
//! Labels are the names of guards, fleet keys and policies, which are few; never the keys of clients.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `tidegate_admitted_total` | counter | `guard` | slots handed out |
//! | `tidegate_outcomes_total` | counter | `guard`, `outcome` | slots given back: `success`, `failure`, `overload`, `ignored` |
//! | `tidegate_sheds_total` | counter | `guard`, `reason` | requests refused: [`Shed::as_str`] |
//! | `tidegate_waits_total` | counter | `guard` | slots handed to requests that found none and waited |
//! | `tidegate_in_flight` | gauge | `guard` | slots in use |
//! | `tidegate_ceiling` | gauge | `guard` | what this process may have in flight: the limit of a local guard, the share of a fleet's node |
//! | `tidegate_latency_seconds` | gauge | `guard` | mean latency of the successes since the last reading |
//! | `tidegate_fleet_limit` | gauge | `guard` | the fleet's limit, as this node last planned it |
//! | `tidegate_fleet_nodes` | gauge | `guard` | the fleet's nodes, likewise |
//! | `tidegate_fleet_brake` | gauge | `guard` | the part of its share that this node admits: below 1 while it is much slower than its fleet |
//! | `tidegate_fenced` | gauge | `guard` | 1 while this node's lease has run out |
//! | `tidegate_store_up` | gauge | `guard` | 0 while the fleet's store does not answer |
//! | `tidegate_decisions_total` | counter | `policy`, `verdict` | rate limits: `allow`, `deny`; of several policies the binding one |
//! | `tidegate_tier_lookups_total` | counter | `outcome` | look-ups of clients' tiers: `found`, `unknown`, `failed`, `refused` |
//!
//! `guard` is the key of a fleet, or the name given to a local guard's builder (`local` by default); for a layered
//! limit's stores it is the namespace, with ` (global)` behind it for the global one. Guards are read
//! when a window of samples closes, when a fleet's node reports, and at the 1st, 2nd, 4th .. 1024th and then each
//! 1024th refusal of a thread, so that a stuck backend shows too; nothing is emitted on the way of an admitted request.
//! A rate limiter takes its counters from the recorder that is installed at its first decision: install it first.
//!
//! # Events
//! | level | what |
//! |---|---|
//! | error | a node refused by its fleet, a hook that panicked, a rate limit by address that finds none |
//! | warn | requests shed (at most once a second and guard, with the counts since), fenced, store trouble, new epoch, a full table of keys, look-ups of tiers that fail, an upgrade that holds no slot (once) |
//! | info | granted, store recovered, look-ups that work again, learning, a name drawn |
//! | debug | a plan |
//!
//! [`Shed::as_str`]: crate::Shed::as_str

#![cfg_attr(
    not(all(feature = "fleet", feature = "metrics", feature = "tracing")),
    allow(
        dead_code,
        unused_variables,
        reason = "without these features there is less to see, and nobody who looks"
    )
)]

use crate::decision::{Decision, Policy};
use crate::permit::{Shed, Totals};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// Whether anybody may watch.
pub(crate) const ON: bool = cfg!(any(feature = "metrics", feature = "tracing"));

/// Gives every metric its description. Call it once, after the recorder is installed; leaving it out only leaves the
/// descriptions out.
#[cfg(feature = "metrics")]
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!("tidegate_admitted_total", Unit::Count, "slots handed out");
    describe_counter!(
        "tidegate_outcomes_total",
        Unit::Count,
        "slots given back, by outcome"
    );
    describe_counter!(
        "tidegate_sheds_total",
        Unit::Count,
        "requests refused, by reason"
    );
    describe_counter!(
        "tidegate_waits_total",
        Unit::Count,
        "slots handed to requests that waited"
    );
    describe_gauge!("tidegate_in_flight", Unit::Count, "slots in use");
    describe_gauge!(
        "tidegate_ceiling",
        Unit::Count,
        "slots that this process may use"
    );
    describe_gauge!(
        "tidegate_latency_seconds",
        Unit::Seconds,
        "mean latency of successes"
    );
    describe_gauge!(
        "tidegate_fleet_limit",
        Unit::Count,
        "slots that the fleet may use"
    );
    describe_gauge!("tidegate_fleet_nodes", Unit::Count, "nodes of the fleet");
    describe_gauge!(
        "tidegate_fleet_brake",
        Unit::Count,
        "the part of its share that the node admits"
    );
    describe_gauge!(
        "tidegate_fenced",
        Unit::Count,
        "1 while the node's lease has run out"
    );
    describe_gauge!(
        "tidegate_store_up",
        Unit::Count,
        "0 while the store does not answer"
    );
    describe_counter!(
        "tidegate_decisions_total",
        Unit::Count,
        "rate limit decisions, by verdict"
    );
    describe_counter!(
        "tidegate_tier_lookups_total",
        Unit::Count,
        "look-ups of clients' tiers, by outcome"
    );
}

/// What has happened at a gate since the last reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) counted: Totals,
    pub(crate) admitted: u64,
    pub(crate) ceiling: u32,
    pub(crate) in_flight: u32,
    /// Refusals by reason since the last event, when it is time for one.
    pub(crate) shed: Option<[u64; Shed::ALL.len()]>,
}

/// A gate was read. Not to be called under a lock: the recorder and the subscriber are the user's.
pub(crate) fn gate(guard: &Arc<str>, reading: &Reading) {
    #[cfg(feature = "metrics")]
    {
        let counted = &reading.counted;
        let count = |name: &'static str, label: &'static str, value: &'static str, more: u64| {
            if more > 0 {
                metrics::counter!(name, "guard" => Arc::clone(guard), label => value)
                    .increment(more);
            }
        };
        count(
            "tidegate_outcomes_total",
            "outcome",
            "success",
            counted.successes,
        );
        count(
            "tidegate_outcomes_total",
            "outcome",
            "failure",
            counted.failures,
        );
        count(
            "tidegate_outcomes_total",
            "outcome",
            "overload",
            counted.overloads,
        );
        count(
            "tidegate_outcomes_total",
            "outcome",
            "ignored",
            counted.ignored,
        );
        for (reason, shed) in Shed::ALL.iter().zip(counted.sheds) {
            count("tidegate_sheds_total", "reason", reason.as_str(), shed);
        }
        if counted.waits > 0 {
            metrics::counter!("tidegate_waits_total", "guard" => Arc::clone(guard))
                .increment(counted.waits);
        }
        if reading.admitted > 0 {
            metrics::counter!("tidegate_admitted_total", "guard" => Arc::clone(guard))
                .increment(reading.admitted);
        }
        set("tidegate_ceiling", guard, f64::from(reading.ceiling));
        set("tidegate_in_flight", guard, f64::from(reading.in_flight));
        if let Some(mean_us) = counted.success_us.checked_div(counted.successes) {
            set("tidegate_latency_seconds", guard, mean_us as f64 / 1e6);
        }
    }
    #[cfg(feature = "tracing")]
    if let Some([full, class, cold, fenced, closed, deadline]) = reading.shed {
        let (ceiling, in_flight) = (reading.ceiling, reading.in_flight);
        tracing::warn!(
            guard = &**guard,
            ceiling,
            in_flight,
            full,
            class,
            cold,
            fenced,
            closed,
            deadline,
            "shed requests"
        );
    }
}

/// The counters of one rate limiter.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    /// For each policy.
    #[cfg(feature = "metrics")]
    counters: std::sync::OnceLock<Box<[[Counter; 2]]>>,
}

#[cfg(feature = "metrics")]
struct Counter(metrics::Counter);

#[cfg(feature = "metrics")]
impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counter")
    }
}

impl Decisions {
    /// Counts `decision` by one of `policies`.
    #[inline]
    pub(crate) fn count(&self, policies: &[Policy], decision: &Decision) {
        #[cfg(feature = "metrics")]
        {
            let counters = self.counters.get_or_init(|| {
                let of = |policy: &Policy| {
                    ["allow", "deny"].map(|verdict| {
                        let policy = policy.name().as_str();
                        Counter(metrics::counter!("tidegate_decisions_total", "policy" => policy, "verdict" => verdict))
                    })
                };
                policies.iter().map(of).collect()
            });
            let by = |policy: &Policy| policy.name() == decision.policy();
            let at = match policies {
                [_] => 0,
                _ => policies
                    .iter()
                    .position(by)
                    .expect("a policy of this limiter decided"),
            };
            counters[at][usize::from(!decision.is_allowed())]
                .0
                .increment(1);
        }
    }
}

#[cfg(feature = "metrics")]
fn set(gauge: &'static str, guard: &str, to: f64) {
    metrics::gauge!(gauge, "guard" => guard.to_owned()).set(to);
}

/// A rate limit by address found none.
#[cfg(feature = "tower")]
pub(crate) fn unknown_peer(hint: &str) {
    #[cfg(feature = "tracing")]
    tracing::error!("all clients share one rate limit, since their addresses are unknown: {hint}");
    #[cfg(not(feature = "tracing"))]
    eprintln!(
        "tidegate: all clients share one rate limit, since their addresses are unknown: {hint}"
    );
}

/// An upgraded connection runs without a slot.
#[cfg(feature = "tower")]
pub(crate) fn upgraded_unheld() {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        "an upgraded connection runs without a slot: move `slot.hold()` into its task, or use the adapter's \
         `on_upgrade`; said once, see `ConcurrencyLayer::unheld_upgrades`"
    );
}

/// A look-up of somebody's tier has ended so.
#[cfg(feature = "fleet")]
pub(crate) fn tier_lookup(outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tidegate_tier_lookups_total", "outcome" => outcome).increment(1);
}

/// A look-up has failed, and the one before had not.
#[cfg(feature = "fleet")]
pub(crate) fn tier_lookups_fail(error: &dyn std::error::Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "look-ups of tiers fail");
}

/// A look-up has not failed, and the one before had.
#[cfg(feature = "fleet")]
pub(crate) fn tier_lookups_work() {
    #[cfg(feature = "tracing")]
    tracing::info!("look-ups of tiers work again");
}

/// A rate limiter in this process has more keys than room; said once for each.
pub(crate) fn table_full(max_keys: usize) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        max_keys,
        "a rate limiter's table is full: keys without a cell of their own share one; raise max_keys if these are real \
         clients"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = max_keys;
}

/// Rate limits in a store are decided without it from now on.
#[cfg(feature = "redis")]
pub(crate) fn rates_store_away(error: &crate::store::StoreError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "the store of a rate limit does not answer: decided without it, as configured");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}

/// The store answers again.
#[cfg(feature = "redis")]
pub(crate) fn rates_store_back() {
    #[cfg(feature = "tracing")]
    tracing::info!("the store of a rate limit answers again");
}

/// A node without a name drew one.
pub(crate) fn named(key: &str, node: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        key,
        node,
        "drew a name for this node; give it one with `.node(..)`"
    );
    #[cfg(not(feature = "tracing"))]
    eprintln!(
        "tidegate: this process is node {node:?} of key {key:?}; give it a name with `.node(..)`"
    );
}

/// The first grant, or the first after a fence.
pub(crate) fn granted(key: &str, node: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(key, node, "granted");
    #[cfg(feature = "metrics")]
    {
        set("tidegate_fenced", key, 0.0);
        set("tidegate_store_up", key, 1.0);
    }
}

/// The node admits another part of its share than before.
pub(crate) fn brake(key: &str, part: f64) {
    #[cfg(feature = "tracing")]
    tracing::info!(key, part, "slower than the fleet: the local brake");
    #[cfg(feature = "metrics")]
    set("tidegate_fleet_brake", key, part);
}

/// The lease ran out.
pub(crate) fn fenced(key: &str, node: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        key,
        node,
        "fenced: the lease ran out without an answer from the store"
    );
    #[cfg(feature = "metrics")]
    set("tidegate_fenced", key, 1.0);
}

/// The user's hook for the fence panicked; the driver goes on.
pub(crate) fn hook_panicked(key: &str, node: &str) {
    #[cfg(feature = "tracing")]
    tracing::error!(key, node, "the hook for the fence panicked");
}

/// A plan of this node was committed.
pub(crate) fn plan(key: &str, limit: u32, nodes: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(key, limit, nodes, "planned");
    #[cfg(feature = "metrics")]
    {
        set("tidegate_fleet_limit", key, f64::from(limit));
        set("tidegate_fleet_nodes", key, f64::from(nodes));
    }
}

/// The store has lost what it knew.
pub(crate) fn new_epoch(key: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        key,
        "the store began a new epoch: it was restarted, restored or flushed"
    );
}

/// The store records claims and grants nothing yet.
pub(crate) fn learning(key: &str, left: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        key,
        ?left,
        "the store knows nothing of this key: no grants until every old lease has ended"
    );
}

/// The node is not welcome.
pub(crate) fn refused(key: &str, node: &str, error: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::error!(key, node, %error, "refused");
}

/// A beat was not answered, after one that was.
pub(crate) fn store_trouble(key: &str, error: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::warn!(key, %error, "the store does not answer");
    #[cfg(feature = "metrics")]
    set("tidegate_store_up", key, 0.0);
}

/// A beat was answered, after one that was not.
pub(crate) fn store_recovered(key: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(key, "the store answers again");
    #[cfg(feature = "metrics")]
    set("tidegate_store_up", key, 1.0);
}
