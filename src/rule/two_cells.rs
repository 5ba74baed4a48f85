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
}

impl View {
    /// A state at the moment `now` of a clock that windows of `window` nanoseconds begin with.
    #[inline]
    pub(crate) const fn at(state: TwoCells, window: u64, now: u64) -> Self {
        let cells = state.in_window(now / window);
        let begin = cells.sequence.saturating_mul(window);
        Self {
            cells,
            window,
            elapsed: now.saturating_sub(begin),
            ahead: begin.saturating_sub(now),
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

    /// Units that count at this moment.
    #[inline]
    pub(crate) const fn used(&self) -> u64 {
        let still = self.window - self.elapsed;
        let part = self.cells.previous as u128 * still as u128 / self.window as u128;
        // The part is at most `previous`.
        self.cells.current.saturating_add(part as u64)
    }

    pub(crate) const fn spending(mut self, cost: u64) -> Self {
        self.cells.current = self.cells.current.saturating_add(cost);
        self
    }

    /// Nanoseconds until at most `units` count, if nobody comes meanwhile.
    ///
    /// What counts never rises by itself: at a line the current cell becomes the previous one, of which at first
    /// everything counts.
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

/// The earliest moment of a window at which at most `units` of `previous` count: the least `e` with
/// `floor(previous * (window - e) / window) <= units`.
const fn falls_to(previous: u64, units: u64, window: u64) -> u64 {
    if previous <= units {
        return 0;
    }
    // floor(x) <= units where x < units + 1, and so where e > (previous - units - 1) * window / previous.
    let excess = (previous - units - 1) as u128 * window as u128 / previous as u128;
    excess as u64 + 1
}
