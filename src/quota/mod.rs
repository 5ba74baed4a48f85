//! How much is allowed: so many per window, with a burst, in a form that cannot be read the wrong way round.

mod calendar;
mod text;

use crate::error::ConfigError;
use crate::rule::SlidingLog;
use std::time::Duration;

pub use self::calendar::{Calendar, Period};

/// So many units per window, and how many of them at once.
///
/// `Quota::per_second(100)` is one hundred each second, never one each hundred seconds. A unit is a request unless
/// the caller says what else it costs.
///
/// # Rules
/// | written | as text | units come back | at most |
/// |---|---|---|---|
/// | `Quota::per_second(100)` | `100/s` | one by one | `burst + limit * t / window` in any stretch `t` |
/// | `.fixed()` | `100/s fixed` | all at the lines of a grid | the limit between two lines, twice that around one |
/// | `.sliding()` | `100/s sliding` | as they were spent, about | the limit between two lines, see [`SlidingWindow`] |
/// | `.sliding_log()` | `100/s log` | as they were spent | the limit in every window, wherever it begins |
/// | `.soft(80)` | `100/s soft 80` | as they were spent, about | the same; above 80 a falling part passes |
/// | `Quota::calendar(100, Calendar::MONTH)` | `100/month` | all when a month begins | the limit in each month |
///
/// # Defaults
/// A token bucket ([`Gcra`]), with the limit as its burst: a key that was idle for a window may spend all of it at
/// once.
///
/// # Zero
/// A limit or a burst of zero denies everything.
///
/// # Precision
/// The time in which one unit comes back is rounded up to 1/16 ns, so a quota is never exceeded and falls short by
/// at most 0.007 % at a million a second, 0.7 % at a hundred million.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tidegate::Quota;
///
/// const API: Quota = Quota::per_second(100).burst(20);
/// assert_eq!(API, "100/s burst 20".parse()?);
/// assert_eq!(Quota::new(5, Duration::from_secs(10))?.to_string(), "5/10s");
/// assert_eq!(Quota::per_minute(100).sliding(), "100/min sliding".parse()?);
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
///
/// [`Gcra`]: crate::rule::Gcra
/// [`SlidingWindow`]: crate::rule::SlidingWindow
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quota {
    limit: u32,
    burst: u32,
    window_nanos: u64,
    kind: Kind,
}

/// By which rule a [`Quota`] counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Units come back one by one: [`Gcra`](crate::rule::Gcra).
    TokenBucket,
    /// All units come back at the lines of a grid: [`FixedWindow`](crate::rule::FixedWindow).
    FixedWindow,
    /// Units come back about as they were spent: [`SlidingWindow`](crate::rule::SlidingWindow).
    SlidingWindow,
    /// Units come back exactly as they were spent: [`SlidingLog`].
    SlidingLog,
    /// As in a sliding window, with a soft limit below the hard one: [`Suppress`](crate::rule::Suppress).
    Suppress,
    /// All units come back when a period of a calendar begins: [`CalendarWindow`](crate::rule::CalendarWindow).
    Calendar(Calendar),
}

impl Quota {
    /// Nothing, ever.
    pub const DENY_ALL: Self = Self::per_second(0);

    /// The shortest window.
    pub const MIN_WINDOW: Duration = Duration::from_millis(1);
    /// The longest window: ten years of 365.25 days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(315_576_000);

    /// `limit` units each second.
    #[must_use]
    pub const fn per_second(limit: u32) -> Self {
        Self::per(limit, SECOND)
    }

    /// `limit` units each minute.
    #[must_use]
    pub const fn per_minute(limit: u32) -> Self {
        Self::per(limit, 60 * SECOND)
    }

    /// `limit` units each hour.
    #[must_use]
    pub const fn per_hour(limit: u32) -> Self {
        Self::per(limit, 3_600 * SECOND)
    }

    /// `limit` units each 24 hours, counted from use, not from midnight.
    #[must_use]
    pub const fn per_day(limit: u32) -> Self {
        Self::per(limit, 86_400 * SECOND)
    }

