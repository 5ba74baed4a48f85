//! What a client is told about its limits, as header values: no HTTP types, no allocation.
//!
//! Current fields are those of draft-ietf-httpapi-ratelimit-headers-11 (May 2026), structured-field lists (RFC 9651)
//! of strings with parameters; the older `X-RateLimit-*` fields carry plain numbers.
//!
//! ```
//! use tidegate::{Key, Quota, RateLimiter};
//! use tidegate::headers::{self, Legacy};
//!
//! let limiter = RateLimiter::builder(Quota::per_minute(100)).name("api").build()?;
//! let decision = limiter.check(&Key::of("alice"), 50);
//! assert_eq!(headers::rate_limit_policy(&[*limiter.policy()]).as_str(), r#""api";q=100;w=60"#);
//! assert_eq!(headers::rate_limit(&[decision]).as_str(), r#""api";r=50;t=30"#);
//! assert_eq!(headers::retry_after(&decision), None);
//! assert_eq!(Legacy::of(&decision), Legacy { limit: 100, remaining: 50, reset: 30 });
//! # Ok::<(), tidegate::ConfigError>(())
//! ```

mod field_value;

pub use self::field_value::FieldValue;

use crate::classify::Answer;
use crate::decision::{Decision, Policy};
use crate::intern::interned;
use crate::reject::{Denial, Reason};
use std::time::Duration;

/// The field name `RateLimit-Policy`, lower-case as in HTTP/2.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// The field name `RateLimit`.
pub const RATE_LIMIT: &str = "ratelimit";
/// The field name `Retry-After` (RFC 9110 10.2.3).
pub const RETRY_AFTER: &str = "retry-after";
/// The field name `X-RateLimit-Limit`.
pub const X_RATE_LIMIT_LIMIT: &str = "x-ratelimit-limit";
/// The field name `X-RateLimit-Remaining`.
pub const X_RATE_LIMIT_REMAINING: &str = "x-ratelimit-remaining";
/// The field name `X-RateLimit-Reset`.
pub const X_RATE_LIMIT_RESET: &str = "x-ratelimit-reset";

/// Which headers tell clients about their limit, on allowed and on denied responses.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Headers {
    /// None, but `Retry-After` on denials.
    Off,
    /// `RateLimit` and `RateLimit-Policy`, as in draft-ietf-httpapi-ratelimit-headers-11.
    #[default]
    Standard,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, which older clients know.
    Legacy,
    /// Both.
    All,
}

impl Headers {
    /// Whether the current fields are sent.
    #[inline]
    #[must_use]
    pub const fn standard(self) -> bool {
        matches!(self, Self::Standard | Self::All)
    }

    /// Whether the older fields are sent.
    #[inline]
    #[must_use]
    pub const fn legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::All)
    }
}

/// The value of `RateLimit-Policy`: every policy with its quota `q` and window `w` in seconds.
///
/// Windows are whole seconds there, so one of 1.5 s is told as the next longer one with as much quota as comes back
/// in it, rounded down.
#[must_use]
pub fn rate_limit_policy(policies: &[Policy]) -> FieldValue {
    let mut value = FieldValue::new();
    for policy in policies {
        let quota = policy.quota();
        let window = seconds_up(quota.window());
        let units = u128::from(quota.limit()) * u128::from(window) * 1_000_000_000
            / quota.window().as_nanos();
        value.item(policy.name().as_str());
        // A structured-field integer has at most 15 digits; the units are below 2^32 * 1000.
        value.parameter(";q=", units as u64);
        value.parameter(";w=", window);
    }
    value
}

/// The value of `RateLimit`: for every decision, what is left (`r`) and the seconds for which it has to last (`t`).
///
/// `t` is the time until everything has come back, or in a denial the time to wait, the same as in `Retry-After`.
#[must_use]
pub fn rate_limit(decisions: &[Decision]) -> FieldValue {
    let mut value = FieldValue::new();
    for decision in decisions {
        value.decision(decision);
    }
    value
}

/// Writes [`rate_limit`] for the decisions of a limiter's policies; for one, from a beginning that is made once.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimitWriter {
    /// `"name";r=` of the first policy.
    beginning: &'static str,
}

