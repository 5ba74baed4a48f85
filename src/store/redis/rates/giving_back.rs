//! What goes back on a key: units of a booking, or those that were booked last by some moment.

use crate::rule::{Moment, Rule};
use crate::store::redis::rates::{StoreMoment, spelling};
use crate::time::LocalTime;
use redis::{Cmd, RedisWrite, ToRedisArgs};

/// Units that go back, as the script is told of them.
#[derive(Clone, Debug)]
pub(crate) struct GiveBack {
    units: Units,
    /// When everything has come back by itself.
    over: LocalTime,
}

#[derive(Clone, Debug)]
enum Units {
    /// Of a booking, as far as it still counts.
    Booked { units: u32, booking: Booking },
    /// Those that were booked last by a moment, as far as they have not come back since; a number for each quota.
    Last { each: Box<[u64]>, by: StoreMoment },
}

/// A booking, as it is found again.
#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(super) booked: StoreMoment,
    /// What had been given back on the key before.
    pub(super) given_back: u64,
    /// Of each quota: see [`Rule::mark`].
    pub(super) marks: Box<[u64]>,
    /// When it has come back by itself, with all that the key had spent before.
    pub(super) over: LocalTime,
}

impl GiveBack {
    pub(crate) const fn booked(units: u32, booking: Booking) -> Self {
        let over = booking.over;
        let units = Units::Booked { units, booking };
        Self { units, over }
    }

    /// The units that were booked last at `at`, a number for each of `rules`.
    pub(crate) fn last(each: Box<[u64]>, rules: &[Rule], at: Moment) -> Self {
        let back = |(rule, units): (&Rule, &u64)| {
            let mut state = vec![0; rule.words()];
            let units = u32::try_from(*units).unwrap_or(u32::MAX);
            rule.book(&mut state, units, at);
            at.now.saturating_add(rule.ask(&state, 0, at).reset_after())
        };
        let over = rules.iter().zip(&each).map(back).max();
        let by = StoreMoment::of(at);
        Self {
            units: Units::Last { each, by },
            over: over.unwrap_or(at.now),
        }
    }

    /// Whether nothing of it is left to be given back.
    pub(crate) fn is_over(&self, at: Moment) -> bool {
        at.now >= self.over
    }

    pub(super) fn write(&self, call: &mut Cmd, rules: &[Rule]) {
        match &self.units {
            Units::Booked { units, booking } => {
                call.arg(booking.given_back).arg(booking.booked);
                for (rule, mark) in rules.iter().zip(&booking.marks) {
                    call.arg(units).arg(&spelling::mark_words(rule, *mark));
                }
            }
            Units::Last { each, by } => {
                assert_eq!(each.len(), rules.len(), "a number for each quota");
                call.arg("").arg(by).arg(&**each);
            }
        }
    }
}

impl ToRedisArgs for StoreMoment {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        self.as_micros().write_redis_args(out);
    }
}
