//! How fast a key is spent here, and so how much of it to have in hand.

use crate::time::LocalTime;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Demand {
    since: LocalTime,
    /// Asked for since then.
    units: u64,
    /// Units a second, before that.
    rate: u64,
}

impl Demand {
    pub(super) const fn new(now: LocalTime) -> Self {
        Self {
            since: now,
            units: 0,
            rate: 0,
        }
    }

    /// `units` were spent, or are waited for.
    pub(super) fn note(&mut self, units: u32, now: LocalTime) {
        self.units = self.units.saturating_add(units.into());
        let past = now.since(self.since);
        if past < STEP {
            return;
        }
        let seen = u128::from(self.units) * SECOND / past.as_nanos();
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        // What was long ago says nothing about now.
        self.rate = if past < FORGET {
            self.rate.midpoint(seen)
        } else {
            seen
        };
        self.since = now;
        self.units = 0;
    }

    /// Units that will be asked for within `span`, at most some seconds, if it goes on like this. None where they come one at a time.
    pub(super) fn within(&self, span: Duration) -> u32 {
        let nanos = span.as_nanos() as u64;
        u32::try_from(self.rate.saturating_mul(nanos) / SECOND as u64).unwrap_or(u32::MAX)
    }
}

/// Over which a rate is measured at least.
const STEP: Duration = Duration::from_millis(10);
const FORGET: Duration = Duration::from_secs(1);
const SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> LocalTime {
        LocalTime::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn it_follows_the_rate_and_forgets_it() {
        let mut demand = Demand::new(at(0));
        let span = Duration::from_millis(40);
        assert_eq!(demand.within(span), 0);
        (1..=200).for_each(|millis| demand.note(2, at(millis)));
        assert!((75..=80).contains(&demand.within(span)), "{demand:?}");
        (200..=300).for_each(|millis| demand.note(20, at(millis)));
        assert!((750..=800).contains(&demand.within(span)), "{demand:?}");
        demand.note(1, at(2_000));
        assert_eq!(demand.within(span), 0);
    }
}
