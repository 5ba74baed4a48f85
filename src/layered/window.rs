//! Two-cell sliding window: a limit over the current cell and what is left of the one before.
//!
//! `used = current + floor(previous * (window - elapsed) / window)`. The part of the window that is left is counted
//! in steps of at most a 2^30th of it, rounded up (against the caller), so that everything fits 64 bits.

/// A limit and its window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SlidingWindow {
    limit: u32,
    nanos: u64,
    /// A step is `1 << shift` nanoseconds.
    shift: u32,
    /// The steps of a window: below 2^31.
    whole: u64,
}

/// Where a moment lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) elapsed: u64,
}

impl SlidingWindow {
    /// `limit` units in each `nanos` nanoseconds, which are not 0.
    pub(crate) const fn new(limit: u32, nanos: u64) -> Self {
        let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(31);
        Self {
            limit,
            nanos,
            shift,
            whole: nanos >> shift,
        }
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn nanos(&self) -> u64 {
        self.nanos
    }

    /// The cell of a moment, in nanoseconds of the time that all nodes share.
    #[inline]
    pub(crate) const fn place(&self, time: u64) -> Place {
        Place {
            sequence: time / self.nanos,
            elapsed: time % self.nanos,
        }
    }

    /// What counts against the limit.
    #[inline]
    pub(crate) fn used(&self, current: u64, previous: u64, elapsed: u64) -> u64 {
        current.saturating_add(self.left_of(previous, elapsed))
    }

    /// Nanoseconds until `cost`, which is at most the limit, fits if nobody else comes; 0 if it fits now.
    pub(crate) fn wait(&self, current: u64, previous: u64, elapsed: u64, cost: u32) -> u64 {
        let to_end = self.nanos.saturating_sub(elapsed);
        let room = u64::from(self.limit - cost);
        if current <= room
            && let Some(from) = self.fits_from(previous, room - current)
        {
            return from.saturating_sub(elapsed);
        }
        // In the next window, this one's count is the previous one.
        to_end.saturating_add(self.fits_from(current, room).unwrap_or(self.nanos))
    }

    /// Nanoseconds until everything that was spent has come back.
    pub(crate) const fn reset(&self, current: u64, previous: u64, elapsed: u64) -> u64 {
        let to_end = self.nanos.saturating_sub(elapsed);
        match (current, previous) {
            (0, 0) => 0,
            (0, _) => to_end,
            _ => to_end + self.nanos,
        }
    }

    #[inline]
    fn left_of(&self, previous: u64, elapsed: u64) -> u64 {
        let left = self.nanos.saturating_sub(elapsed);
        let steps = ((left + (1 << self.shift) - 1) >> self.shift).min(self.whole);
        capped(previous) * steps / self.whole
    }

    /// The moment of a window from which no more than `room` is left of `previous`; `None` if that is not before its
    /// end.
    fn fits_from(&self, previous: u64, room: u64) -> Option<u64> {
        let most = (capped(room) + 1) * self.whole - 1;
        let steps = most.checked_div(capped(previous)).unwrap_or(self.whole);
        if steps >= self.whole {
            return Some(0);
        }
        (steps > 0).then(|| self.nanos - (steps << self.shift))
    }
}

/// A count that can be multiplied: more than any limit makes no difference.
const fn capped(count: u64) -> u64 {
    if count > u32::MAX as u64 {
        u32::MAX as u64
    } else {
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_previous_cell_fades_evenly_and_is_rounded_down() {
        let window = SlidingWindow::new(10, 10 * SECOND);
        for (elapsed, used) in [(0, 13), (1, 12), (5, 8), (9, 4), (10, 3)] {
            assert_eq!(window.used(3, 10, elapsed * SECOND), used, "{elapsed} s");
        }
        assert_eq!(window.used(0, 1, 1), 1, "one step has not gone by");
    }

    #[test]
    fn a_small_limit_is_admitted_in_full() {
        let window = SlidingWindow::new(1, SECOND);
        assert_eq!(window.used(0, 1, SECOND / 1_000), 0);
    }

    fn fits(window: &SlidingWindow, current: u64, previous: u64, at: u64, cost: u32) -> bool {
        let nanos = window.nanos();
        let used = match at / nanos {
            0 => window.used(current, previous, at),
            1 => window.used(0, current, at - nanos),
            _ => 0,
        };
        used + u64::from(cost) <= u64::from(window.limit())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn who_waits_as_told_fits_and_a_nanosecond_less_is_too_early(
            limit in 1u32..200,
            nanos in prop_oneof![1_000_000u64..100 * SECOND, Just(315_576_000 * SECOND)],
            current in 0u64..300,
            previous in 0u64..300,
            part in 0u64..1_000,
            cost in 1u32..200,
        ) {
            let cost = cost.min(limit);
            let window = SlidingWindow::new(limit, nanos);
            let elapsed = (u128::from(nanos) * u128::from(part) / 1_000) as u64;
            let wait = window.wait(current, previous, elapsed, cost);
            prop_assert!(fits(&window, current, previous, elapsed + wait, cost), "{}", wait);
            if wait > 0 {
                prop_assert!(!fits(&window, current, previous, elapsed + wait - 1, cost), "{}", wait);
            }
        }

        #[test]
        fn steps_are_as_good_as_exact_fractions(
            nanos in 1_000_000u64..1_000 * SECOND,
            previous in 0u64..1_000_000,
            part in 0u64..1_000,
        ) {
            let window = SlidingWindow::new(1, nanos);
            let elapsed = nanos * part / 1_000;
            let exact = u128::from(previous) * u128::from(nanos - elapsed) / u128::from(nanos);
            let used = u128::from(window.used(0, previous, elapsed));
            prop_assert!(used == exact || used == exact + 1, "{} for {}", used, exact);
        }
    }
}
