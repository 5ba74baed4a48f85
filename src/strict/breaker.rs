//! The circuit breaker: a store that does not answer is not asked any more, except by one probe at a time.
//!
//! ```text
//!               `threshold` failures in a row
//!   Closed ------------------------------------> Open, for `pause`
//!     ^                                           |       ^
//!     | the probe was answered                    | over  | the probe failed: twice the pause, up to `longest`
//!     |                                           v       |
//!     +---------------------------------------- HalfOpen: one probe, all others are refused
//! ```
//!
//! Answers to what was asked before the last change of state say nothing about now and change nothing. A probe that is
//! given up without an answer leaves its place to the next caller.

use crate::time::LocalTime;
use std::time::Duration;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Breaker {
    threshold: u32,
    shortest: Duration,
    longest: Duration,
    state: State,
    /// Changes of state so far.
    era: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Closed { failures: u32 },
    Open { until: LocalTime, pause: Duration },
    HalfOpen { pause: Duration },
}

/// Leave to ask the store, to be handed back with how it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a probe that is not handed back is never followed by another"]
pub(crate) struct Pass {
    era: u64,
}

/// What an answer did to the breaker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(crate) const fn new(threshold: u32, shortest: Duration, longest: Duration) -> Self {
        Self {
            threshold,
            shortest,
            longest,
            state: State::Closed { failures: 0 },
            era: 0,
        }
    }

    /// Whether the store is asked as ever.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The first pause, and the longest.
    pub(crate) const fn pauses(&self) -> (Duration, Duration) {
        (self.shortest, self.longest)
    }

    /// Whether [`Self::pass`] would give leave.
    pub(crate) fn would_pass(&self, now: LocalTime) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen { .. } => false,
        }
    }

    /// When it lets ask again, if it does not now: a probe under way may change that at any time.
    pub(crate) const fn poll_timeout(&self) -> Option<LocalTime> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(until),
            State::HalfOpen { .. } => Some(LocalTime::NEVER),
        }
    }

    /// Leave to ask at `now`, if there is.
    pub(crate) fn pass(&mut self, now: LocalTime) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, pause } if now >= until => self.go(State::HalfOpen { pause }),
            State::Open { .. } | State::HalfOpen { .. } => return None,
        }
        Some(Pass { era: self.era })
    }

    pub(crate) fn handle_answer(&mut self, pass: Pass) -> Change {
        if pass.era != self.era {
            return Change::None;
        }
        match self.state {
            State::Closed { .. } => {
                self.state = State::Closed { failures: 0 };
                Change::None
            }
            State::HalfOpen { .. } => {
                self.go(State::Closed { failures: 0 });
                Change::Closed
            }
            State::Open { .. } => Change::None,
        }
    }

    pub(crate) fn handle_failure(&mut self, pass: Pass, now: LocalTime) -> Change {
        if pass.era != self.era {
            return Change::None;
        }
        match self.state {
            State::Closed { failures } if failures + 1 < self.threshold => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                Change::None
            }
            State::Closed { .. } => {
                self.open(self.shortest, now);
                Change::Opened
            }
            State::HalfOpen { pause } => {
                self.open(pause.saturating_mul(2).min(self.longest), now);
                Change::None
            }
            State::Open { .. } => Change::None,
        }
    }

    /// Whoever had the pass waits no longer, and nobody knows how it went.
    pub(crate) fn handle_abandoned(&mut self, pass: Pass, now: LocalTime) {
        if let State::HalfOpen { pause } = self.state
            && pass.era == self.era
        {
            self.go(State::Open { until: now, pause });
        }
    }

    fn open(&mut self, pause: Duration, now: LocalTime) {
        let until = now.saturating_add(pause);
        self.go(State::Open { until, pause });
    }

    const fn go(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> LocalTime {
        LocalTime::ZERO.saturating_add(Duration::from_millis(millis))
    }

    fn breaker() -> Breaker {
        Breaker::new(3, SECOND, 4 * SECOND)
    }

    fn fail(breaker: &mut Breaker, now: LocalTime) -> Change {
        let pass = breaker.pass(now).expect("it lets ask");
        breaker.handle_failure(pass, now)
    }

    fn opened(now: LocalTime) -> Breaker {
        let mut breaker = breaker();
        let changes: Vec<_> = (0..3).map(|_| fail(&mut breaker, now)).collect();
        assert_eq!(changes, [Change::None, Change::None, Change::Opened]);
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let mut breaker = breaker();
        for _ in 0..10 {
            assert_eq!(fail(&mut breaker, at(0)), Change::None);
            assert_eq!(fail(&mut breaker, at(0)), Change::None);
            let pass = breaker.pass(at(0)).unwrap();
            assert_eq!(breaker.handle_answer(pass), Change::None);
        }
        assert!(breaker.is_closed());
        let mut breaker = opened(at(0));
        assert_eq!(breaker.pass(at(999)), None);
    }

    #[test]
    fn of_a_crowd_one_probes_and_closes_it() {
        let mut breaker = opened(at(0));
        assert_eq!(breaker.poll_timeout(), Some(at(1_000)));
        let probe = breaker.pass(at(1_000)).expect("the pause is over");
        assert_eq!(breaker.poll_timeout(), Some(LocalTime::NEVER));
        assert!((0..100).all(|_| breaker.pass(at(5_000)).is_none()));
        assert!(!breaker.is_closed());
        assert_eq!(breaker.handle_answer(probe), Change::Closed);
        assert!((0..100).all(|_| breaker.pass(at(5_000)).is_some()));
        assert_eq!(breaker.poll_timeout(), None);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_for_twice_as_long() {
        let mut breaker = opened(at(0));
        let mut now = 1_000;
        for pause in [2_000, 4_000, 4_000] {
            assert_eq!(fail(&mut breaker, at(now)), Change::None);
            assert_eq!(breaker.pass(at(now + pause - 1)), None);
            now += pause;
        }
        let probe = breaker.pass(at(now)).unwrap();
        assert_eq!(breaker.handle_answer(probe), Change::Closed);
        // And for the first pause again.
        for _ in 0..3 {
            let _ = fail(&mut breaker, at(now));
        }
        assert!(breaker.pass(at(now + 1_000)).is_some());
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_the_next() {
        let mut breaker = opened(at(0));
        let probe = breaker.pass(at(1_000)).unwrap();
        breaker.handle_abandoned(probe, at(1_100));
        let next = breaker.pass(at(1_100)).expect("the place is free");
        assert_eq!(breaker.handle_answer(probe), Change::None);
        assert!(!breaker.is_closed());
        assert_eq!(breaker.handle_answer(next), Change::Closed);
    }

    #[test]
    fn what_was_asked_before_it_opened_neither_closes_nor_prolongs_it() {
        let mut breaker = breaker();
        let late: Vec<_> = (0..9).map(|_| breaker.pass(at(0)).unwrap()).collect();
        for pass in &late[..3] {
            let _ = breaker.handle_failure(*pass, at(0));
        }
        let before = breaker.clone();
        assert_eq!(breaker.handle_answer(late[3]), Change::None);
        assert_eq!(breaker.handle_failure(late[4], at(500)), Change::None);
        breaker.handle_abandoned(late[5], at(500));
        assert_eq!(breaker, before);
        let probe = breaker.pass(at(1_000)).unwrap();
        assert_eq!(breaker.handle_answer(late[6]), Change::None);
        assert!(!breaker.is_closed());
        assert_eq!(breaker.handle_answer(probe), Change::Closed);
        assert_eq!(breaker.handle_failure(late[7], at(1_000)), Change::None);
    }
}
