//! The layered rate limit: decided in memory, counted by a regional origin, known to all regions.
//!
//! ```text
//!   process                     region                        world
//!   Tier: a view of each key    origin: the count of a cell   one count a region, merged by maximum
//!      | -- flush: own counts ---->  |                            |
//!      | <- read, or the answer ---- |                            |
//!      | -- publish: the region's count, if it matters ---------> |
//!      | <- pull: what the other regions used ------------------- |
//! ```
//!
//! A *cell* is a key in one window; windows begin at the same moments everywhere, on origin's clock. A decision adds up
//! the cell of this window and what is left of the one before. What decides is pure: time, answers and randomness are
//! arguments.
//!
//! | file | what |
//! |---|---|
//! | `window` | a limit over windows that begin everywhere at once |
//! | `cell` | one node's view of a cell, and what it tells |
//! | `refresh`, `strict_mode` | when a view is read, and who waits for it |
//! | `flush` | who has something to tell, and when |
//! | `slots` | the keys there is room for |
//! | `setup`, `views` | what a tier is told once; the counts of a decision |
//! | `nearby` | close to the limit, what nobody has heard of yet; how long who is denied has to wait |
//! | `tier`, `hold`, `refund`, `exchange` | the machine of one policy: decisions; what is held, and given back; questions and answers |
//! | `tiers` | all policies of a limiter, all or nothing |
//! | `carried`, `succession` | what goes over to a limiter that takes the place of another |
//! | `link`, `time` | whether origin answers; whose clock counts |
//! | `origin`, `cursor` | what a store does with what it is told; how far it was read |
//! | `handle`, `builder`, `deciding`, `reservation`, `batch` | the limiter as users and layers hold it |
//! | `shared` | what its handles share |
//! | `driver`, `regions`, `load` | its background task: origin, the other regions, what it takes under a lock |

#![cfg_attr(
    not(feature = "redis"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "the callers of the pure parts come with a store"
    )
)]

#[cfg(feature = "redis")]
mod batch;
#[cfg(feature = "redis")]
mod builder;
mod carried;
mod cell;
#[cfg(any(test, feature = "redis"))]
mod cursor;
#[cfg(feature = "redis")]
mod deciding;
#[cfg(feature = "redis")]
mod driver;
mod exchange;
mod flush;
#[cfg(feature = "redis")]
mod handle;
mod hold;
mod link;
mod load;
mod nearby;
#[cfg(test)]
mod origin;
mod refresh;
mod refund;
#[cfg(feature = "redis")]
mod regions;
#[cfg(feature = "redis")]
mod reservation;
mod setup;
#[cfg(feature = "redis")]
mod shared;
mod slots;
#[cfg(feature = "redis")]
mod space;
mod strict_mode;
#[cfg(feature = "redis")]
mod succession;
mod tier;
mod tiers;
mod time;
mod views;
mod window;

#[cfg(test)]
mod bed;

#[cfg(feature = "redis")]
pub use self::batch::{Batch, BatchTooLong};
#[cfg(feature = "redis")]
pub use self::builder::LayeredLimiterBuilder;
#[cfg(feature = "redis")]
pub(crate) use self::cursor::{Cursor, Pulled};
#[cfg(feature = "redis")]
pub(crate) use self::exchange::{FlushLine, ImportLine, PublishLine, ReadLine, Totals};
#[cfg(feature = "redis")]
pub use self::handle::{LayeredLimiter, LayeredStats, Unheard};
#[cfg(feature = "redis")]
pub use self::link::Outage;
#[cfg(feature = "redis")]
pub use self::reservation::LayeredReservation;
#[cfg(feature = "redis")]
pub(crate) use self::space::Space;
#[cfg(all(test, feature = "redis"))]
pub(crate) use self::{
    cell::Told,
    origin::{Global, OriginCell},
};
