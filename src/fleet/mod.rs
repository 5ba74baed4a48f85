//! One concurrency ceiling for many processes: the fleet guard.
//!
//! N processes front one backend. Each admits requests from a cached share, in nanoseconds, without the network. The
//! shares come from a small shared state per key, in a store (memory or Redis), in three steps:
//!
//! 1. **beat**: a node reports and renews its lease in one atomic step of constant size;
//! 2. **plan**: whichever node is handed the token computes the next limit and shares, a pure function;
//! 3. **commit**: the plan is written in one atomic step, if nothing came between.
//!
//! # Guarantees
//! Cited by these names in code and tests.
//!
//! * **I1 GlobalCap**: at constant limit L the sum of committed shares never exceeds L, whatever is lost, delayed,
//!   repeated or swapped.
//! * **I2 InflightCap**: at constant L the requests that the nodes run never exceed L together. A share is given to
//!   a second node only after its holder acknowledged the lower one and reported its in-flight at or below it, in
//!   one atomic sample, or its lease has surely ended. [`Handoff::Committed`] opts out.
//! * **I3 Shrink**: when L falls, decreases go to everyone at once, and what is reserved never rises while above L.
//! * **I4 Exactly once**: every slot comes back once (see [`permit`](crate::permit)).
//! * **I5 Work-conserving**: where there is demand for it and no slot is still held by whoever had it before, the shares add
//!   up to L a few round trips and a drain later.
//! * **I6 No starvation**: with a slot for every node, each that wants one has one; with fewer, single slots go round
//!   among those that want. A node without work lends its slot while the others demand more than there is beside it, and has
//!   it back at its first want, a plan and a drain later. Without work is who had none for a ttl; where requests come
//!   one by one for four times as long as they are apart, but no longer than five ttl. So of a node that is asked once
//!   a minute the first request after each pause is refused while the fleet is over its limit, and a retry is not.
//! * **I7 Fair**: under [`Allocation::MaxMin`] shares go to the exact weighted max-min split of demand and its headroom, in
//!   whole slots. Those that would move by a twentieth or less stay, while nobody who is refused would have two slots more,
//!   or has two less, and a twentieth less, than another who has more than its part.
//! * **I8 It responds**: under [`Estimate::Fleet`] a step of what the backend can take moves L there, from 1 to 1000 nodes.
//!   How fast is measured by the simulator, and not promised.
//! * **I9 Survives its store**: after a lost, flushed or restored store I2 still holds: nodes carry their claims and how
//!   long the longest lease among them is; a store that does not know them records claims for so long and raises nobody. A
//!   node with a longer one than all others is known to them a heartbeat after it came: a loss before that is the exception.
//! * **I10 Survives its nodes**: a crashed node's share comes back within ttl + drain + 3 heartbeats while others beat, and
//!   what [`Outage`] keeps for it by its `hold` so much later. A store that is far makes it later too: the part of each
//!   heartbeat that a round trip takes does not count. A restart under the same name is not locked out; of two live
//!   processes with one name the later one is refused.
//! * **I11 Leases without clock agreement**: a node counts its lease from the moment it sent the beat, on its own
//!   boot-time clock; the store's time is advanced by nodes alone, and no two clocks are compared.
//!
//! # The map
//! | file | what |
//! |---|---|
//! | `settings` | what all nodes of a key agree on |
//! | `message` | what nodes and store say to one another |
//! | `record`, `key_state/` | the store's side: hold, beat, commit |
//! | `plan`, `estimate/`, `demand`, `allocate/` | the next limit and shares |
//! | `reporter`, `brake` | what a node tells of itself; who is slower than its fleet admits less |
//! | `reserve` | what each class leaves of a share for the more critical |
//! | `member`, `schedule` | the node's side, as a plain state machine, and when it beats |
//! | `node` | the member and the gate it moves, still plain: what a driver or a simulator drives |
//! | `guard`, `stats`, `error` | the handle users hold, and what it says |
//! | `builder`, `check` | how a guard is configured, and what cannot work |
//! | `driver` | the loop that drives a guard's node |
//! | `sim` | the same machines for the simulator in `sim/`, behind a hidden feature |
//! | `walk/`, `proof/`, `witness/` | tests: all of it at random, in every order within bounds, and what is promised |

mod allocate;
#[cfg(feature = "fleet")]
mod brake;
#[cfg(feature = "fleet")]
mod builder;
#[cfg(feature = "fleet")]
mod check;
mod demand;
#[cfg(feature = "fleet")]
mod driver;
#[cfg(feature = "fleet")]
mod error;
pub(crate) mod estimate;
#[cfg(feature = "fleet")]
mod guard;
pub(crate) mod key_state;
pub(crate) mod member;
pub(crate) mod message;
#[cfg(feature = "fleet")]
pub(crate) mod node;
mod plan;
#[cfg(all(test, feature = "fleet"))]
mod proof;
pub(crate) mod record;
#[cfg(feature = "fleet")]
mod reporter;
mod reserve;
mod schedule;
pub(crate) mod settings;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
#[cfg(feature = "fleet")]
mod stats;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod walk;
#[cfg(test)]
mod witness;

#[cfg(feature = "fleet")]
pub use self::builder::DistributedGuardBuilder;
#[cfg(feature = "fleet")]
pub use self::error::{FleetError, StillDraining};
#[cfg(feature = "fleet")]
pub use self::guard::DistributedGuard;
#[cfg(feature = "fleet")]
pub use self::key_state::EmptyStore;
#[cfg(feature = "fleet")]
pub use self::settings::{Allocation, Estimate, Handoff, Outage};
#[cfg(feature = "fleet")]
pub use self::stats::{FleetStats, NodeState};
