//! So many requests per client and time; whoever asks for more is told when to come back.
//!
//! A decision takes no time worth measuring and nothing is held: the layer asks in `call`, answers 429 itself or
//! hands the request on, and adds the `RateLimit` headers to whatever comes back.
//!
//! Several quotas on the same key are one limiter: see [`RateLimiterBuilder::also`]. Limits on different keys are
//! several layers; what one lets pass and another denies stays booked on the first. Either way each has its own item
//! in the `RateLimit` and `RateLimit-Policy` lists, and the older `X-RateLimit-*` headers show the one that binds first:
//! the one that denied, as `Retry-After` does, else the one with the least left.
//!
//! [`RateLimiterBuilder::also`]: crate::limiter::RateLimiterBuilder::also

mod body;
mod future;
mod layer;
mod service;

pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub use self::layer::RateLimitLayer;
pub use self::service::RateLimit;
pub use crate::headers::Headers;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod texts;
