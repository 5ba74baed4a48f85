//! The script's answer: how a key stood, which the rules of this process turn into decisions.

use crate::decision::{Decision, Decisions, NO_WAIT, NOT_DRAWN, Policy, Verdict};
use crate::rule::{Moment, Rule};
use crate::store::redis::rates::{Booking, Spelling};
use crate::store::{StoreError, StoreErrorKind};
use crate::time::{LocalTime, WallTime};
use redis::{FromRedisValue, Value};
use std::time::Duration;

/// A moment on the server's clock, in microseconds since 2020 UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct StoreMoment(u64);

impl StoreMoment {
    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub(crate) const fn as_micros(self) -> u64 {
        self.0
    }

    /// What a server's clock shows that goes right.
    pub(crate) const fn of_wall(wall: WallTime) -> Self {
        Self((wall.as_unix_nanos() / 1_000).saturating_sub(SINCE_1970 * 1_000_000))
    }

    /// Of which [`Self::moment`] is `at`.
    pub(crate) const fn of(at: Moment) -> Self {
        Self(at.now.as_nanos() / 1_000)
    }

    /// For the rules, whose windows then begin where the script's do.
    pub(crate) const fn moment(self, random: u32) -> Moment {
        let nanos = self.0.saturating_mul(1_000);
        Moment::at(LocalTime::from_nanos(nanos))
            .on(WallTime::from_unix_nanos(
                nanos.saturating_add(SINCE_1970 * 1_000_000_000),
            ))
            // Only the upper half is looked at.
            .drawing((random as u64) << 32)
    }
}

/// How a key stood, and whether a cost was booked on it then.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    booked: bool,
    now: StoreMoment,
    given_back: u64,
    states: Box<[State]>,
}

#[derive(Clone, Debug)]
enum State {
    Words(Box<[u64]>),
    /// Of a log, which stays where it is.
    Log {
        used: u64,
        /// When enough units are back for the cost that was asked for.
        enough: u64,
        newest: u64,
    },
}

impl Standing {
    pub(super) fn read(value: &Value, spelling: &Spelling) -> Result<Self, StoreError> {
        let malformed = || {
            StoreError::new(
                StoreErrorKind::Protocol,
                "the answer of the script of rate limits is malformed",
            )
        };
        let numbers = numbers(value).ok_or_else(malformed)?;
        let mut numbers = numbers.into_iter();
        let mut next = || numbers.next().ok_or_else(malformed);
        let (booked, now, given_back) = (next()? == 1, StoreMoment(next()?), next()?);
        let mut states = Vec::with_capacity(spelling.rules().len());
        for rule in spelling.rules() {
            states.push(match rule {
                Rule::SlidingLog(_) => State::Log {
                    used: next()?,
                    enough: next()?,
                    newest: next()?,
                },
                rule => State::Words(read_words(rule, &mut next)?),
            });
        }
        Ok(Self {
            booked,
            now,
            given_back,
            states: states.into(),
        })
    }

    /// Of a key on which something was booked, under no rule at all.
    #[cfg(test)]
    pub(crate) fn of_booking() -> Self {
        Self {
            booked: true,
            now: StoreMoment::default(),
            given_back: 0,
            states: [].into(),
        }
    }

    pub(crate) const fn now(&self) -> StoreMoment {
        self.now
    }

    /// Whether the cost was booked.
    pub(super) const fn booked(&self) -> bool {
        self.booked
    }

    #[cfg(test)]
    pub(super) const fn given_back(&self) -> u64 {
        self.given_back
    }

    /// What every policy says to `cost`, as [`RuleSet::decide_each`](crate::rule::RuleSet::decide_each).
    ///
    /// # Errors
    /// If the script has decided otherwise, which then is not the script of this version.
    pub(crate) fn decisions(
        &self,
        spelling: &Spelling,
        cost: u32,
        random: u32,
    ) -> Result<Decisions, StoreError> {
        let at = self.now.moment(random);
        let ask = |cost| {
            let each = spelling.policies().iter().zip(spelling.rules());
            each.zip(&self.states)
                .map(move |((policy, rule), state)| state.ask(policy, rule, cost, at))
        };
        let mut told: Vec<Decision> = ask(cost).collect();
        let allowed = told.iter().all(Decision::is_allowed);
        if cost > 0 && allowed != self.booked {
            return Err(StoreError::new(
                StoreErrorKind::Protocol,
                "the script of rate limits decides otherwise than the rules of this version",
            ));
        }
        if !allowed {
            for (told, standing) in told.iter_mut().zip(ask(0)) {
                if told.is_allowed() {
                    *told = standing;
                }
            }
        }
        Ok(Decisions::of(told))
    }

