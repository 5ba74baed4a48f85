//! Limits that differ from route to route, and that can be exchanged while requests run.
//!
//! A [`Plan`] says which limits there are and which routes they are for; [`Limits`] enforces one plan, until it is
//! told another. Layers ask for the limit of each request's route:
//! `RateLimitLayer::routed`, `tidegate_axum::routed` and `tidegate_actix_web::RateLimit::routed`.
//!
//! Limits count in this process, or wherever the limiters count that [`Limits::made_by`] is given: with `StrictLimiter`
//! in a store, exactly over all processes.
//!
//! Limits that differ from client to client are in `tiers`, which name those of a plan.
//!
//! With the feature `config` a plan can be read from a file: see `Plan::from_toml`.

mod change;
#[cfg(feature = "config")]
mod file;
mod handle;
mod limit;
mod plan;
mod route;
mod seen;
mod table;

pub use self::change::Change;
#[cfg(feature = "config")]
pub use self::file::FileError;
pub use self::handle::Limits;
pub use self::limit::NamedLimit;
pub use self::plan::Plan;
#[doc(hidden)]
pub use self::seen::Seen;
