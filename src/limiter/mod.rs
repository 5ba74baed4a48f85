//! Limiters: a rule over a place where the counts live, behind one cheap handle.
//!
//! [`RateLimiter`] keeps its counts in this process: it never blocks on anything but a shard's lock, never fails, and
//! holds at most `max_keys` keys however many identifiers an attacker makes up.

mod any;
mod any_reservation;
mod batch;
mod booking;
mod builder;
mod carry;
mod cells;
pub(crate) mod count;
#[cfg(feature = "fleet")]
mod deciding;
mod draws;
#[cfg(feature = "redis")]
pub(crate) mod finished;
mod handle;
#[cfg(feature = "redis")]
pub(crate) mod held;
#[cfg(feature = "fleet")]
pub(crate) mod lines;
mod local;
mod overflow;
mod refunds;
#[cfg(feature = "redis")]
pub(crate) mod remote;
#[cfg(feature = "redis")]
pub(crate) mod remote_batch;
mod reservation;
pub(crate) mod room;
mod rules;
mod shard;
mod table;
#[cfg(feature = "fleet")]
mod terms;
#[cfg(feature = "fleet")]
mod wait;

pub use self::any::AnyLimiter;
pub use self::any_reservation::AnyReservation;
pub use self::batch::BatchError;
pub use self::builder::RateLimiterBuilder;
pub use self::count::Count;
#[doc(hidden)]
pub use self::count::Counting;
#[cfg(feature = "fleet")]
#[doc(hidden)]
pub use self::deciding::{Admission, Asking, Deciding};
pub use self::handle::RateLimiter;
pub use self::reservation::Reservation;
pub use self::table::TableStats;
#[cfg(feature = "fleet")]
#[doc(hidden)]
pub use self::terms::{Here, Teller, Terms};
