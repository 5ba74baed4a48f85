//! Limiters: a rule over a place where the counts live, behind one cheap handle.
//!
//! [`RateLimiter`] keeps its counts in this process: it never blocks on anything but a shard's lock, never fails, and
//! holds at most `max_keys` keys however many identifiers an attacker makes up.

mod builder;
mod cells;
mod draws;
mod handle;
mod local;
mod rules;
mod shard;
mod table;

pub use self::builder::RateLimiterBuilder;
pub use self::handle::RateLimiter;
pub use self::table::TableStats;
