//! The strict rate limit: every decision is the store's, so the limit is exact over all processes.
//!
//! One script decides under all quotas of a limiter on one key, on the store's clock. That costs a round trip a
//! decision; decisions that are made at the same time share the way. What happens while the store does not answer is a
//! policy of the caller's, [`OnFailure`].
//!
//! | file | what |
//! |---|---|
//! | `handle`, `stats` | the limiter as users hold it, and what has happened to it |
//! | `weighing`, `asking` | the way of one decision, and of one question to the store |
//! | `breaker` | when a store that fails is left alone |
//! | `failure`, `parts` | what is said meanwhile, and what becomes of counts |
//! | `untold`, `unheard`, `telling` | what was admitted meanwhile, and how the store hears of it, once, when it is back |
//! | `spent` | units that come back by themselves, as both keep them |
//! | `looked_through` | a table of keys that makes room a few keys at a time |
//! | `booked` | where a request is counted, as its refund needs to know it |
//! | `clock_of_store` | what time it is there |
//! | `deciding` | how layers ask, and how anybody waits |
//! | `denied` | keys that need not be asked about yet |
//! | `reservation`, `batch` | costs that are known afterwards; many decisions in one round trip |

mod asking;
mod batch;
mod booked;
mod breaker;
mod builder;
mod clock_of_store;
mod deciding;
mod denied;
mod failure;
mod handle;
mod looked_through;
mod parts;
mod reservation;
mod spent;
mod stats;
mod telling;
mod unheard;
mod untold;
mod weighing;

pub(crate) use self::breaker::{Breaker, Change, Pass};
pub use self::builder::StrictLimiterBuilder;
pub(crate) use self::clock_of_store::ClockOfStore;
pub(crate) use self::denied::Heard;
pub use self::failure::OnFailure;
pub use self::handle::StrictLimiter;
pub(crate) use self::parts::Parts;
pub use self::reservation::StrictReservation;
pub use self::stats::StrictStats;