    /// `limit` units each `window`.
    ///
    /// # Errors
    /// [`ConfigError::QuotaWindow`] unless the window is from 1 ms to ten years.
    pub const fn new(limit: u32, window: Duration) -> Result<Self, ConfigError> {
        let nanos = window.as_nanos();
        if nanos < Self::MIN_WINDOW.as_nanos() || nanos > Self::MAX_WINDOW.as_nanos() {
            return Err(ConfigError::QuotaWindow { window });
        }
        // Ten years of nanoseconds fit 59 bits.
        Ok(Self::per(limit, nanos as u64))
    }

    /// The same rate with at most `burst` units at once. Worth setting below the limit when the backend cannot take
    /// a window's worth in one moment, and above it for clients that are idle for long and then fetch a lot.
    ///
    /// # Panics
    /// If the burst would take more than 15 years to refill, or the quota counts in windows, which have none; in a
    /// `const` that is a compile error. [`Self::try_burst`] returns the error instead.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        assert!(
            matches!(self.kind, Kind::TokenBucket),
            "a quota that counts in windows has no burst: leave it out"
        );
        assert!(
            burst as u64 <= self.max_burst(),
            "the burst would take more than 15 years to refill at this rate"
        );
        Self { burst, ..self }
    }

    /// As [`Self::burst`], for a burst that comes from a user.
    ///
    /// # Errors
    /// [`ConfigError::QuotaBurst`] if the burst would take more than 15 years to refill,
    /// [`ConfigError::WindowBurst`] if the quota counts in windows.
    pub const fn try_burst(self, burst: u32) -> Result<Self, ConfigError> {
        if !matches!(self.kind, Kind::TokenBucket) {
            return Err(ConfigError::WindowBurst { burst });
        }
        let max = self.max_burst();
        if burst as u64 > max {
            return Err(ConfigError::QuotaBurst {
                burst,
                max: max as u32,
            });
        }
        Ok(Self { burst, ..self })
    }

    /// Counted in a fixed window: everything comes back at the lines of a grid that begins at the start of the clock.
    /// Cheap to explain; around a line a client gets up to twice the limit.
    ///
    /// # Panics
    /// If a [`burst`](Self::burst) was set, which windows do not have; in a `const` that is a compile error.
    #[must_use]
    pub const fn fixed(self) -> Self {
        self.windowed(Kind::FixedWindow)
    }

    /// Counted in a sliding window of two cells: nearly what an exact count would say, in three numbers a key.
    ///
    /// # Panics
    /// If a [`burst`](Self::burst) was set, which windows do not have; in a `const` that is a compile error.
    #[must_use]
    pub const fn sliding(self) -> Self {
        self.windowed(Kind::SlidingWindow)
    }

    /// Counted in a log of the last units: exact in every stretch of time, for a word a key and unit.
    ///
    /// # Panics
    /// If the limit is above [`SlidingLog::MAX_LIMIT`] or a [`burst`](Self::burst) was set; in a `const` that is a
    /// compile error. [`Self::try_sliding_log`] returns the first as an error.
    #[must_use]
    pub const fn sliding_log(self) -> Self {
        assert!(
            self.limit <= SlidingLog::MAX_LIMIT,
            "a sliding log is for limits up to 1024: write sliding() for more"
        );
        self.windowed(Kind::SlidingLog)
    }

    /// As [`Self::sliding_log`], for a limit that comes from a user.
    ///
    /// # Errors
    /// [`ConfigError::LogLimit`] if the limit is above [`SlidingLog::MAX_LIMIT`].
    pub const fn try_sliding_log(self) -> Result<Self, ConfigError> {
        if self.limit > SlidingLog::MAX_LIMIT {
            return Err(ConfigError::LogLimit { limit: self.limit });
        }
        Ok(self.sliding_log())
    }

    /// Counted in a sliding window; of what comes above `soft` units a part passes that falls to none at the limit.
    /// Worth it where many clients share a key, or where clients that come too often should slow down and not stop.
    ///
    /// What costs more than `soft` is [too large](crate::decision::Verdict::TooLarge), also below the limit and on an idle
    /// key: no time to wait would let it pass for certain. Under `100/s soft 1` that is every cost above 1.
    ///
    /// # Panics
    /// Unless `soft` is from 1 to the limit, or if a [`burst`](Self::burst) was set; in a `const` that is a compile
    /// error. [`Self::try_soft`] returns the first as an error.
    #[must_use]
    pub const fn soft(self, soft: u32) -> Self {
        assert!(
            soft <= self.limit && (soft > 0 || self.limit == 0),
            "a soft limit is from 1 to the limit"
        );
        let quota = self.windowed(Kind::Suppress);
        Self {
            burst: soft,
            ..quota
        }
    }

    /// As [`Self::soft`], for a number that comes from a user.
    ///
    /// # Errors
    /// [`ConfigError::SoftLimit`] unless `soft` is from 1 to the limit.
    pub const fn try_soft(self, soft: u32) -> Result<Self, ConfigError> {
        if soft > self.limit || (soft == 0 && self.limit > 0) {
            return Err(ConfigError::SoftLimit {
                soft,
                limit: self.limit,
            });
        }
        Ok(self.soft(soft))
    }

    /// `limit` units in each period of a calendar, which all come back when the next begins.
    ///
    /// # Examples
    /// ```
    /// use tidegate::Quota;
    /// use tidegate::quota::Calendar;
    ///
    /// let quota = Quota::calendar(1000, Calendar::MONTH.utc_offset(60));
    /// assert_eq!(quota, "1000/month calendar +01:00".parse()?);
    /// # Ok::<(), tidegate::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn calendar(limit: u32, calendar: Calendar) -> Self {
        let quota = Self::per(limit, calendar.longest_nanos());
        quota.windowed(Kind::Calendar(calendar))
    }

    /// Units that come back in a [`window`](Self::window).
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// By which rule it counts.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The most units that can be spent at once; a larger cost can never pass. In windows that is the limit, or the
    /// soft limit.
    #[must_use]
    pub const fn burst_size(&self) -> u32 {
        self.burst
    }

    /// The time in which [`limit`](Self::limit) units come back; for months 31 days.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.window_nanos)
    }

    /// Whether nothing can ever pass.
    #[must_use]
    pub const fn denies_all(&self) -> bool {
        self.limit == 0 || self.burst == 0
    }

    /// The time in which one unit comes back, in [`TICKS_PER_NANO`]ths of a nanosecond, rounded up; `None` if none
    /// ever does.
    pub(crate) const fn interval_ticks(&self) -> Option<u64> {
        if self.limit == 0 {
            return None;
        }
        Some((self.window_nanos * TICKS_PER_NANO).div_ceil(self.limit as u64))
    }

    pub(crate) const fn window_nanos(&self) -> u64 {
        self.window_nanos
    }

    const fn windowed(self, kind: Kind) -> Self {
        assert!(
            self.burst == self.limit,
            "a quota that counts in windows has no burst: leave it out"
        );
        Self { kind, ..self }
    }

    const fn max_burst(&self) -> u64 {
        match self.interval_ticks() {
            None => u64::MAX,
            Some(interval) => MAX_REFILL_TICKS / interval,
        }
    }

    const fn per(limit: u32, window_nanos: u64) -> Self {
        Self {
            limit,
            burst: limit,
            window_nanos,
            kind: Kind::TokenBucket,
        }
    }
}

/// Time is counted in sixteenths of a nanosecond: 36 years of them fit 64 bits.
pub(crate) const TICKS_PER_NANO: u64 = 16;
/// 15 years: twice that still fits 64 bits, so a sum of two never overflows.
const MAX_REFILL_TICKS: u64 = Quota::MAX_WINDOW.as_secs() / 2 * 3 * SECOND * TICKS_PER_NANO;
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
