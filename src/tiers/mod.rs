//! Limits by client: which limit an API key or a tenant has is looked up, by a function of the user's that may take its
//! time, and remembered.
//!
//! A look-up answers with a [`Tier`]: the name of a limit of a [`Plan`](crate::limits::Plan), such as `free` or `pro`, or
//! a quota of the client's own. Whoever has no tier is a stranger: nobody has said who they are, or nobody knows them.
//! [`Tiers`] is given to a layer: `RateLimitLayer::tiered`, `tidegate_actix_web::RateLimit::tiered`.
//!
//! | file | what |
//! |---|---|
//! | `tier` | what a look-up answers |
//! | `handle`, `builder` | the tiers as users and layers hold them |
//! | `answer` | what is remembered of each identity, and for how long |
//! | `lookup` | one look-up for all who ask at once, and what becomes of one that fails |
//! | `own` | limiters for quotas that clients have to themselves |
//! | `seen` | what a layer made of each limit |

mod account;
mod answer;
mod builder;
mod handle;
mod lookup;
mod own;
mod seen;
mod tier;

pub use self::builder::{OnFailure, TiersBuilder};
#[doc(hidden)]
pub use self::handle::{Finding, Found};
pub use self::handle::{TierStats, Tiers};
#[doc(hidden)]
pub use self::seen::SeenTiers;
pub use self::tier::Tier;

#[cfg(test)]
mod tests;
