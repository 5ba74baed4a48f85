//! The sliding log: the moment at which each unit comes back, exact in every stretch of time.
//!
//! ```text
//!  state = head, ring of as many moments as the limit
//!
//!            oldest (head)                    newest
//!  ───┬──────────┬────────┬──────┬──────────────┬────▶ time
//!    now         comes back                     all is back
//! ```
//!
//! A cost of `c` fits when the `c`-th oldest moment is past, and takes the places of the oldest `c`.

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Policy, PolicyName, Verdict};
use crate::time::LocalTime;

/// The rule of one policy. Its state is a word more than the limit: 8 KB a key at [`SlidingLog::MAX_LIMIT`].
///
/// # Guarantees
/// * At most `limit` units in every stretch of a window's length, wherever it begins.
/// * A denial changes nothing, and `retry_after` is exact to the nanosecond.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::rule::SlidingLog;
/// use tidegate::time::LocalTime;
///
/// let rule = SlidingLog::new(Quota::per_second(2).sliding_log().into());
/// let mut state = vec![0; rule.words()];
/// let at = LocalTime::from_nanos;
/// assert!(rule.decide(&mut state, 1, at(100)).is_allowed());
/// assert!(rule.decide(&mut state, 1, at(300)).is_allowed());
/// let denied = rule.decide(&mut state, 2, at(500));
/// assert_eq!(denied.retry_after().unwrap().as_nanos(), 999_999_800);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlidingLog {
    /// 0 in a rule that denies everything.
    limit: u32,
    window_nanos: u64,
    policy: PolicyName,
}

impl SlidingLog {
    /// The largest limit, for a log is as long as its limit.
    pub const MAX_LIMIT: u32 = 1024;

    /// The rule that enforces `policy`, whatever else its quota says.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        let quota = policy.quota();
        Self {
            limit: quota.limit(),
            window_nanos: quota.window_nanos(),
            policy: policy.name(),
        }
    }

    /// Words of a key's state, all 0 if it was never seen.
    #[must_use]
    pub const fn words(&self) -> usize {
        1 + self.limit as usize
    }

    /// Decides on a request that costs `cost` units at `now`, and books it if it is allowed.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how things stand.
    ///
    /// # Panics
    /// If `state` is not as long as [`Self::words`] says.
    pub fn decide(&self, state: &mut [u64], cost: u32, now: LocalTime) -> Decision {
        let asked = self.ask(state, cost, now);
        if cost > 0 && asked.is_allowed() {
            self.book(state, cost, now);
        }
        asked
    }

    /// As [`Self::decide`], without booking anything; what remains is told as if it were booked.
    pub fn ask(&self, state: &[u64], cost: u32, now: LocalTime) -> Decision {
        let log = Log::of(state);
        let back = log.back_at(now);
        let say = |outcome, retry_after_nanos| {
            let (remaining, all_back) = match outcome {
                Verdict::Allow if cost > 0 => (back - cost, self.comes_back(&log, now)),
                _ => (back, log.all_back()),
            };
            Decision {
                outcome,
                limit: self.limit,
                remaining,
                chance: NOT_DRAWN,
                retry_after_nanos,
                reset_after_nanos: all_back.saturating_sub(now.as_nanos()),
                policy: self.policy,
            }
        };
        if self.limit == 0 {
            say(Verdict::Deny, NO_WAIT)
        } else if cost > self.limit {
            say(Verdict::TooLarge, NO_WAIT)
        } else if cost <= back {
            say(Verdict::Allow, NO_WAIT)
        } else {
            let moment = log.moment(cost as usize - 1);
            say(Verdict::Deny, moment - now.as_nanos())
        }
    }

    /// Takes the places of the oldest `cost` units, whether they are back or not.
    pub(super) fn book(&self, state: &mut [u64], cost: u32, now: LocalTime) {
        let log = Log::of(state);
        let moment = self.comes_back(&log, now);
        let (head, length) = (log.head, log.ring.len());
        // More than the whole log leaves nothing that is older.
        for place in 0..(cost as usize).min(length) {
            state[1 + (head + place) % length] = moment;
        }
        if length > 0 {
            state[0] = ((head + cost as usize) % length) as u64;
        }
    }

    /// Units that are not back at `now`.
    pub(super) fn used(&self, state: &[u64], now: LocalTime) -> u64 {
        (self.limit - Log::of(state).back_at(now)).into()
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Makes `state` one of which each unit comes back when that of both does.
    pub(super) fn absorb(&self, state: &mut [u64], other: &[u64]) {
        let (mine, other) = (state.to_vec(), Log::of(other));
        let mine = Log::of(&mine);
        for (place, word) in state[1..].iter_mut().enumerate() {
            *word = mine.moment(place).max(other.moment(place));
        }
        state[0] = 0;
    }

    /// Makes `state` the log `before` of another length: of its newest units if it was longer.
    pub(super) fn carry(&self, before: &[u64], state: &mut [u64]) {
        let before = Log::of(before);
        let (length, old) = (state.len() - 1, before.ring.len());
        let kept = length.min(old);
        // What was never spent is older than anything that was.
        state[..=length - kept].fill(0);
        for (word, place) in state[1 + length - kept..].iter_mut().zip(old - kept..) {
            *word = before.moment(place);
        }
    }

    /// When a unit that is spent at `now` comes back: never before one that was spent already, though a thread may
    /// have read its clock before another one.
    const fn comes_back(&self, log: &Log<'_>, now: LocalTime) -> u64 {
        let moment = now.as_nanos().saturating_add(self.window_nanos);
        let newest = log.all_back();
        if moment > newest { moment } else { newest }
    }
}

