//! So many requests per client and time; whoever asks for more is told when to come back.
//!
//! A decision takes no time worth measuring and nothing is held: the layer asks in `call`, answers 429 itself or
//! hands the request on, and adds the `RateLimit` headers to whatever comes back.
//!
//! Several limits are several layers. Each adds its own item to the `RateLimit` and `RateLimit-Policy` lists; the
//! older `X-RateLimit-*` headers show the limit that binds first.

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
