//! Programs that use tidegate: run them with `cargo run --release --example NAME`.
//!
//! | name | what |
//! |---|---|
//! | `quickstart` | two nodes that share a limit, without any server, and what to try on them |
//! | `axum_minimal`, `actix_minimal`, `hyper_minimal` | the shortest programs |
//! | `per_route` | limits that differ from route to route |
//! | `limits_file` | limits from a file, changed while it runs |
//! | `client_side` | the guard around a client instead of a server |
//! | `layered_regions` | one limit over two regions with three processes each, in a live table |
//! | `gateway` | a reverse proxy, many of which share one limit over Redis |

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
