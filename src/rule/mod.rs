//! Rules: what is decided, as pure functions of `(state, cost, now)`.
//!
//! A rule turns the state of one key into a [`Decision`](crate::Decision) and the state that follows. It reads no
//! clock, takes no lock, draws no random number and computes in integers, so the same function decides in this
//! process, in a store and in a simulation. Each rule is one file, with its state as its own type.
//!
//! | rule | state | promise |
//! |---|---|---|
//! | [`Gcra`] | one timestamp | at most `burst + limit * t / window` in any stretch `t` |
//! | [`FixedWindow`] | a count | at most `limit` between two lines of a grid, twice that around one |
//! | [`SlidingWindow`] | two counts | at most `limit` between two lines, about that in any other stretch |
//!
//! [`Rule`] is one of them, as a policy's quota chose it, over a slice of words; [`RuleSet`] is several for one key.

mod chosen;
mod fixed_window;
mod gcra;
mod set;
mod sliding_window;

use crate::time::LocalTime;

pub use self::chosen::Rule;
pub use self::fixed_window::{FixedWindow, WindowCount};
pub use self::gcra::{Gcra, Tat};
pub use self::set::RuleSet;
pub use self::sliding_window::{SlidingWindow, TwoCells};

/// What a rule is told of the moment of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// On the clock that counts windows and waits.
    pub now: LocalTime,
}

impl Moment {
    /// The moment `now`.
    #[inline]
    #[must_use]
    pub const fn at(now: LocalTime) -> Self {
        Self { now }
    }
}

#[cfg(test)]
mod tests;
