//! actix-web support for [`tidegate`]: middlewares for `App::wrap`, `Scope::wrap` and `Resource::wrap`.
//!
//! actix-web makes the app once per worker. What is counted lives in the guard or limiter that a middleware was given,
//! never in the middleware: clones, also those of other workers, enforce one limit.
//!
//! | module | what |
//! |---|---|
//! | [`Concurrency`] | at most so many requests at a time, to the end of the response body |
//! | [`RateLimit`] | so many requests per client and time |
//! | [`key`] | whose requests count together |
//! | [`Slot`] | extractor: what was decided, when to stop, a hold on the slot |
//! | [`Denied`] | a denial as a handler's error |
//!
//! WebSockets of [actix-ws](https://docs.rs/actix-ws) and event streams need nothing more: they are response bodies,
//! and keep their slot until they end.
//!
//! # Clients that hang up
//! By default actix-web takes a client that closes its side of the connection for one that still reads, and lets the
//! handler, or a body that has nothing to send, go on; the slot comes back when that ends.
//! [`HttpServer::h1_allow_half_closed(false)`](actix_web::HttpServer::h1_allow_half_closed) drops both at once.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod body;
pub mod concurrency;
mod denied;
mod extract;
pub mod key;
pub mod rate_limit;
mod request;

pub use self::concurrency::Concurrency;
pub use self::denied::Denied;
pub use self::extract::{MissingSlot, Slot};
pub use self::rate_limit::RateLimit;
pub use tidegate;
