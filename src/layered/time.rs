//! Two kinds of time: deadlines on the node's own clock, sequences of windows on the clock of origin.
//!
//! Nodes must agree in which window they are, so each follows its origin's clock, as an offset to its own that is as
//! exact as the round trips are short. The offset is bounded: an origin whose clock is out of its mind moves nobody
//! further than [`MAX_SKEW`] from the wall clock the process started with.

use crate::layered::link::Link;
use crate::time::LocalTime;
use std::time::Duration;

/// The moment of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) local: LocalTime,
    /// Nanoseconds since 1970, as origin counts them.
    pub(crate) shared: u64,
    pub(crate) link: Link,
    /// How long origin takes to answer.
    pub(crate) round_trip: Duration,
}

impl Moment {
    /// Nanoseconds since `earlier`.
    #[inline]
    pub(crate) const fn nanos_since(&self, earlier: LocalTime) -> u64 {
        self.local.as_nanos().saturating_sub(earlier.as_nanos())
    }
}

/// How far origin's clock may be from the process's wall clock.
pub(crate) const MAX_SKEW: Duration = Duration::from_secs(3_600);

/// What has to be added to the own clock to get origin's, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginClock {
    wall: i64,
    offset: i64,
}

impl OriginClock {
    /// Before origin has answered: the wall clock, which shows `wall` nanoseconds since 1970 at `now`.
    pub(crate) const fn new(wall: u64, now: LocalTime) -> Self {
        let wall = (wall as i64).saturating_sub(now.as_nanos() as i64);
        Self { wall, offset: wall }
    }

    pub(crate) const fn offset(&self) -> i64 {
        self.offset
    }

    /// Origin's clock showed `theirs` nanoseconds at some moment between `sent` and `received`. The offset moves only
    /// if it contradicts that, and only as far as it must.
    pub(crate) fn handle_answer(&mut self, theirs: u64, sent: LocalTime, received: LocalTime) {
        let theirs = theirs as i64;
        let least = theirs.saturating_sub(received.as_nanos() as i64);
        let most = theirs.saturating_sub(sent.as_nanos() as i64);
        let skew = MAX_SKEW.as_nanos() as i64;
        self.offset = self
            .offset
            .clamp(least, most.max(least))
            .clamp(self.wall - skew, self.wall + skew);
    }
}

/// The own time `local` on the clock that is `offset` ahead.
#[inline]
pub(crate) const fn shared_time(local: LocalTime, offset: i64) -> u64 {
    local.as_nanos().saturating_add_signed(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> LocalTime {
        LocalTime::from_nanos(ms * MS)
    }

    #[test]
    fn an_answer_narrows_the_offset_and_one_that_agrees_leaves_it() {
        // Two seconds slow.
        let mut clock = OriginClock::new(10_000 * MS, at(50));
        assert_eq!(shared_time(at(50), clock.offset()), 10_000 * MS);
        clock.handle_answer(12_010 * MS, at(50), at(70));
        let first = shared_time(at(70), clock.offset());
        assert!((12_010 * MS..=12_030 * MS).contains(&first), "{first}");
        clock.handle_answer(13_005 * MS, at(1_050), at(1_060));
        let before = clock.offset();
        clock.handle_answer(14_100 * MS, at(2_000), at(2_500));
        assert_eq!(clock.offset(), before, "a slow answer says nothing new");
    }

    #[test]
    fn an_origin_out_of_its_mind_moves_nobody_far() {
        let wall = 1_700_000_000_000 * MS;
        let mut clock = OriginClock::new(wall, at(0));
        clock.handle_answer(1, at(1), at(2));
        let skew = MAX_SKEW.as_nanos() as u64;
        assert_eq!(shared_time(at(0), clock.offset()), wall - skew);
    }
}