    /// For how long such a cost is denied, whatever chance says, unless something is given back; none if it is not.
    pub(crate) fn denied_for(&self, spelling: &Spelling, cost: u32) -> Option<Duration> {
        let at = self.now.moment(0);
        let each = spelling.policies().iter().zip(spelling.rules());
        let wait = |((policy, rule), state): ((&Policy, &Rule), &State)| {
            let certain = match state {
                State::Words(words) => rule.ask_for_certain(words, cost, at),
                State::Log { .. } => state.ask(policy, rule, cost, at),
            };
            certain.retry_after()
        };
        each.zip(&self.states).filter_map(wait).max()
    }

    /// What is said to `cost` where less was denied; none if that cannot be told from what is known of a log.
    pub(crate) fn denial_of_more(&self, spelling: &Spelling, cost: u32) -> Option<Decisions> {
        let log = |state: &State| matches!(state, State::Log { .. });
        if self.states.iter().any(log) {
            return None;
        }
        self.decisions(spelling, cost, 0).ok()
    }

    /// The booking of `cost` that was made then.
    pub(crate) fn booking(&self, spelling: &Spelling, cost: u32) -> Booking {
        let at = self.now.moment(0);
        let each = spelling.policies().iter().zip(spelling.rules());
        let left = |((policy, rule), state): ((&Policy, &Rule), &State)| match state {
            State::Words(words) => {
                let mut words = words.clone();
                rule.book(&mut words, cost, at);
                (rule.mark(&words), rule.ask(&words, 0, at).reset_after())
            }
            State::Log { newest, .. } => {
                let comes_back = self.now.0 + policy.quota().window_nanos() / 1_000;
                let mark = LocalTime::from_nanos(comes_back.max(*newest) * 1_000);
                (mark.as_nanos(), mark.since(at.now))
            }
        };
        let left = each.zip(&self.states).map(left);
        let (marks, waits): (Vec<u64>, Vec<Duration>) = left.unzip();
        let longest = waits.into_iter().max().unwrap_or_default();
        Booking {
            booked: self.now,
            given_back: self.given_back,
            marks: marks.into(),
            over: at.now.saturating_add(longest),
        }
    }
}

impl State {
    fn ask(&self, policy: &Policy, rule: &Rule, cost: u32, at: Moment) -> Decision {
        match self {
            Self::Words(words) => rule.ask(words, cost, at),
            Self::Log {
                used,
                enough,
                newest,
            } => ask_log(policy, cost, at.now, *used, *enough, *newest),
        }
    }
}

/// The numbers of an answer: an array of them, or all in one string, eight bytes each.
fn numbers(value: &Value) -> Option<Vec<u64>> {
    let Value::BulkString(packed) = value else {
        return Vec::from_redis_value_ref(value).ok();
    };
    let (numbers, rest) = packed.as_chunks();
    // Whole numbers below 2^53, which a script has in no other form.
    let read = |number: &[u8; 8]| f64::from_be_bytes(*number) as u64;
    rest.is_empty().then(|| numbers.iter().map(read).collect())
}

/// The state of a rule that is told whole.
pub(in crate::store::redis) fn read_words(
    rule: &Rule,
    next: &mut impl FnMut() -> Result<u64, StoreError>,
) -> Result<Box<[u64]>, StoreError> {
    if let Rule::Gcra(_) = rule {
        let (micros, ticks) = (next()?, next()?);
        let whole = micros.saturating_mul(super::spelling::TICKS_PER_MICRO);
        return Ok(Box::new([whole.saturating_add(ticks)]));
    }
    (0..rule.words()).map(|_| next()).collect()
}

/// As [`SlidingLog::ask`](crate::rule::SlidingLog::ask), of a log that is elsewhere.
fn ask_log(
    policy: &Policy,
    cost: u32,
    now: LocalTime,
    used: u64,
    enough: u64,
    newest: u64,
) -> Decision {
    let quota = policy.quota();
    let limit = quota.limit();
    let now = now.as_nanos();
    // At most `limit`, so it fits.
    let back = u64::from(limit).saturating_sub(used) as u32;
    let newest = newest * 1_000;
    let (outcome, wait) = if limit == 0 {
        (Verdict::Deny, NO_WAIT)
    } else if cost > limit {
        (Verdict::TooLarge, NO_WAIT)
    } else if cost <= back {
        (Verdict::Allow, NO_WAIT)
    } else {
        (Verdict::Deny, (enough * 1_000).saturating_sub(now))
    };
    let (remaining, all_back) = match outcome {
        Verdict::Allow if cost > 0 => (back - cost, newest.max(now + quota.window_nanos())),
        _ => (back, newest),
    };
    Decision {
        outcome,
        limit,
        remaining,
        chance: NOT_DRAWN,
        retry_after_nanos: wait,
        reset_after_nanos: all_back.saturating_sub(now),
        policy: policy.name(),
    }
}

/// Seconds from 1970 to 2020: a whole number of days, so that hours and days begin where they do in UTC.
const SINCE_1970: u64 = 1_577_836_800;
