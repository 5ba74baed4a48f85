//! tower layers: a concurrency guard and rate limits in front of any HTTP service, axum's and hyper's among them,
//! or around a client.
//!
//! Both layers decide in `call`, hold nothing between `poll_ready` and `call`, and leave the service's error type
//! and the request's body type as they are. What they count lives in the guard or limiter they were given, never in
//! `layer()`: a layer that is applied per route, per method or per connection still enforces one limit.
//!
//! ```
//! use tidegate::adaptive::LocalGuard;
//! use tidegate::tower::{ConcurrencyLayer, OnFull, RateLimitLayer, key};
//! use tidegate::{Quota, RateLimiter};
//!
//! let guard = LocalGuard::fixed(100);
//! let in_flight = ConcurrencyLayer::new(guard.clone())
//!     .on_full(OnFull::micro_queue())
//!     .exempt(|request| request.uri().path() == "/health");
//!
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
//! let quota = RateLimitLayer::new(limiter).key(key::header("x-api-key"));
//! // axum: Router::new().route(..).layer(in_flight).layer(quota)
//! ```

mod body;
pub mod concurrency;
mod denial;
pub mod key;
pub mod rate_limit;
mod request;

pub use self::concurrency::{ConcurrencyLayer, OnFull};
pub use self::denial::denial_response;
pub use self::rate_limit::{Headers, RateLimitLayer};
pub use self::request::RequestHead;

/// Any error, as bodies report it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
