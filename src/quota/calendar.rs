//! Calendars: hours, days and months at a fixed offset from UTC.

use crate::error::ConfigError;
use std::fmt;

/// The periods of a calendar at an offset from UTC that never changes: there is no daylight saving time.
///
/// # Examples
/// ```
/// use tidegate::quota::Calendar;
///
/// // Days that begin at midnight in India.
/// let days = Calendar::DAY.utc_offset(5 * 60 + 30);
/// assert_eq!(days.offset_minutes(), 330);
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Calendar {
    period: Period,
    offset_minutes: i16,
}

/// What a calendar counts in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Period {
    /// Hours; with an offset of half an hour they begin at half past.
    Hour,
    /// Days from midnight to midnight.
    Day,
    /// Months of 28 to 31 days.
    Month,
}

impl Calendar {
    /// Hours in UTC.
    pub const HOUR: Self = Self::new(Period::Hour);
    /// Days in UTC.
    pub const DAY: Self = Self::new(Period::Day);
    /// Months in UTC.
    pub const MONTH: Self = Self::new(Period::Month);

    /// The furthest offset, in minutes: 18 hours, either way.
    pub const MAX_OFFSET: i16 = 18 * 60;

    const fn new(period: Period) -> Self {
        Self {
            period,
            offset_minutes: 0,
        }
    }

    /// The same at so many minutes ahead of UTC, or behind it if negative.
    ///
    /// # Panics
    /// If that is more than 18 hours; in a `const` that is a compile error. [`Self::try_utc_offset`] returns the error
    /// instead.
    #[must_use]
    pub const fn utc_offset(self, minutes: i16) -> Self {
        assert!(
            minutes.unsigned_abs() <= Self::MAX_OFFSET.unsigned_abs(),
            "no clock is more than 18 hours from UTC"
        );
        Self {
            offset_minutes: minutes,
            ..self
        }
    }

    /// As [`Self::utc_offset`], for an offset that comes from a user.
    ///
    /// # Errors
    /// [`ConfigError::UtcOffset`] if it is more than 18 hours.
    pub const fn try_utc_offset(self, minutes: i16) -> Result<Self, ConfigError> {
        if minutes.unsigned_abs() > Self::MAX_OFFSET.unsigned_abs() {
            return Err(ConfigError::UtcOffset { minutes });
        }
        Ok(self.utc_offset(minutes))
    }

    /// What it counts in.
    #[must_use]
    pub const fn period(self) -> Period {
        self.period
    }

    /// Minutes ahead of UTC.
    #[must_use]
    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// Nanoseconds of the longest period.
    pub(super) const fn longest_nanos(self) -> u64 {
        const HOUR: u64 = 3_600 * 1_000_000_000;
        match self.period {
            Period::Hour => HOUR,
            Period::Day => 24 * HOUR,
            Period::Month => 31 * 24 * HOUR,
        }
    }

    /// From the form that [`fmt::Display`] writes.
    pub(super) fn parse_offset(self, text: &str) -> Option<Self> {
        let (sign, time) = match text.split_at_checked(1)? {
            ("+", time) => (1, time),
            ("-", time) => (-1, time),
            _ => return None,
        };
        let two_digits = |text: &str| -> Option<i16> {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().ok() } else { None }
        };
        let (hours, minutes) = time.split_once(':')?;
        let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
        if minutes > 59 {
            return None;
        }
        self.try_utc_offset(sign * (hours * 60 + minutes)).ok()
    }
}

impl fmt::Display for Calendar {
    /// What stands behind the period in a quota's text: `calendar`, `calendar +05:30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("calendar")?;
        if self.offset_minutes == 0 {
            return Ok(());
        }
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        let minutes = self.offset_minutes.unsigned_abs();
        write!(f, " {sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}
