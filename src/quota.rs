//! How much is allowed: so many per window, with a burst, in a form that cannot be read the wrong way round.

use crate::error::{ConfigError, excerpt};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many units per window, and how many of them at once.
///
/// `Quota::per_second(100)` is one hundred each second, never one each hundred seconds. A unit is a request unless
/// the caller says what else it costs. In any stretch of time `t` a key gets at most `burst + limit * t / window`.
///
/// # Defaults
/// `burst` is the limit: a key that was idle for a window may spend all of it at once.
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
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quota {
    limit: u32,
    burst: u32,
    window_nanos: u64,
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
    /// If the burst would take more than 15 years to refill; in a `const` that is a compile error.
    /// [`Self::try_burst`] returns the error instead.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        assert!(
            burst as u64 <= self.max_burst(),
            "the burst would take more than 15 years to refill at this rate"
        );
        Self { burst, ..self }
    }

    /// As [`Self::burst`], for a burst that comes from a user.
    ///
    /// # Errors
    /// [`ConfigError::QuotaBurst`] if the burst would take more than 15 years to refill.
    pub const fn try_burst(self, burst: u32) -> Result<Self, ConfigError> {
        let max = self.max_burst();
        if burst as u64 > max {
            return Err(ConfigError::QuotaBurst {
                burst,
                max: max as u32,
            });
        }
        Ok(Self { burst, ..self })
    }

    /// Units that come back in a [`window`](Self::window).
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The most units that can be spent at once; a larger cost can never pass.
    #[must_use]
    pub const fn burst_size(&self) -> u32 {
        self.burst
    }

    /// The time in which [`limit`](Self::limit) units come back.
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
        }
    }
}

impl fmt::Display for Quota {
    /// The form that [`FromStr`] reads back to the same quota.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, nanos) = UNITS
            .iter()
            .find(|(_, nanos)| self.window_nanos.is_multiple_of(*nanos))
            .expect("the last unit is one nanosecond");
        write!(f, "{}/", self.limit)?;
        match self.window_nanos / nanos {
            1 => f.write_str(unit)?,
            count => write!(f, "{count}{unit}")?,
        }
        if self.burst != self.limit {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

impl FromStr for Quota {
    type Err = ConfigError;

    /// Reads `LIMIT/WINDOW` and `LIMIT/WINDOW burst BURST`, where the window is a unit (`ms`, `s`, `min`, `h`, `d`
    /// and their usual spellings) or a number of them: `100/s`, `1000/h`, `5/10s`, `20/minute burst 5`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let unreadable = || ConfigError::QuotaText {
            text: excerpt(text),
        };
        let (rate, burst) = match text.split_once("burst") {
            Some((rate, burst)) => (rate, Some(burst.trim())),
            None => (text, None),
        };
        let (limit, window) = rate.split_once('/').ok_or_else(unreadable)?;
        let limit = whole(limit.trim()).ok_or_else(unreadable)?;
        let window = parse_window(window.trim()).ok_or_else(unreadable)?;
        let quota = Self::new(limit, window)?;
        match burst {
            None => Ok(quota),
            Some(burst) => quota.try_burst(whole(burst).ok_or_else(unreadable)?),
        }
    }
}

/// A number without sign, point or space.
fn whole<N: FromStr>(digits: &str) -> Option<N> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

fn parse_window(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let count: u64 = if count.is_empty() { 1 } else { whole(count)? };
    let nanos = match unit.trim_start() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => 86_400 * SECOND,
        _ => return None,
    };
    Some(Duration::from_nanos(count.saturating_mul(nanos)))
}

