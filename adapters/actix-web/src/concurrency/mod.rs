//! At most so many requests at a time, from the request until the end of the response body.
//!
//! # Where a slot begins and ends
//! It is taken in `call`, before the service inside sees the request, and given back when the response body ends,
//! fails or is dropped; when the service returns an error; or when the response future is dropped. Whatever happens,
//! once. A WebSocket is a response body here: its slot comes back when the server's side of it is closed.
//!
//! # The fence
//! When this process's lease on its slots runs out, others may be given them: handlers still under way are dropped
//! and answered with 503, bodies end with [`Shed::Fenced`](tidegate::Shed::Fenced) as their error. A guard without a
//! fleet has no fence.

mod body;
mod future;
mod middleware;
mod service;

pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub use self::middleware::Concurrency;
pub use self::service::ConcurrencyService;
pub use tidegate::slot::OnFull;
