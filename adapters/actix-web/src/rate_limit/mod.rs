//! So many requests per client and time; whoever asks for more is told when to come back.
//!
//! A decision takes no time worth measuring and nothing is held: the middleware asks in `call`, answers 429 itself or
//! hands the request on, and adds the `RateLimit` headers to whatever response comes back. An error of a middleware
//! inside is handed on as it is.
//!
//! Several quotas on the same key are one limiter: see [`RateLimiterBuilder::also`]. Limits on different keys are
//! several middlewares; what one lets pass and another denies stays booked on the first. Either way each has its own
//! item in the `RateLimit` and `RateLimit-Policy` lists, and the older `X-RateLimit-*` headers show the one that binds
//! first: the one that denied, as `Retry-After` does, else the one with the least left.
//!
//! [`RateLimiterBuilder::also`]: tidegate::limiter::RateLimiterBuilder::also

mod body;
mod future;
mod middleware;
mod service;

pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub use self::middleware::RateLimit;
pub use self::service::RateLimitService;
pub use tidegate::headers::Headers;