/// When the newest unit comes back.
pub(super) fn newest(state: &[u64]) -> u64 {
    Log::of(state).all_back()
}

/// Takes out up to `units` that come back at `moment`, and says how many.
pub(super) fn remove(state: &mut [u64], units: u32, moment: u64) -> u32 {
    let log = Log::of(state);
    let mut removed = 0;
    let kept: Vec<u64> = (0..log.ring.len())
        .map(|place| log.moment(place))
        .filter(|it| {
            let goes = *it == moment && removed < units;
            removed += u32::from(goes);
            !goes
        })
        .collect();
    // What was never spent is older than anything that was.
    let (unspent, rest) = state[1..].split_at_mut(removed as usize);
    unspent.fill(0);
    rest.copy_from_slice(&kept);
    state[0] = 0;
    removed
}

/// The moments at which units come back, from the oldest to the newest.
#[derive(Clone, Copy)]
struct Log<'a> {
    head: usize,
    ring: &'a [u64],
}

impl<'a> Log<'a> {
    fn of(state: &'a [u64]) -> Self {
        let (head, ring) = state.split_first().expect("a log has a head");
        let head = *head as usize;
        assert!(head < ring.len().max(1), "the head is in the ring");
        Self { head, ring }
    }

    /// The moment of the unit at `place`, the oldest being at 0.
    const fn moment(&self, place: usize) -> u64 {
        self.ring[(self.head + place) % self.ring.len()]
    }

    /// When the newest unit comes back.
    const fn all_back(&self) -> u64 {
        match self.ring.len() {
            0 => 0,
            length => self.moment(length - 1),
        }
    }

    /// How many units are back at `now`.
    fn back_at(&self, now: LocalTime) -> u32 {
        let (newer, older) = self.ring.split_at(self.head.min(self.ring.len()));
        let back = |part: &[u64]| part.partition_point(|moment| *moment <= now.as_nanos());
        let older_back = back(older);
        let all = if older_back == older.len() {
            older_back + back(newer)
        } else {
            older_back
        };
        // At most `limit`, so it fits.
        all as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use proptest::prelude::*;

    const fn at(nanos: u64) -> LocalTime {
        LocalTime::from_nanos(nanos)
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_windows_length_sees_more_than_the_limit_and_no_fitting_request_is_denied(
            limit in 1u32..12,
            steps in prop::collection::vec((0u64..400_000, 1u32..6), 1..150),
        ) {
            const WINDOW: u64 = 1_000_000;
            let quota = Quota::new(limit, std::time::Duration::from_nanos(WINDOW)).unwrap();
            let rule = SlidingLog::new(quota.sliding_log().into());
            let mut state = vec![0; rule.words()];
            let mut passed: Vec<(u64, u32)> = Vec::new();
            let mut now = 5 * WINDOW;
            for (pause, cost) in steps {
                now += pause;
                let spent = |passed: &[(u64, u32)]| -> u32 {
                    let late = passed.iter().filter(|(at, _)| at + WINDOW > now);
                    late.map(|(_, cost)| cost).sum()
                };
                let fits = spent(&passed) + cost <= limit;
                let decision = rule.decide(&mut state, cost, at(now));
                prop_assert_eq!(decision.is_allowed(), fits);
                if fits {
                    passed.push((now, cost));
                }
                prop_assert_eq!(decision.remaining(), limit - spent(&passed));
            }
        }
    }

    #[test]
    fn a_clock_that_was_read_earlier_gives_nothing_back_early() {
        let quota = Quota::new(2, std::time::Duration::from_millis(1)).unwrap();
        let rule = SlidingLog::new(quota.sliding_log().into());
        let mut state = vec![0; rule.words()];
        assert!(rule.decide(&mut state, 1, at(2_000_000)).is_allowed());
        assert!(rule.decide(&mut state, 1, at(1_900_000)).is_allowed());
        assert!(!rule.decide(&mut state, 1, at(2_999_999)).is_allowed());
        assert!(rule.decide(&mut state, 2, at(3_000_000)).is_allowed());
    }
}
