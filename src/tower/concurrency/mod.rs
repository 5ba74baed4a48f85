//! At most so many requests at a time, from the request until the end of the response body.
//!
//! # Where a slot begins and ends
//! It is taken in `call`, before the service sees the request, and given back when the response body ends, fails or
//! is dropped; when the service returns an error; or when the response future is dropped. Whatever happens, once.
//! After an upgrade (101, or a CONNECT that was accepted) there is no body: the slot goes back with the head unless
//! the handler holds it, see [`Slot::hold`](crate::Slot::hold).
//!
//! # The fence
//! When this process's lease on its slots runs out, others may be given them: requests still under way are dropped
//! and answered with 503, bodies end with [`Shed::Fenced`](crate::Shed::Fenced) as their error. A guard without a
//! fleet has no fence.

mod body;
mod future;
mod layer;
mod service;

pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub use self::layer::ConcurrencyLayer;
pub use self::service::Concurrency;
pub use crate::slot::OnFull;

#[cfg(test)]
mod tests;
