//! The leased rate limit: units are taken from a store in batches, spent in this process, and given back.
//!
//! ```text
//!   process                                             store, per key
//!   hand: units, each with a time until which it keeps     the rules' states, and for each process
//!     | -- ask: what is needed, given back, owed --------> its last question: booked once, whatever
//!     | <- told: what was granted, and how things stood -- arrives twice, late, or never
//! ```
//!
//! How many units are taken follows the rate at which they are spent here: what two round trips and 50 ms will need,
//! never more than a quarter of what the store has left, and where requests come one at a time nothing beyond what is
//! asked for. Requests that find enough in hand never wait. What is left goes back when nobody comes for it, before its
//! window ends, when its key makes room for another, and at the end.
//!
//! # The bound
//! A unit is booked in the store at one moment and spent here at a later one, and the limit must hold for the later ones.
//!
//! * **Windows, fixed, sliding or a calendar's.** A unit is spent before the window ends in which it was booked. So what is
//!   spent in a window was booked in it, which is never more than the rule allows; of a sliding window what still counts
//!   of the one before only becomes less meanwhile. Nothing passes beyond the limit.
//! * **Token buckets.** Each unit that is booked has a *slot* of its own on the line on which the bucket fills: one
//!   interval, `window / limit`, that begins after the booking and ends at most `burst` intervals after it. It is spent
//!   before its slot begins, or not at all. So the slots of what is spent in any stretch `t` lie in that stretch and the
//!   `burst` intervals after it, where there is room for `burst + limit * t / window` of them, which is what the rule
//!   allows. Nothing passes beyond the limit. Units can only be given back from the end of the line, so that no slot
//!   is somebody else's afterwards; others come back by themselves.
//! * **With [`late`](LeasedLimiterBuilder::late) units** of a bucket that each process may spend after their slots have
//!   begun: at the beginning of a stretch each of `n` processes has at most `late` of these, and all others that it spends
//!   in the stretch have slots as above. At most `n * late` pass beyond the limit, in any stretch, and `late` is below the
//!   size of a batch: [`LeasedLimiter::overshoot_bound`].
//!
//! No two clocks are compared. Until when units keep is counted on this process's clock from the moment before they were
//! asked for, for a thousandth less than the store said; a request that waited is as of the moment at which the store
//! booked for it. Units of [logs](crate::Quota::sliding_log) and [soft limits](crate::Quota::soft) do not keep: spent
//! later they come back too early, or would have passed by another chance. Those quotas are refused.
//!
//! | file | what |
//! |---|---|
//! | `lease` | units in hand, and until when they keep |
//! | `demand` | how fast they are spent |
//! | `cell`, `asking` | one key: hand and line; what the store is to be asked, and when |
//! | `tier` | the machine of all keys |
//! | `owing` | units that were spent without asking, until they are counted |
//! | `parting` | what keys that were forgotten give back |
//! | `message` | question and answer, and why repetition and loss are harmless |
//! | `ledger` | what a store does with a question |
//! | `handle`, `caller`, `builder`, `shared`, `driver` | the limiter as users hold it, who waits, and its background task |
//! | `deciding`, `reservation`, `batch` | how layers ask; costs that are known afterwards; many at once |
//! | `booked` | where a request is counted, as its refund needs to know it |

mod asking;
mod batch;
mod booked;
mod builder;
mod caller;
mod cell;
mod deciding;
mod demand;
mod driver;
mod handle;
mod lease;
#[cfg(test)]
pub(crate) mod ledger;
pub(crate) mod message;
mod owing;
mod parting;
mod reservation;
mod shared;
mod tier;

#[cfg(test)]
mod bed;

pub use self::builder::LeasedLimiterBuilder;
pub use self::handle::{LeasedLimiter, LeasedStats, Unreturned};
pub use self::reservation::LeasedReservation;
