//! Events for those who watch, through `tracing` when that feature is on.

#![cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "events go nowhere")
)]
#![cfg_attr(
    not(feature = "fleet"),
    expect(dead_code, reason = "only fleets have these events")
)]

use std::fmt::Display;
use std::time::Duration;

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
}

/// The lease ran out.
pub(crate) fn fenced(key: &str, node: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        key,
        node,
        "fenced: the lease ran out without an answer from the store"
    );
}

/// A plan of this node was committed.
pub(crate) fn plan(key: &str, limit: u32, nodes: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(key, limit, nodes, "planned");
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
}

/// A beat was answered, after one that was not.
pub(crate) fn store_recovered(key: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(key, "the store answers again");
}
