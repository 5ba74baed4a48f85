//! After a denial: read origin before allowing again.
//!
//! Belongs to a key and its window's length, not to one window, since what was denied in one weighs on the next.
//! Counts only grow, so a denial from what is known here is final and reads nothing; what would be allowed is read
//! first, unless what is known is hardly older than an answer of origin would be. In a heavy overload, where three of
//! four are denied, each read is paid for by decisions, so that a flood never becomes one of reads.

use crate::time::LocalTime;
use std::time::Duration;

/// Decisions that pay for a read: below .05 reads a request, with room for those of cold and stale views.
pub(crate) const PRICE: u8 = 32;
/// The longest a denial is remembered.
const MAX_SPAN: Duration = Duration::from_secs(5);
/// Three of four decisions are denials.
const HEAVY: u8 = 192;

/// The strict mode of one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct StrictMode {
    until: LocalTime,
    credit: u8,
    /// The part of denials among the last decisions, about sixteen of them, in 256ths.
    denials: u8,
}

impl StrictMode {
    /// Nothing was denied; one read is free.
    pub(crate) const NEW: Self = Self {
        until: LocalTime::ZERO,
        credit: PRICE,
        denials: 0,
    };

    pub(crate) fn is_on(&self, now: LocalTime) -> bool {
        now < self.until
    }

    #[inline]
    pub(crate) fn handle_denial(&mut self, now: LocalTime, window: Duration) {
        self.until = now.saturating_add(window.min(MAX_SPAN));
        self.credit = self.credit.saturating_add(1);
        self.denials += (u8::MAX - self.denials) / 16;
    }

    /// Whether a read before a decision can be afforded.
    #[inline]
    pub(crate) const fn affords_read(&self) -> bool {
        self.denials < HEAVY || self.credit >= PRICE
    }

    pub(crate) const fn pay(&mut self) {
        if self.denials >= HEAVY {
            self.credit = self.credit.saturating_sub(PRICE);
        }
    }

    /// Something was allowed.
    #[inline]
    pub(crate) const fn handle_allowed(&mut self) {
        self.credit = self.credit.saturating_add(1);
        self.denials -= self.denials.div_ceil(16);
    }

    /// Origin says how much is used: well below the limit there is nothing to be strict about.
    pub(crate) fn handle_usage(&mut self, used: u64, limit: u32) {
        if used.saturating_add(u64::from(limit / 8)) < u64::from(limit) {
            self.until = LocalTime::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> LocalTime = |ms| LocalTime::from_nanos(ms * 1_000_000);
    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn a_denial_is_remembered_for_a_while_and_no_longer_than_the_window() {
        let mut mode = StrictMode::NEW;
        assert!(!mode.is_on(MS(0)));
        mode.handle_denial(MS(0), WINDOW);
        assert!(mode.is_on(MS(4_999)) && !mode.is_on(MS(5_000)));
        mode.handle_denial(MS(0), Duration::from_millis(100));
        assert!(!mode.is_on(MS(100)));
    }

    #[test]
    fn in_a_flood_reads_are_paid_for_by_decisions_and_else_they_are_free() {
        for (denials_per_allowed, most) in [(1, 2_000), (9, 33)] {
            let mut mode = StrictMode::NEW;
            let mut reads = 0;
            for at in 0..1_000 {
                for _ in 0..denials_per_allowed {
                    mode.handle_denial(MS(at), WINDOW);
                }
                if mode.affords_read() {
                    mode.pay();
                    reads += 1;
                }
                mode.handle_allowed();
            }
            let decisions = 1_000 * (denials_per_allowed + 1);
            assert!(reads <= most.max(decisions / 30), "{reads}");
            assert!(reads * 40 >= decisions, "{reads}");
        }
    }

    #[test]
    fn usage_well_below_the_limit_ends_it() {
        let mut mode = StrictMode::NEW;
        mode.handle_denial(MS(0), WINDOW);
        mode.handle_usage(88, 100);
        assert!(mode.is_on(MS(1)));
        mode.handle_usage(87, 100);
        assert!(!mode.is_on(MS(1)));
    }
}
