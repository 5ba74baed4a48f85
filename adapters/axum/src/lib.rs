//! axum support for [`tidegate`]: the keys, extractors, rejections and upgrades that need axum's own types.
//!
//! The layers themselves are tidegate's, see [`tidegate::tower`]. They work with `Router::layer`, `route_layer`,
//! `nest`, `axum::serve(listener, router)` and `into_make_service_with_connect_info`; one layer is one limit,
//! however often axum clones it.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | whose requests count together, from what axum knows of them |
//! | [`routed`] | rate limits by method and route, in one layer |
//! | [`Slot`] | extractor: what was decided, when to stop, a hold on the slot |
//! | [`Denied`] | a denial as a handler's answer |
//! | `ws` | WebSockets that keep their slot |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod denied;
mod extract;
pub mod key;
mod routed;
#[cfg(feature = "ws")]
pub mod ws;

pub use self::denied::Denied;
pub use self::extract::{MissingSlot, Slot};
pub use self::routed::routed;
#[cfg(feature = "ws")]
pub use self::ws::on_upgrade;
pub use tidegate;
