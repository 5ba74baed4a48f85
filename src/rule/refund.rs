//! Booking without asking, and giving back what was booked: for costs that are known only afterwards.
//!
//! A refund must never give back more than was lost by the booking: what came back by itself meanwhile is nobody's any
//! more. So a booking leaves one word, its mark, that says where in the state its units are:
//!
//! | rule | mark | what is given back |
//! |---|---|---|
//! | token bucket | TAT after the booking | the part of the time from there that is still to come |
//! | windows, calendar | the window | everything while the window still counts |
//! | sliding log | the moment at which the units come back | the units with that moment |

use crate::rule::chosen::{cells, count, tat};
use crate::rule::sliding_log::{newest, remove};
use crate::rule::{Moment, Rule, RuleSet, Tat};
use crate::time::LocalTime;

/// What is given back, of which booking.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refund {
    /// Units to give back, at most as many as were booked.
    pub units: u32,
    /// When they were booked.
    pub booked: LocalTime,
    /// At least as many units as were given back on the same key since: refunds move what was booked after them, and
    /// a token bucket's mark with it.
    pub others: u64,
}

impl Rule {
    /// Books `units` whether they fit or not: the next ones wait until they have come back.
    pub fn book(&self, state: &mut [u64], units: u32, at: Moment) {
        if units == 0 {
            return;
        }
        match self {
            Self::Gcra(rule) => state[0] = rule.book(tat(state), units, at.now).to_bits(),
            Self::FixedWindow(rule) => {
                let mut here = rule.here(count(state), at.now);
                here.count = here.count.saturating_add(units.into());
                state.copy_from_slice(&here.to_words());
            }
            Self::Calendar(rule) => {
                let mut here = rule.here(count(state), at.wall);
                here.count = here.count.saturating_add(units.into());
                state.copy_from_slice(&here.to_words());
            }
            Self::SlidingWindow(rule) => {
                let view = rule.view(cells(state), at.now).spending(units.into());
                state.copy_from_slice(&view.cells.to_words());
            }
            Self::Suppress(rule) => {
                let view = rule.window().view(cells(state), at.now);
                let view = view.spending(units.into());
                state.copy_from_slice(&view.cells.to_words());
            }
            Self::SlidingLog(rule) => rule.book(state, units, at.now),
        }
    }

    /// The mark of what was booked last on `state`.
    #[must_use]
    pub fn mark(&self, state: &[u64]) -> u64 {
        match self {
            Self::SlidingLog(_) => newest(state),
            // TAT, or the sequence of the window.
            _ => state[0],
        }
    }

    /// In place of a mark, of a booking of which nothing can be given back.
    pub(super) const fn no_mark(&self) -> u64 {
        match self {
            Self::Gcra(_) => 0,
            // No window has this number, and nothing was booked at this time.
            _ => u64::MAX,
        }
    }

    /// Gives back what is left of a booking that left `mark`. Nobody gets more for it than if the booking had never
    /// been made.
    pub fn give_back(&self, state: &mut [u64], refund: Refund, mark: u64, at: Moment) {
        let units = u64::from(refund.units);
        match self {
            Self::Gcra(rule) => {
                let after = rule.give_back(tat(state), refund, Tat::from_bits(mark), at.now);
                state[0] = after.to_bits();
            }
            Self::FixedWindow(_) | Self::Calendar(_) => {
                if state[0] == mark {
                    state[1] = state[1].saturating_sub(units);
                }
            }
            Self::SlidingWindow(_) | Self::Suppress(_) => {
                let mut cells = cells(state);
                if cells.sequence == mark {
                    cells.current = cells.current.saturating_sub(units);
                } else if cells.sequence.checked_sub(1) == Some(mark) {
                    cells.previous = cells.previous.saturating_sub(units);
                }
                state.copy_from_slice(&cells.to_words());
            }
            Self::SlidingLog(_) => {
                remove(state, refund.units, mark);
            }
        }
    }
}

impl Rule {
    /// Gives back the `units` that were booked last.
    pub fn give_back_last(&self, state: &mut [u64], units: u32, at: Moment) {
        if let Self::SlidingLog(_) = self {
            let mut left = units;
            loop {
                let newest = newest(state);
                if left == 0 || newest <= at.now.as_nanos() {
                    return;
                }
                left -= remove(state, left, newest);
            }
        }
        let refund = Refund {
            units,
            booked: at.now,
            others: 0,
        };
        self.give_back(state, refund, self.mark(state), at);
    }
}

impl RuleSet {
    /// As [`Rule::book`], under every rule.
    pub fn book(&self, state: &mut [u64], units: u32, at: Moment) {
        for (rule, state) in self.each_mut(state) {
            rule.book(state, units, at);
        }
    }

    /// As [`Rule::give_back_last`], under every rule.
    pub fn give_back_last(&self, state: &mut [u64], units: u32, at: Moment) {
        for (rule, state) in self.each_mut(state) {
            rule.give_back_last(state, units, at);
        }
    }

    /// As [`Rule::mark`], of every rule.
    #[must_use]
    pub fn marks(&self, state: &[u64]) -> Box<[u64]> {
        let each = self.each(state);
        each.map(|(rule, state)| rule.mark(state)).collect()
    }

    /// As [`Rule::give_back`], under every rule.
    ///
    /// # Panics
    /// If there are not as many marks as rules.
    pub fn give_back(&self, state: &mut [u64], refund: Refund, marks: &[u64], at: Moment) {
        assert_eq!(marks.len(), self.rules().len(), "a mark for each rule");
        for ((rule, state), mark) in self.each_mut(state).zip(marks) {
            rule.give_back(state, refund, *mark, at);
        }
    }
}

#[cfg(test)]
mod tests;
