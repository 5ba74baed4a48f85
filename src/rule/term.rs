//! Until when a unit that was booked may be spent in place of one that is booked then.
//!
//! Whoever books units now and spends them later stays within a rule if the rule would let them pass then, too:
//!
//! * In a window, fixed or sliding, until it ends. What counts there already is not more for being spent later, and what
//!   still counts of the window before only becomes less.
//! * In a token bucket until the unit begins to come back. Each unit has a stretch of the TAT's time of its own, one
//!   interval long, that begins after it was spent and ends at most one tolerance later. In any stretch `t` such slots
//!   find room for `(t + tolerance) / interval` units, which are `burst + limit * t / window`.
//!
//! Of a log a unit comes back a window after it was booked, so spent later it would come back too early; and what chance
//! let pass then it might not let pass now.

use crate::quota::TICKS_PER_NANO;
use crate::rule::chosen::tat;
use crate::rule::{Moment, Rule};
use std::time::Duration;

/// For how long units keep that are booked at some moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Term {
    /// All for so long.
    Window(Duration),
    /// The first for `lead`, each further one for `interval` longer; both in sixteenths of a nanosecond.
    Slots { lead: u64, interval: u64 },
}

impl Term {
    /// The same of the `units` that were booked last before.
    pub(crate) fn before(self, units: u32) -> Self {
        match self {
            // In the same window.
            Self::Window(_) => self,
            Self::Slots { lead, interval } => Self::Slots {
                lead: lead.saturating_sub(interval.saturating_mul(units.into())),
                interval,
            },
        }
    }
}

impl Rule {
    /// For how long units keep that are booked on `state` at `at`; `None` under a rule where they do not.
    pub(crate) fn term(&self, state: &[u64], at: Moment) -> Option<Term> {
        let left = |window: u64| window - at.now.as_nanos() % window;
        let window = match self {
            Self::Gcra(rule) => {
                return Some(Term::Slots {
                    lead: rule.used(tat(state), at.now).0,
                    interval: rule.interval(),
                });
            }
            Self::FixedWindow(rule) => left(rule.window_nanos()),
            Self::SlidingWindow(rule) => left(rule.window_nanos()),
            Self::Calendar(rule) => rule.left(at.wall),
            Self::SlidingLog(_) | Self::Suppress(_) => return None,
        };
        Some(Term::Window(Duration::from_nanos(window)))
    }
}

/// Ticks of a duration.
pub(crate) fn ticks(span: Duration) -> u64 {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    nanos.saturating_mul(TICKS_PER_NANO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{LocalTime, WallTime};

    fn term(quota: &str, units: u32, booked: u64, now: u64) -> Option<Term> {
        let policy = quota.parse::<crate::Quota>().unwrap().into();
        let rule = Rule::new(policy);
        let at = |millis: u64| {
            let wall = WallTime::from_unix_nanos(millis * 1_000_000);
            Moment::at(LocalTime::from_nanos(millis * 1_000_000)).on(wall)
        };
        let mut state = vec![0; rule.words()];
        rule.book(&mut state, units, at(booked));
        rule.term(&state, at(now))
    }

    #[test]
    fn windows_end_and_buckets_have_a_slot_for_each_unit() {
        let window = |millis| Some(Term::Window(Duration::from_millis(millis)));
        assert_eq!(term("9/s fixed", 3, 1_200, 1_300), window(700));
        assert_eq!(term("9/s sliding", 3, 1_200, 1_300), window(700));
        assert_eq!(term("9/hour calendar", 3, 1_000, 3_599_000), window(1_000));
        let slots = |lead| {
            let millisecond = ticks(Duration::from_millis(1));
            Some(Term::Slots {
                lead: lead * millisecond,
                interval: 100 * millisecond,
            })
        };
        assert_eq!(term("10/s", 3, 1_200, 1_300), slots(200));
        assert_eq!(term("10/s", 3, 1_200, 1_600), slots(0));
        assert_eq!(term("9/s log", 3, 1_200, 1_300), None);
        assert_eq!(term("9/s soft 5", 3, 1_200, 1_300), None);
    }
}
