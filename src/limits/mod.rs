//! Limits that differ from route to route, and that can be exchanged while requests run.
//!
//! A [`Plan`] says which limits there are and which routes they are for; [`Limits`] enforces one plan, until it is
//! told another. Layers ask for the limit of each request's route:
//! `RateLimitLayer::routed`, `tidegate_axum::routed` and `tidegate_actix_web::RateLimit::routed`.

mod change;
mod handle;
mod plan;
mod route;
mod seen;
mod table;

pub use self::change::Change;
pub use self::handle::Limits;
pub use self::plan::Plan;
#[doc(hidden)]
pub use self::seen::Seen;
