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
//! | [`SlidingLog`] | a moment for each unit | at most `limit` in every stretch of a window's length |
//! | [`Suppress`] | two counts | as the sliding window; above a soft limit a falling part passes |
//! | [`CalendarWindow`] | a count | at most `limit` in each hour, day or month of a calendar |
//!
//! [`Rule`] is one of them, as a policy's quota chose it, over a slice of words; [`RuleSet`] is several for one key.

mod calendar;
mod carry;
mod chosen;
mod divisor;
mod fixed_window;
mod gcra;
mod refund;
mod set;
mod sliding_log;
mod sliding_window;
mod suppress;
#[cfg(feature = "redis")]
mod term;
mod two_cells;

use crate::time::{LocalTime, WallTime};

pub use self::calendar::CalendarWindow;
pub(crate) use self::carry::Carry;
pub use self::chosen::Rule;
pub use self::fixed_window::{FixedWindow, WindowCount};
pub(crate) use self::gcra::Finding;
pub use self::gcra::{Gcra, Tat};
pub use self::refund::Refund;
pub use self::set::RuleSet;
pub use self::sliding_log::SlidingLog;
pub use self::sliding_window::SlidingWindow;
pub use self::suppress::Suppress;
#[cfg(feature = "redis")]
pub(crate) use self::term::{Term, ticks};
pub use self::two_cells::TwoCells;
pub(crate) use self::two_cells::{View, is_in};

/// What a rule is told of the moment of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// On the clock that counts windows and waits.
    pub now: LocalTime,
    /// For rules of a calendar.
    pub wall: WallTime,
    /// For rules that let a part pass: any random number; of two the greater never passes where the lesser does not.
    pub random: u64,
}

impl Moment {
    /// The moment `now`, in 1970 and without luck: enough for rules that know no calendar and leave nothing to chance.
    #[inline]
    #[must_use]
    pub const fn at(now: LocalTime) -> Self {
        Self {
            now,
            wall: WallTime::from_unix_nanos(0),
            random: u64::MAX,
        }
    }

    /// The same at `wall` on the wall clock.
    #[must_use]
    pub const fn on(mut self, wall: WallTime) -> Self {
        self.wall = wall;
        self
    }

    /// The same with a random number.
    #[must_use]
    pub const fn drawing(mut self, random: u64) -> Self {
        self.random = random;
        self
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
