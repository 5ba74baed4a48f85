//! The calendar quota: a count that begins anew with every hour, day or month, at a fixed offset from UTC.
//!
//! Months come from the civil calendar in a few integer operations (Hinnant, "chrono-compatible low-level date
//! algorithms", 2013), for all that is asked of a calendar here is which month it is and when the next begins.

use crate::decision::{Decision, Policy, PolicyName};
use crate::quota::{Calendar, Kind, Period};
use crate::rule::WindowCount;
use crate::rule::fixed_window::Answer;
use crate::time::WallTime;

/// The rule of one policy. Its state is a [`WindowCount`], in periods of the calendar.
///
/// # Guarantees
/// * At most `limit` units in each period of the calendar, and so at most twice that around the end of one.
/// * A denial changes nothing, and `retry_after` is the exact time to the next period.
/// * A wall clock that is put back opens no period again: what was spent in the period that is now to come counts in
///   this one too.
///
/// # Examples
/// ```
/// use tidegate::Quota;
/// use tidegate::quota::Calendar;
/// use tidegate::rule::{CalendarWindow, WindowCount};
/// use tidegate::time::WallTime;
///
/// let rule = CalendarWindow::new(Quota::calendar(1, Calendar::MONTH).into());
/// let new_years_eve = WallTime::from_unix_seconds(1_767_225_599);
/// let (_, state) = rule.decide(WindowCount::IDLE, 1, new_years_eve);
/// let (denied, _) = rule.decide(state, 1, new_years_eve);
/// assert_eq!(denied.retry_after().unwrap().as_secs(), 1);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CalendarWindow {
    /// 0 in a rule that denies everything.
    limit: u32,
    calendar: Calendar,
    policy: PolicyName,
}

impl CalendarWindow {
    /// The rule that enforces `policy`: by months in UTC, unless its quota names another calendar.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self {
            limit: policy.quota().limit(),
            calendar: match policy.quota().kind() {
                Kind::Calendar(calendar) => calendar,
                _ => Calendar::MONTH,
            },
            policy: policy.name(),
        }
    }

    /// Decides on a request that costs `cost` units at `wall`, and says what the key's state is afterwards.
    ///
    /// A cost of 0 passes unless the quota denies everything, changes nothing, and tells how things stand.
    pub const fn decide(
        &self,
        state: WindowCount,
        cost: u32,
        wall: WallTime,
    ) -> (Decision, WindowCount) {
        let here = self.here(state, wall);
        let end = self.calendar.begin(here.sequence.saturating_add(1));
        let answer = Answer {
            limit: self.limit,
            until_end: end.saturating_sub(wall.as_unix_nanos()),
            policy: self.policy,
        };
        answer.decide(state, here, cost)
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Nanoseconds until the period that `wall` is in ends.
    #[cfg(feature = "redis")]
    pub(super) const fn left(&self, wall: WallTime) -> u64 {
        let next = self.calendar.period_of(wall).saturating_add(1);
        self.calendar
            .begin(next)
            .saturating_sub(wall.as_unix_nanos())
    }

    /// The state as it counts at `wall`.
    pub(super) const fn here(&self, state: WindowCount, wall: WallTime) -> WindowCount {
        let period = self.calendar.period_of(wall);
        if state.sequence > period.saturating_add(1) {
            // The clock was far ahead: its period may be years away.
            return WindowCount {
                sequence: period,
                count: state.count,
            };
        }
        state.in_window(period)
    }
}

impl Calendar {
    /// Which period `wall` is in, counted from a fixed one.
    const fn period_of(self, wall: WallTime) -> u64 {
        let local = wall
            .as_unix_nanos()
            .saturating_add_signed(self.offset_nanos());
        match self.period() {
            Period::Hour => local / HOUR,
            Period::Day => local / DAY,
            Period::Month => month_of(local / DAY),
        }
    }

    /// When `period` begins, in nanoseconds of [`WallTime`].
    const fn begin(self, period: u64) -> u64 {
        let local = match self.period() {
            Period::Hour => period.saturating_mul(HOUR),
            Period::Day => period.saturating_mul(DAY),
            Period::Month => first_day(period).saturating_mul(DAY),
        };
        local.saturating_add_signed(-self.offset_nanos())
    }

    const fn offset_nanos(self) -> i64 {
        self.offset_minutes() as i64 * 60 * 1_000_000_000
    }
}