/// Time is counted in sixteenths of a nanosecond: 36 years of them fit 64 bits.
pub(crate) const TICKS_PER_NANO: u64 = 16;
/// 15 years: twice that still fits 64 bits, so a sum of two never overflows.
const MAX_REFILL_TICKS: u64 = Quota::MAX_WINDOW.as_secs() / 2 * 3 * SECOND * TICKS_PER_NANO;
const SECOND: u64 = 1_000_000_000;
/// Units of [`fmt::Display`], longest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("min", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hundred_per_second_comes_back_in_one_second() {
        let quota = Quota::per_second(100);
        assert_eq!((quota.limit(), quota.burst_size()), (100, 100));
        assert_eq!(quota.window(), Duration::from_secs(1));
        assert_eq!(
            quota.interval_ticks(),
            Some(10_000_000 * TICKS_PER_NANO),
            "one unit each 10 ms"
        );
    }

    #[test]
    fn every_spelling_reads_as_the_quota_it_says() {
        for (text, quota) in [
            ("100/s burst 20", Quota::per_second(100).burst(20)),
            ("100/s", Quota::per_second(100)),
            (" 100 / second ", Quota::per_second(100)),
            ("100/min", Quota::per_minute(100)),
            ("100/m burst 1", Quota::per_minute(100).burst(1)),
            ("1000/h", Quota::per_hour(1000)),
            ("7/day", Quota::per_day(7)),
            ("5/10s", Quota::new(5, Duration::from_secs(10)).unwrap()),
            (
                "5/10 seconds",
                Quota::new(5, Duration::from_secs(10)).unwrap(),
            ),
            ("0/s", Quota::DENY_ALL),
        ] {
            assert_eq!(text.parse(), Ok(quota), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quota_is_answered_with_what_to_write() {
        for text in [
            "",
            "/",
            "100",
            "100 per second",
            "s/100",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1e3/s",
            "NaN/s",
            "100/",
            "100/0x1s",
            "100/fortnight",
            "100/s burst",
            "100/s burst many",
            "100/s burst 5 burst 6",
            "4294967296/s",
            "١/s",
            "100/99999999999999999999s",
        ] {
            let error = text.parse::<Quota>().unwrap_err();
            assert!(
                matches!(error, ConfigError::QuotaText { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains("\"100/s\""), "{error}");
        }
        let long = "x".repeat(1_000_000).parse::<Quota>().unwrap_err();
        assert!(long.to_string().len() < 300);
    }

    #[test]
    fn windows_and_bursts_that_cannot_be_counted_are_errors() {
        for window in [
            Duration::ZERO,
            Duration::from_nanos(999_999),
            Quota::MAX_WINDOW + Duration::from_nanos(1),
            Duration::MAX,
        ] {
            assert_eq!(
                Quota::new(1, window),
                Err(ConfigError::QuotaWindow { window })
            );
        }
        for text in ["1/0s", "1/999us", "1/4000d", "1/18446744073709551615d"] {
            let error = text.parse::<Quota>().unwrap_err();
            assert!(
                matches!(error, ConfigError::QuotaWindow { .. }),
                "{text}: {error}"
            );
        }
        let daily = Quota::per_day(1);
        assert_eq!(
            daily.try_burst(u32::MAX),
            Err(ConfigError::QuotaBurst {
                burst: u32::MAX,
                max: 5478
            })
        );
        assert_eq!(
            daily.try_burst(5478).map(|quota| quota.burst_size()),
            Ok(5478)
        );
        assert!(Quota::new(u32::MAX, Quota::MAX_WINDOW).is_ok());
    }

    proptest! {
        #[test]
        fn display_reads_back_as_the_same_quota(
            limit: u32,
            burst: Option<u32>,
            window in 1_000_000u64..=Quota::MAX_WINDOW.as_nanos() as u64,
            coarse in prop::sample::select(vec![1u64, 1_000, 1_000_000, SECOND, 60 * SECOND, 86_400 * SECOND]),
        ) {
            let window = (window / coarse * coarse).max(1_000_000);
            let quota = Quota::new(limit, Duration::from_nanos(window)).unwrap();
            let quota = burst.and_then(|burst| quota.try_burst(burst).ok()).unwrap_or(quota);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }

        #[test]
        fn any_text_is_a_quota_or_an_error_and_never_a_panic(text in ".{0,40}") {
            if let Ok(quota) = text.parse::<Quota>() {
                prop_assert_eq!(quota.to_string().parse(), Ok(quota));
            }
        }
    }
}
