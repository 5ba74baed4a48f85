//! Real faults on real processes: gateways over a real Redis, before a backend that counts what is in flight in it.
//!
//! ```text
//!  load ──► gateways (processes) ──────────────► backend: the most in flight, requests begun
//!               │ a link each: slow, silent, cut, led elsewhere
//!               ▼
//!             Redis (process) ── a link ──► replica (process)
//! ```
//!
//! A [`drill()`] is one [`Fault`] under one [`Policy`]: seconds of it in `tests/`, half minutes in `scripts/faults`, which
//! prints the table. The backend and nobody else says what was in flight. Everything listens on the loopback alone, and
//! what was started ends with whoever started it.
//!
//! | file | what |
//! |---|---|
//! | `fault` | what can happen, and how it is made to |
//! | `policy` | what gateways do without a store, and what is promised of it |
//! | `scale` | how large, how long |
//! | `fleet`, `gateway`, `load` | what it happens to |
//! | `drill`, `table` | one fault once, and what was seen |
//! | `committed` | the limit that it is held against, where it moves |
//! | `follow`, `arrivals` | gateways that are told nothing of a backend whose capacity changes |
//! | `machine` | what else the machine did |
//!
//! The server's clock is stepped by libfaketime, and without that not at all, which under `TIDEGATE_REQUIRE_SERVERS=1` is
//! a failure on Linux. No script asks it, which
//! `i11_the_scripts_never_ask_the_servers_clock` holds them to. It can do one thing alone: a step of more than a day ahead
//! expires the key, which is a [`Fault::Flushed`].

mod arrivals;
mod clock;
mod committed;
mod drill;
mod fault;
mod fleet;
mod follow;
mod gateway;
mod load;
pub mod machine;
mod policy;
mod scale;
pub mod table;

pub use self::arrivals::{Arrivals, Told};
pub use self::drill::{Seen, drill};
pub use self::fault::Fault;
pub use self::fleet::{Fleet, Store};
pub use self::follow::{Followed, PROMISED, Phase, Setup, USUAL, follow};
pub use self::gateway::Gateway;
pub use self::load::Load;
pub use self::policy::Policy;
pub use self::scale::{Estimate, Scale};