/// The month of a day, counted from January of the year 0; days count from 1 January 1970.
const fn month_of(day: u64) -> u64 {
    // Years that begin in March have the leap day at their end.
    let day = day + MARCH_0_TO_1970;
    let (era, day) = (day / ERA, day % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    (era * 400 + year) * 12 + month + 2
}

/// The first day of a month; see [`month_of`].
const fn first_day(month: u64) -> u64 {
    if month < 1970 * 12 {
        return 0;
    }
    let month = if month > LAST_MONTH {
        LAST_MONTH
    } else {
        month
    } - 2;
    let (year, month) = (month / 12, month % 12);
    let (era, year) = (year / 400, year % 400);
    let day = year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5;
    era * ERA + day - MARCH_0_TO_1970
}

const HOUR: u64 = 3_600 * 1_000_000_000;
const DAY: u64 = 24 * HOUR;
/// Days in 400 years.
const ERA: u64 = 146_097;
/// Days from 1 March of the year 0 to 1 January 1970.
const MARCH_0_TO_1970: u64 = 719_468;
/// Later than any time that is counted in 64 bits of nanoseconds.
const LAST_MONTH: u64 = 3_000 * 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Verdict;
    use crate::quota::Quota;
    use std::time::Duration;

    fn rule(limit: u32, calendar: Calendar) -> CalendarWindow {
        CalendarWindow::new(Quota::calendar(limit, calendar).into())
    }

    const fn wall(seconds: u64) -> WallTime {
        WallTime::from_unix_seconds(seconds)
    }

    #[test]
    fn months_are_those_of_the_civil_calendar() {
        // Day by day through 300 years, beside a calendar that counts.
        let (mut year, mut month, mut in_month) = (1970, 0, 0);
        for day in 0..110_000 {
            assert_eq!(month_of(day), year * 12 + month, "day {day}");
            if in_month == 0 {
                assert_eq!(first_day(year * 12 + month), day);
            }
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            let length = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize];
            in_month += 1;
            if in_month == length {
                in_month = 0;
                month += 1;
            }
            if month == 12 {
                month = 0;
                year += 1;
            }
        }
    }

    #[test]
    fn a_period_ends_at_the_offsets_midnight() {
        // 2026-02-28T20:00:00Z: the first of March at +05:30, still February elsewhere.
        let evening = wall(1_772_308_800);
        for (calendar, hours) in [
            (Calendar::MONTH, 4.0),
            (Calendar::MONTH.utc_offset(330), 30.0 * 24.0 + 22.5),
            (Calendar::MONTH.utc_offset(-480), 12.0),
            (Calendar::DAY, 4.0),
            (Calendar::DAY.utc_offset(330), 22.5),
            (Calendar::HOUR, 1.0),
            (Calendar::HOUR.utc_offset(330), 0.5),
        ] {
            let rule = rule(1, calendar);
            let (first, state) = rule.decide(WindowCount::IDLE, 1, evening);
            let until = Duration::from_secs_f64(hours * 3_600.0);
            assert_eq!(first.reset_after(), until, "{calendar:?}");
            let (denied, _) = rule.decide(state, 1, evening);
            assert_eq!(denied.retry_after(), Some(until));
            let end = WallTime::from_unix_nanos(evening.as_unix_nanos() + until.as_nanos() as u64);
            assert!(rule.decide(state, 1, end).0.is_allowed());
        }
    }

    #[test]
    fn a_clock_that_is_put_back_opens_no_period_again() {
        let rule = rule(3, Calendar::DAY);
        let day = 86_400;
        for (ahead, wait) in [(1, 2 * day), (2, day), (4_000, day)] {
            let (_, state) = rule.decide(WindowCount::IDLE, 3, wall((9 + ahead) * day));
            let (denied, same) = rule.decide(state, 1, wall(9 * day));
            assert_eq!(
                (denied.outcome(), same),
                (Verdict::Deny, state),
                "{ahead} days"
            );
            assert_eq!(denied.retry_after(), Some(Duration::from_secs(wait)));
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for calendar in [Calendar::HOUR, Calendar::DAY, Calendar::MONTH] {
            for offset in [-1_080, 0, 1_080] {
                for nanos in [0, u64::MAX] {
                    let rule = rule(1, calendar.utc_offset(offset));
                    let state = WindowCount::from_words([u64::MAX, 1]);
                    let _ = rule.decide(state, 1, WallTime::from_unix_nanos(nanos));
                }
            }
        }
    }
}
