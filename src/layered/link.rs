//! Whether origin answers: after a failure nobody waits for it, one probe at a time finds out when it is back.
//!
//! ```text
//!        failure                 5 s without a good answer
//!   Up ----------> Down (probes every 300 ms) ----------> Away
//!    ^______________|______________________________________|   a good answer
//! ```

use crate::time::LocalTime;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long after a failure origin is not asked again.
pub(crate) const RETRY: Duration = Duration::from_millis(300);
/// How long origin has to be silent until it is away.
pub(crate) const AWAY_AFTER: Duration = Duration::from_secs(5);

/// What callers need to know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Link {
    /// Worth waiting for.
    Up,
    /// Not worth waiting for.
    Down,
    /// For so long that nodes no longer know of each other.
    Away,
}

/// What a node does while its origin is away.
///
/// While it is merely down, for less than 5 s, decisions are taken from what was known last.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outage {
    /// Goes on alone: each of N nodes may admit up to the limit, N times as much in the worst case.
    #[default]
    Local,
    /// Each node admits `limit / nodes`, rounded down, of what it accepts from then on: all together no more than the
    /// limit, if there are no more than `nodes`. A limit below `nodes` denies everything meanwhile.
    Share {
        /// The most nodes there are.
        nodes: NonZeroU32,
    },
}

/// What is known of the link to origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LinkState {
    down_since: Option<LocalTime>,
    probe_at: LocalTime,
    /// Of the last answers, smoothed.
    round_trip: Duration,
}

impl LinkState {
    pub(crate) const fn new() -> Self {
        Self {
            down_since: None,
            probe_at: LocalTime::ZERO,
            round_trip: Duration::ZERO,
        }
    }

    /// What was sent at `sent` was answered at `now`.
    pub(crate) fn handle_answer(&mut self, sent: LocalTime, now: LocalTime) {
        let took = now.since(sent);
        self.down_since = None;
        self.round_trip = match self.round_trip {
            Duration::ZERO => took,
            before => (before * 7 + took) / 8,
        };
    }

    pub(crate) const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether nothing was answered, and nothing failed.
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::new()
    }

    /// As whoever takes over begins: it finds out at once whether that is so still.
    pub(crate) const fn carried(self) -> Self {
        Self {
            probe_at: LocalTime::ZERO,
            ..self
        }
    }

    /// Something that was sent at `sent` failed or was given up at `now`.
    pub(crate) fn handle_failure(&mut self, sent: LocalTime, now: LocalTime) {
        self.down_since.get_or_insert(sent);
        self.probe_at = now.saturating_add(RETRY);
    }

    pub(crate) fn link(&self, now: LocalTime) -> Link {
        match self.down_since {
            None => Link::Up,
            Some(since) if now.since(since) < AWAY_AFTER => Link::Down,
            Some(_) => Link::Away,
        }
    }

    /// Whether origin may be asked.
    pub(crate) fn may_ask(&self, now: LocalTime) -> bool {
        self.down_since.is_none() || now >= self.probe_at
    }

    /// A probe goes out: the next one only if it fails.
    pub(crate) fn asks(&mut self, now: LocalTime, patience: Duration) {
        if self.down_since.is_some() {
            self.probe_at = now.saturating_add(patience).saturating_add(RETRY);
        }
    }

    /// When to look again.
    pub(crate) fn poll_timeout(&self) -> Option<LocalTime> {
        self.down_since.map(|_| self.probe_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> LocalTime = |ms| LocalTime::from_nanos(ms * 1_000_000);

    #[test]
    fn one_probe_at_a_time_and_the_first_good_answer_ends_it() {
        let mut state = LinkState::new();
        assert!(state.may_ask(MS(0)));
        state.handle_failure(MS(0), MS(100));
        assert_eq!(state.link(MS(100)), Link::Down);
        assert!(!state.may_ask(MS(399)) && state.may_ask(MS(400)));
        state.asks(MS(400), Duration::from_millis(1_000));
        assert!(!state.may_ask(MS(1_699)), "the probe is out");
        assert_eq!(state.link(MS(5_000)), Link::Away);
        state.handle_answer(MS(4_990), MS(5_000));
        assert_eq!(
            (state.link(MS(5_001)), state.may_ask(MS(5_001))),
            (Link::Up, true)
        );
    }
}
