//! The text form of a quota, which reads back to the same one.

use super::{Calendar, Kind, Period, Quota, SECOND};
use crate::error::{ConfigError, excerpt};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

impl fmt::Display for Quota {
    /// The form that [`FromStr`] reads back to the same quota.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, nanos) = UNITS
            .iter()
            .find(|(_, nanos)| self.window_nanos.is_multiple_of(*nanos))
            .expect("the last unit is one nanosecond");
        write!(f, "{}/", self.limit)?;
        if let Kind::Calendar(calendar) = self.kind {
            let period = match calendar.period() {
                Period::Hour => "h",
                Period::Day => "d",
                Period::Month => "month",
            };
            return write!(f, "{period} {calendar}");
        }
        match self.window_nanos / nanos {
            1 => f.write_str(unit)?,
            count => write!(f, "{count}{unit}")?,
        }
        match self.kind {
            Kind::TokenBucket if self.burst == self.limit => Ok(()),
            Kind::TokenBucket => write!(f, " burst {}", self.burst),
            Kind::FixedWindow => f.write_str(" fixed"),
            Kind::SlidingWindow => f.write_str(" sliding"),
            Kind::SlidingLog => f.write_str(" log"),
            Kind::Suppress => write!(f, " soft {}", self.burst),
            Kind::Calendar(_) => Ok(()),
        }
    }
}

impl FromStr for Quota {
    type Err = ConfigError;

    /// Reads `LIMIT/WINDOW` and what may follow it: `burst BURST`, `fixed`, `sliding`, `log`, `soft SOFT`, or after one
    /// hour, day or month `calendar` and an offset from UTC. The window is a unit (`ms`, `s`, `min`, `h`, `d` and their
    /// usual spellings) or a number of them: `100/s`, `1000/h sliding`, `5/10s`, `20/minute burst 5`,
    /// `9/month calendar +01:00`. A month is always of the calendar.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let unreadable = || ConfigError::QuotaText {
            text: excerpt(text),
        };
        let (limit, rest) = text.split_once('/').ok_or_else(unreadable)?;
        let limit = whole(limit.trim()).ok_or_else(unreadable)?;
        let mut words = rest.split_whitespace();
        // The unit may stand apart from its number.
        let mut window = words.next().ok_or_else(unreadable)?.to_owned();
        if window.bytes().all(|byte| byte.is_ascii_digit()) {
            window.push_str(words.next().ok_or_else(unreadable)?);
        }
        let month = matches!(&*window, "month" | "1month");
        if month && !matches!(words.clone().next(), None | Some("calendar")) {
            return Err(unreadable());
        }
        let length = if month {
            Duration::from_nanos(Calendar::MONTH.longest_nanos())
        } else {
            parse_window(&window).ok_or_else(unreadable)?
        };
        let quota = Self::new(limit, length)?;
        let quota = match words.next() {
            None if month => Self::calendar(limit, Calendar::MONTH),
            None => quota,
            Some("calendar") => {
                let calendar = [Calendar::HOUR, Calendar::DAY, Calendar::MONTH];
                let calendar = calendar
                    .into_iter()
                    .find(|it| it.longest_nanos() == quota.window_nanos)
                    .filter(|it| (*it == Calendar::MONTH) == month)
                    .ok_or_else(unreadable)?;
                let calendar = match words.next() {
                    None => calendar,
                    Some(offset) => calendar.parse_offset(offset).ok_or_else(unreadable)?,
                };
                Self::calendar(limit, calendar)
            }
            Some("burst") => {
                let burst = words.next().and_then(whole).ok_or_else(unreadable)?;
                quota.try_burst(burst)?
            }
            Some("fixed") => quota.fixed(),
            Some("sliding") => quota.sliding(),
            Some("log") => quota.try_sliding_log()?,
            Some("soft") => {
                let soft = words.next().and_then(whole).ok_or_else(unreadable)?;
                quota.try_soft(soft)?
            }
            Some(_) => return Err(unreadable()),
        };
        match words.next() {
            None => Ok(quota),
            Some(_) => Err(unreadable()),
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
    let nanos = match unit {
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
