//! A deterministic, seeded discrete-event simulator that runs the fleet guard itself against backends, loads and
//! faults, beside limiters written from their published formulas and beside oracles.
//!
//! `README.md` documents the program and the format of scenarios.

mod backend;
pub mod cli;
mod compare;
mod engine;
mod generate;
mod limiter;
mod load;
mod matrix;
mod metrics;
mod plot;
mod profile;
mod random;
mod report;
pub mod scenario;
pub mod suite;
mod world;