impl RateLimitWriter {
    /// For decisions whose first policy is `policy`.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let mut beginning = FieldValue::new();
        beginning.item(policy.name().as_str());
        beginning.push(";r=");
        Self {
            beginning: interned(beginning.as_str()),
        }
    }

    /// As [`rate_limit`] of `decisions`, of which the first has to be one by the policy.
    #[inline]
    #[must_use]
    pub fn write(&self, decisions: &[Decision]) -> FieldValue {
        let mut value = FieldValue::new();
        let Some((first, others)) = decisions.split_first() else {
            return value;
        };
        value.push(self.beginning);
        value.number(u64::from(first.remaining()));
        value.parameter(";t=", effective_window(first));
        for decision in others {
            value.decision(decision);
        }
        value
    }
}

/// The value of `Retry-After` in seconds, rounded up and at least 1; `None` unless the request was denied and waiting
/// helps.
#[must_use]
pub fn retry_after(decision: &Decision) -> Option<u64> {
    decision.retry_after().map(|wait| seconds_up(wait).max(1))
}

/// The value of `Retry-After` for an overload, where all refused clients would otherwise come back together: a whole
/// number of seconds from `base` to twice `base`, both rounded up and at least 1.
///
/// `random` is any random number; equal numbers give equal waits.
#[must_use]
pub fn retry_after_overload(base: Duration, random: u64) -> u64 {
    let base = seconds_up(base).max(1);
    // Multiply-shift: 0..=base without the bias or the division of a remainder.
    base.saturating_add(((u128::from(random) * (u128::from(base) + 1)) >> 64) as u64)
}

/// The decision that a client feels first: a denial before an allowance, the longest wait among denials, else the
/// least that remains. `None` for no decisions.
#[must_use]
pub fn binding(decisions: &[Decision]) -> Option<&Decision> {
    decisions.iter().min_by_key(|decision| decision.urgency())
}

/// The numbers of the older `X-RateLimit-*` fields. Of several decisions they show the [`binding`] one; of several
/// layers, those of the limit that denied, otherwise those with the least left, and of equals the innermost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Legacy {
    /// `X-RateLimit-Limit`: the most that can remain.
    pub limit: u32,
    /// `X-RateLimit-Remaining`: what is left.
    pub remaining: u32,
    /// `X-RateLimit-Reset`: seconds from now, as in the first drafts, not a date.
    pub reset: u64,
}

impl Legacy {
    /// The numbers of one decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self {
            limit: decision.limit(),
            remaining: decision.remaining(),
            reset: effective_window(decision),
        }
    }

    /// Whether these numbers bind a client before those that a response from inside comes with, of which `told` is the
    /// value of `X-RateLimit-Remaining`: less is left here, and the response is not `denied` by a limit, whose numbers
    /// belong to its `Retry-After`. What is no number does not count.
    // For adapters alone: it may change in any release.
    #[doc(hidden)]
    #[must_use]
    pub fn binds(&self, told: Option<&[u8]>, denied: impl FnOnce() -> bool) -> bool {
        told.and_then(|it| std::str::from_utf8(it).ok())
            .and_then(|it| it.parse().ok())
            .is_none_or(|remaining| u64::from(self.remaining) < remaining && !denied())
    }
}

/// Whether a response from inside is the denial of a limit: by its mark, or, without one, by what it answers.
///
/// What a guard denies is not: no limit bound it.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[must_use]
pub const fn is_limits_denial(mark: Option<&Denial>, answer: Answer) -> bool {
    match mark {
        Some(denial) => matches!(denial.reason(), Reason::Quota | Reason::TooLarge),
        None => matches!(answer, Answer::Status(429) | Answer::Grpc(8)),
    }
}

/// A number as a header value.
#[cfg(any(test, feature = "tower"))]
pub(crate) fn number(number: u64) -> FieldValue {
    let mut value = FieldValue::new();
    value.number(number);
    value
}

/// `duration` in whole seconds, rounded up.
pub(crate) const fn seconds_up(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add((duration.subsec_nanos() > 0) as u64)
}

fn effective_window(decision: &Decision) -> u64 {
    retry_after(decision).unwrap_or_else(|| seconds_up(decision.reset_after()))
}

impl FieldValue {
    fn decision(&mut self, decision: &Decision) {
        self.item(decision.policy().as_str());
        self.parameter(";r=", u64::from(decision.remaining()));
        self.parameter(";t=", effective_window(decision));
    }
}

#[cfg(test)]
mod tests;
