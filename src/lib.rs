//! Admission control for Rust services: no client above its quota, and never more in flight at the backend than it
//! can take, agreed by all processes together.
//!
//! The map of the crate, from what decides to what talks:
//!
//! | module | what |
//! |---|---|
//! | [`time`] | the node's own clock, injectable |
//! | [`quota`], [`key`], [`decision`] | what is allowed, to whom, and the answer |
//! | [`rule`] | rate limits as pure functions of `(state, cost, now)` |
//! | [`limiter`] | the [`RateLimiter`]: a rule over a bounded table of keys |
//! | `layered` | a limit over many processes and regions, decided in memory |
//! | `leased` | a limit over many processes: units taken from a store in batches, spent in memory |
//! | [`limits`] | limits by route, from a file, exchanged while requests run |
//! | `tiers` | limits by client, looked up and remembered |
//! | [`client_ip`] | the client's address behind trusted proxies |
//! | [`headers`] | what a client is told: `RateLimit`, `RateLimit-Policy`, `Retry-After` |
//! | [`classify`] | what an answer says about the backend |
//! | [`reject`] | what a denial looks like on the wire |
//! | `slot` | a request's slot on its way from the request to the end of the response body |
//! | `tower` | layers for any HTTP service or client over tower |
//! | [`permit`] | the permit word: one atomic that keeps (ceiling, in-flight) exact, and the [`Lease`] that gives a slot back |
//! | [`adaptive`] | limit algorithms over latency windows, and the [`LocalGuard`](adaptive::LocalGuard) |
//! | [`observe`] | the names of metrics and events |
//! | `fleet` | the fleet guard: one ceiling for many processes |
//! | `strict` | rate limits that are exact over many processes, counted in a store |
//! | `store` | where the fleet's shared state lives: memory, Redis |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "fleet"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "the callers of the fleet's pure parts come with the feature"
    )
)]

pub mod adaptive;
#[cfg(feature = "fleet")]
mod background;
pub mod classify;
pub mod client_ip;
mod criticality;
pub mod decision;
pub mod error;
#[cfg(feature = "fleet")]
pub mod fence;
#[cfg(feature = "fleet")]
pub mod fleet;
/// Its pure parts, which are tested without a runtime too.
#[cfg(not(feature = "fleet"))]
mod fleet;
pub mod headers;
mod intern;
pub mod key;
#[cfg(feature = "fleet")]
pub mod layered;
#[cfg(not(feature = "fleet"))]
mod layered;
#[cfg(feature = "redis")]
pub mod leased;
pub mod limiter;
pub mod limits;
pub mod observe;
pub mod permit;
pub mod quota;
pub mod reject;
pub mod rule;
#[cfg(feature = "fleet")]
pub mod slot;
#[cfg(feature = "fleet")]
pub mod store;
#[cfg(feature = "redis")]
pub mod strict;
mod sync;
#[cfg(feature = "fleet")]
pub mod tiers;
pub mod time;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(all(test, feature = "tracing"))]
mod warnings;

pub use crate::client_ip::ClientIp;
pub use crate::criticality::Criticality;
pub use crate::decision::{Decision, Verdict};
pub use crate::error::ConfigError;
pub use crate::key::Key;
pub use crate::limiter::RateLimiter;
pub use crate::permit::{ConcurrencyGuard, Lease, Outcome, Shed};
pub use crate::quota::Quota;
#[cfg(feature = "fleet")]
pub use crate::slot::Slot;
