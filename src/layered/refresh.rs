//! When a view must be read from origin again, and whether its callers wait for that.
//!
//! ```text
//!   cold -- good read --> fresh -- 5 s without a good read or flush --> stale -- good read --> fresh
//!                           |                                              |
//!                           |  a new window: provisional, read in the      |  little used: served stale,
//!                           |  background after a grace and a jitter       |  read in the background
//! ```
//!
//! A failed read changes none of it, and is not repeated for 300 ms. Nor is one whose answer came two windows later: so
//! who waited for it is decided on from what is known. Where origin refuses a cell alone nobody waits for as long either.

use crate::layered::link::RETRY;
use crate::time::LocalTime;
use std::time::Duration;

/// How long a view is fresh after a good read or flush.
pub(crate) const FRESH: Duration = Duration::from_secs(5);

/// What a view needs before it decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    Nothing,
    /// To be read, but the decision need not wait.
    Background,
    /// To be read first.
    Wait,
}

/// How well a view is known. All deadlines of a view are here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Freshness {
    /// When what is known was true at origin.
    synced_at: LocalTime,
    fresh_until: LocalTime,
    retry_at: LocalTime,
    /// After a rollover: when the new window is read.
    refresh_at: LocalTime,
    cold: bool,
    reading: bool,
    /// Whether the previous cell can still change.
    frozen: bool,
}

impl Freshness {
    pub(crate) const COLD: Self = Self {
        synced_at: LocalTime::ZERO,
        fresh_until: LocalTime::ZERO,
        retry_at: LocalTime::ZERO,
        refresh_at: LocalTime::NEVER,
        cold: true,
        reading: false,
        frozen: false,
    };

    pub(crate) const fn is_reading(&self) -> bool {
        self.reading
    }

    pub(crate) const fn is_frozen(&self) -> bool {
        self.frozen
    }

    pub(crate) const fn synced_at(&self) -> LocalTime {
        self.synced_at
    }

    /// `calm`: little enough is used to decide on a stale view.
    #[inline]
    pub(crate) fn need(&self, now: LocalTime, calm: bool) -> Need {
        let fresh = now < self.fresh_until && now < self.refresh_at;
        if fresh || self.has_failed(now) {
            Need::Nothing
        } else if self.cold || (now >= self.fresh_until && !calm) {
            Need::Wait
        } else {
            Need::Background
        }
    }

    /// Whether this is the one who has to read.
    pub(crate) const fn begin_read(&mut self) -> bool {
        !std::mem::replace(&mut self.reading, true)
    }

    /// A good answer, to what was sent at `sent`, about the current window; `frozen`, if it was late enough for the
    /// previous one to be final.
    pub(crate) fn handle_read(&mut self, sent: LocalTime, frozen: bool) {
        self.reading = false;
        self.cold = false;
        self.frozen = self.frozen || frozen;
        if sent >= self.refresh_at {
            self.refresh_at = LocalTime::NEVER;
        }
        self.handle_flush(sent);
    }

    /// A good answer about the window before the current one: as if it had come before that began, which is read at once.
    pub(crate) fn handle_late_read(&mut self, sent: LocalTime, now: LocalTime) {
        self.handle_read(sent, false);
        self.refresh_at = now;
    }

    /// Origin has answered what was sent at `sent` with the count of the current window.
    pub(crate) fn handle_flush(&mut self, sent: LocalTime) {
        self.synced_at = self.synced_at.max(sent);
        self.fresh_until = self.fresh_until.max(sent.saturating_add(FRESH));
    }

    /// An answer about a window that is over, or a read that was not made.
    pub(crate) const fn handle_nothing(&mut self) {
        self.reading = false;
    }

    pub(crate) fn handle_failure(&mut self, now: LocalTime) {
        self.reading = false;
        self.handle_refusal(now);
    }

    /// Origin did not take what it was told of this view.
    pub(crate) fn handle_refusal(&mut self, now: LocalTime) {
        self.retry_at = now.saturating_add(RETRY);
    }

    /// What was asked or told of this view has just failed: nobody waits for another one.
    #[inline]
    pub(crate) fn has_failed(&self, now: LocalTime) -> bool {
        now < self.retry_at
    }

    /// A new window has begun, directly after the one before or not.
    pub(crate) fn handle_rollover(&mut self, refresh_at: LocalTime, adjacent: bool) {
        self.frozen = false;
        if adjacent && !self.cold {
            self.refresh_at = refresh_at;
        } else {
            *self = Self {
                reading: self.reading,
                retry_at: self.retry_at,
                ..Self::COLD
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> LocalTime = |ms| LocalTime::from_nanos(ms * 1_000_000);

    fn fresh_at(ms: u64) -> Freshness {
        let mut view = Freshness::COLD;
        assert!(view.begin_read());
        view.handle_read(MS(ms), false);
        view
    }

    #[test]
    fn a_cold_view_waits_for_one_read_and_is_then_fresh_for_five_seconds() {
        let mut view = Freshness::COLD;
        assert_eq!(view.need(MS(1), true), Need::Wait);
        assert!(view.begin_read() && !view.begin_read(), "one read for all");
        view.handle_read(MS(1), false);
        assert_eq!(view.need(MS(5_000), false), Need::Nothing);
        assert_eq!(view.need(MS(5_001), false), Need::Wait);
        assert_eq!(view.need(MS(5_001), true), Need::Background);
    }

    #[test]
    fn a_failed_read_makes_nothing_fresh_and_is_not_repeated_at_once() {
        let mut view = fresh_at(0);
        assert!(view.begin_read());
        view.handle_failure(MS(6_000));
        assert_eq!(view.need(MS(6_299), false), Need::Nothing);
        assert_eq!(view.need(MS(6_300), false), Need::Wait);
        assert_eq!(view.synced_at(), MS(0));
    }

    #[test]
    fn a_flush_keeps_a_view_fresh() {
        let mut view = fresh_at(0);
        view.handle_flush(MS(4_000));
        assert_eq!(view.need(MS(8_999), false), Need::Nothing);
    }

    #[test]
    fn a_warm_view_goes_over_into_the_next_window_without_waiting() {
        let mut view = fresh_at(0);
        view.handle_rollover(MS(2_000), true);
        assert_eq!(view.need(MS(1_999), false), Need::Nothing);
        assert_eq!(view.need(MS(2_000), false), Need::Background);
        assert!(view.begin_read());
        view.handle_read(MS(2_000), true);
        assert!(view.is_frozen());
        assert_eq!(view.need(MS(2_001), false), Need::Nothing);
        view.handle_rollover(MS(9_000), false);
        assert_eq!(
            view.need(MS(2_002), true),
            Need::Wait,
            "a window was left out"
        );
    }
}
