//! Rules: what is decided, as pure functions of `(state, cost, now)`.
//!
//! A rule turns the state of one key into a [`Decision`](crate::Decision) and the state that follows. It reads no
//! clock, takes no lock, draws no random number and computes in integers, so the same function decides in this
//! process, in a store and in a simulation. Each rule is one file, with its state as its own `Copy` type.
//!
//! | rule | state | promise |
//! |---|---|---|
//! | [`Gcra`] | one timestamp | at most `burst + limit * t / window` in any stretch `t` |

mod gcra;

pub use self::gcra::{Gcra, Tat};
