//! Two cells: what was spent in this window of a grid, and a falling part of what was in the one before.
//!
//! ```text
//!     previous      current
//!  ──┬─────────────┬──────┬──────┬──▶ time
//!    │      ┌──────┼──────┤
//!    │      │ still counts│now
//!
//!  used = current + floor(previous * (window - elapsed) / window)
//! ```
//!
//! The part is rounded down: rounded up, a limit of 10 would admit 9 in every window under steady load.

/// The state of one key: what was spent in a window, and in the one before.
///
/// A key that was never seen has [`TwoCells::IDLE`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct TwoCells {
    /// Windows since the start of the clock.
    pub(crate) sequence: u64,
    pub(crate) current: u64,
    pub(crate) previous: u64,
}

impl TwoCells {
    /// Nothing spent.
    pub const IDLE: Self = Self {
        sequence: 0,
        current: 0,
        previous: 0,
    };
    /// Words of a state.
    pub const WORDS: usize = 3;

    /// The state that [`Self::to_words`] gave.
    #[inline]
    #[must_use]
    pub const fn from_words([sequence, current, previous]: [u64; Self::WORDS]) -> Self {
        Self {
            sequence,
            current,
            previous,
        }
    }

    /// The state as numbers.
    #[inline]
    #[must_use]
    pub const fn to_words(self) -> [u64; Self::WORDS] {
        [self.sequence, self.current, self.previous]
    }

    /// The state as it counts in window `sequence`, or in its own where that is later: a thread that read its clock
    /// before another one must not open a window that is over again.
    pub(super) const fn in_window(self, sequence: u64) -> Self {
        if self.sequence >= sequence {
            return self;
        }
        let follows = self.sequence + 1 == sequence;
        Self {
            sequence,
            current: 0,
            previous: if follows { self.current } else { 0 },
        }
    }

    /// A state that has spent at least what either has.
    pub(super) fn absorb(self, other: Self) -> Self {
        let (a, b) = (
            self.in_window(other.sequence),
            other.in_window(self.sequence),
        );
        Self {
            sequence: a.sequence,
            current: a.current.max(b.current),
            previous: a.previous.max(b.previous),
        }
    }
}

/// Two cells at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(super) cells: TwoCells,
    window: u64,
    /// Nanoseconds of the current window that are over.
    elapsed: u64,
    /// Nanoseconds until the current window begins: not 0 only for a clock that was read earlier than another.
    ahead: u64,
    /// Units of the window before that still count.
    before: u64,
}

impl View {
    /// A state at the moment `now` of a clock that windows of `window` nanoseconds begin with.
    #[inline]
    pub(crate) const fn at(state: TwoCells, window: u64, now: u64) -> Self {
        // A division only for who comes from another window.
        let cells = if is_in(state.sequence, window, now) {
            state
        } else {
            state.in_window(now / window)
        };
        let begin = cells.sequence.saturating_mul(window);
        let elapsed = now.saturating_sub(begin);
        Self {
            cells,
            window,
            elapsed,
            ahead: begin.saturating_sub(now),
            before: part(cells.previous, window - elapsed, window),
        }
    }

    /// What was spent in the current window.
    pub(crate) const fn current(&self) -> u64 {
        self.cells.current
    }

    /// Nanoseconds of the current window that are over.
    pub(crate) const fn elapsed(&self) -> u64 {
        self.elapsed
    }

    /// Nanoseconds until the current window ends.
    pub(crate) const fn left(&self) -> u64 {
        self.ahead.saturating_add(self.window - self.elapsed)
    }

    /// Units that count at this moment.
    #[inline]
    pub(crate) const fn used(&self) -> u64 {
        self.cells.current.saturating_add(self.before)
    }

    pub(crate) const fn spending(mut self, cost: u64) -> Self {
        self.cells.current = self.cells.current.saturating_add(cost);
        self
    }

    /// Nanoseconds until at most `units` count, if nobody comes meanwhile.
    ///
    /// What counts never rises by itself: at a line the current cell becomes the previous one, of which at first
    /// everything counts.
    #[inline]
    pub(crate) const fn wait(&self, units: u64) -> u64 {
        let TwoCells {
            current, previous, ..
        } = self.cells;
        let moment = if current <= units {
            falls_to(previous, units - current, self.window)
        } else {
            self.window + falls_to(current, units, self.window)
        };
        self.ahead
            .saturating_add(moment.saturating_sub(self.elapsed))
    }
}

/// Whether the moment `now` of a clock that windows of `window` nanoseconds begin with is in the one of this number. Takes no
/// division.
#[inline]
pub(crate) const fn is_in(sequence: u64, window: u64, now: u64) -> bool {
    let begin = sequence.saturating_mul(window);
    now >= begin && now - begin < window
}

/// `floor(units * span / window)`, of a span that is no longer than the window.
#[inline]
const fn part(units: u64, span: u64, window: u64) -> u64 {
    if units == 0 {
        return 0;
    }
    match units.checked_mul(span) {
        Some(product) => product / window,
        // At most `units`.
        None => (units as u128 * span as u128 / window as u128) as u64,
    }
}

/// The earliest moment of a window at which at most `units` of `previous` count: the least `e` with
/// `floor(previous * (window - e) / window) <= units`.
#[inline]
const fn falls_to(previous: u64, units: u64, window: u64) -> u64 {
    if previous <= units {
        return 0;
    }
    // floor(x) <= units where x < units + 1, and so where e > window - (units + 1) * window / previous.
    let falls_late = match (units + 1).checked_mul(window) {
        Some(product) => product.div_ceil(previous),
        // At most `window`.
        None => ((units as u128 + 1) * window as u128).div_ceil(previous as u128) as u64,
    };
    window - falls_late + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What still counts of `units` after `elapsed` of a window, by the definition.
    fn left(units: u64, window: u64, elapsed: u64) -> u128 {
        u128::from(units) * u128::from(window - elapsed) / u128::from(window)
    }

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![1..50u64, 1..u64::from(u32::MAX), 1..1u64 << 53]
    }

    proptest! {
        #[test]
        fn what_counts_is_the_part_that_is_left_rounded_down(
            previous in numbers(), window in numbers(), sequence in 1..1_000u64, at in any::<u64>(),
        ) {
            let cells = TwoCells { sequence, current: 7, previous };
            let elapsed = at % window;
            let view = View::at(cells, window, sequence * window + elapsed);
            prop_assert_eq!(u128::from(view.used()), 7 + left(previous, window, elapsed));
        }

        #[test]
        fn it_falls_to_so_many_units_at_the_first_moment_at_which_no_more_count(
            previous in numbers(), part in any::<u64>(), window in numbers(),
        ) {
            let units = part % previous;
            let moment = falls_to(previous, units, window);
            prop_assert!((1..=window).contains(&moment));
            prop_assert!(left(previous, window, moment) <= u128::from(units));
            prop_assert!(left(previous, window, moment - 1) > u128::from(units));
        }
    }
}
