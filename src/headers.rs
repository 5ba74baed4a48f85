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

use crate::decision::{Decision, Policy};
use std::fmt;
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
#[derive(Clone, Debug, Default)]
pub struct RateLimitWriter {
    /// `"name";r=` of the first policy.
    beginning: FieldValue,
}

impl RateLimitWriter {
    /// For decisions whose first policy is `policy`.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let mut beginning = FieldValue::new();
        beginning.item(policy.name().as_str());
        beginning.push(";r=");
        Self { beginning }
    }

    /// As [`rate_limit`] of `decisions`, of which the first has to be one by the policy.
    #[inline]
    #[must_use]
    pub fn write(&self, decisions: &[Decision]) -> FieldValue {
        let Some((first, others)) = decisions.split_first() else {
            return FieldValue::new();
        };
        let mut value = self.beginning.clone();
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

/// The numbers of the older `X-RateLimit-*` fields. Of several decisions they show the [`binding`] one.
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

    /// Whether these numbers bind a client before those already told by a layer inside, of which `told` is the value
    /// of `X-RateLimit-Remaining`. What is no number does not count.
    // For adapters alone: it may change in any release.
    #[doc(hidden)]
    #[must_use]
    pub fn binds(&self, told: Option<&[u8]>) -> bool {
        told.and_then(|it| std::str::from_utf8(it).ok())
            .and_then(|it| it.parse().ok())
            .is_none_or(|remaining| u64::from(self.remaining) <= remaining)
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

/// A header value: printable ASCII, inline up to 126 bytes, which is one policy of any name or several of usual ones.
#[derive(Clone)]
pub struct FieldValue(Store);

#[derive(Clone)]
enum Store {
    Inline { length: u8, bytes: [u8; INLINE] },
    Heap(String),
}

const INLINE: usize = 126;

impl Default for FieldValue {
    fn default() -> Self {
        Self::new()
    }
}

impl FieldValue {
    const fn new() -> Self {
        Self(Store::Inline {
            length: 0,
            bytes: [0; INLINE],
        })
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Store::Inline { .. } => {
                std::str::from_utf8(self.as_bytes()).expect("only text is ever pushed")
            }
            Store::Heap(text) => text,
        }
    }

    /// The value as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Store::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Store::Heap(text) => text.as_bytes(),
        }
    }

    /// Begins a list item. Policy names need no escaping.
    fn item(&mut self, name: &str) {
        if !self.as_bytes().is_empty() {
            self.push(", ");
        }
        self.push("\"");
        self.push(name);
        self.push("\"");
    }

    fn decision(&mut self, decision: &Decision) {
        self.item(decision.policy().as_str());
        self.parameter(";r=", u64::from(decision.remaining()));
        self.parameter(";t=", effective_window(decision));
    }

    fn parameter(&mut self, key: &str, value: u64) {
        self.push(key);
        self.number(value);
    }

    #[inline]
    fn number(&mut self, number: u64) {
        // As seconds and what is left of a small quota often are.
        if number < 10
            && let Some(free) = self.free(1)
        {
            free[0] = b'0' + number as u8;
            return;
        }
        self.long_number(number);
    }

    fn long_number(&mut self, mut number: u64) {
        let digits = 1 + number.checked_ilog10().unwrap_or(0) as usize;
        if let Some(free) = self.free(digits) {
            for digit in free.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        } else {
            self.spill(&number.to_string());
        }
    }

    /// Appends text that is known to be ASCII, without looking at it again.
    #[inline]
    fn push(&mut self, text: &str) {
        match self.free(text.len()) {
            Some(free) => free.copy_from_slice(text.as_bytes()),
            None => self.spill(text),
        }
    }

    /// Takes the next `count` bytes to write to, if they are left inline.
    #[inline]
    fn free(&mut self, count: usize) -> Option<&mut [u8]> {
        let Store::Inline { length, bytes } = &mut self.0 else {
            return None;
        };
        let from = usize::from(*length);
        let free = bytes.get_mut(from..from + count)?;
        *length += count as u8;
        Some(free)
    }

    /// Appends text for which there is no room inline.
    #[cold]
    fn spill(&mut self, text: &str) {
        if let Store::Inline { .. } = self.0 {
            let mut heap = String::with_capacity(4 * INLINE);
            heap.push_str(self.as_str());
            self.0 = Store::Heap(heap);
        }
        if let Store::Heap(heap) = &mut self.0 {
            heap.push_str(text);
        }
    }
}

impl AsRef<[u8]> for FieldValue {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::PolicyName;
    use crate::rule::{Gcra, Tat};
    use crate::time::LocalTime;

    fn policy(name: &str, quota: &str) -> Policy {
        Policy::new(PolicyName::new(name).unwrap(), quota.parse().unwrap())
    }

    /// The answer to `cost` right after `spent`.
    fn decision(policy: Policy, spent: u32, cost: u32) -> Decision {
        let (rule, now) = (Gcra::new(policy), LocalTime::from_nanos(1_000_000_000));
        let (_, state) = rule.decide(Tat::IDLE, spent, now);
        rule.decide(state, cost, now).0
    }

    #[test]
    fn policies_are_listed_with_quota_and_window() {
        let policies = [
            policy("burst", "100/min burst 10"),
            policy("daily", "1000/d"),
        ];
        assert_eq!(
            rate_limit_policy(&policies).as_str(),
            r#""burst";q=100;w=60, "daily";q=1000;w=86400"#
        );
    }

    #[test]
    fn a_window_of_a_part_of_a_second_is_told_in_whole_ones_and_never_as_more() {
        for (quota, value) in [
            ("5/500ms", r#""p";q=10;w=1"#),
            ("5/1500ms", r#""p";q=6;w=2"#),
            ("4294967295/1ms", r#""p";q=4294967295000;w=1"#),
            ("0/s", r#""p";q=0;w=1"#),
        ] {
            assert_eq!(rate_limit_policy(&[policy("p", quota)]).as_str(), value);
        }
    }

    #[test]
    fn what_remains_is_told_with_the_time_it_has_to_last() {
        let minute = policy("minute", "60/min");
        assert_eq!(
            rate_limit(&[decision(minute, 0, 1), decision(minute, 29, 1)]).as_str(),
            r#""minute";r=59;t=1, "minute";r=30;t=30"#
        );
        let denied = decision(minute, 55, 10);
        assert_eq!(rate_limit(&[denied]).as_str(), r#""minute";r=5;t=5"#);
        let writer = RateLimitWriter::of(&minute);
        assert_eq!(writer.write(&[denied]).as_str(), r#""minute";r=5;t=5"#);
        let both = [denied, decision(policy("hour", "7/h fixed"), 0, 0)];
        assert_eq!(
            writer.write(&both).as_str(),
            r#""minute";r=5;t=5, "hour";r=7;t=0"#
        );
        assert_eq!(retry_after(&denied), Some(5));
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_one_second() {
        let denied = decision(policy("p", "1000/s"), 1000, 1);
        assert_eq!(denied.retry_after(), Some(Duration::from_millis(1)));
        assert_eq!(retry_after(&denied), Some(1));
        assert_eq!(seconds_up(Duration::from_nanos(1_000_000_001)), 2);
        assert_eq!(seconds_up(Duration::from_secs(3)), 3);
        assert_eq!(seconds_up(Duration::MAX), u64::MAX);
        let hopeless = [
            decision(policy("p", "0/s"), 0, 1),
            decision(policy("p", "5/s"), 0, 6),
        ];
        assert!(
            hopeless
                .iter()
                .all(|decision| retry_after(decision).is_none())
        );
    }

    #[test]
    fn jitter_spreads_refused_clients_between_once_and_twice_the_base() {
        assert_eq!(retry_after_overload(Duration::ZERO, 0), 1);
        assert_eq!(retry_after_overload(Duration::from_secs(5), 0), 5);
        assert_eq!(
            retry_after_overload(Duration::from_millis(4_001), u64::MAX),
            10
        );
        let mut seen = [false; 6];
        for step in 0..60 {
            let wait = retry_after_overload(Duration::from_secs(5), u64::MAX / 60 * step);
            seen[(wait - 5) as usize] = true;
        }
        assert_eq!(seen, [true; 6], "every second is drawn");
        assert_eq!(retry_after_overload(Duration::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_binding_decision_is_the_one_the_client_feels() {
        let allowed = decision(policy("loose", "100/s"), 0, 1);
        let tighter = decision(policy("tight", "10/s"), 0, 1);
        let short = decision(policy("second", "1/s"), 1, 1);
        let long = decision(policy("hour", "1/h"), 1, 1);
        let closed = decision(policy("closed", "0/h"), 0, 1);
        for (decisions, expected) in [
            (vec![allowed, tighter], tighter),
            (vec![allowed, short, tighter], short),
            (vec![short, long], long),
            (vec![short, closed, long], closed),
        ] {
            assert_eq!(binding(&decisions), Some(&expected));
        }
        assert_eq!(binding(&[]), None);
        assert_eq!(
            Legacy::of(&long),
            Legacy {
                limit: 1,
                remaining: 0,
                reset: 3600
            }
        );
    }

    #[test]
    fn older_fields_show_the_limit_with_the_least_left() {
        let ours = Legacy {
            limit: 9,
            remaining: 5,
            reset: 1,
        };
        for (told, binds) in [
            (None, true),
            (Some("4"), false),
            (Some("5"), true),
            (Some("60"), true),
            (Some("many"), true),
        ] {
            assert_eq!(ours.binds(told.map(str::as_bytes)), binds, "{told:?}");
        }
    }

    #[test]
    fn many_policies_outgrow_the_inline_room_without_losing_a_byte() {
        let long = policy(&"n".repeat(64), "4294967295/10s");
        for count in 1..8 {
            let value = rate_limit_policy(&vec![long; count]);
            let one = format!("\"{}\";q=4294967295;w=10", "n".repeat(64));
            assert_eq!(value.as_str(), vec![one; count].join(", "));
            assert_eq!(value.as_bytes(), value.to_string().as_bytes());
        }
        assert_eq!(number(0).as_str(), "0");
        assert_eq!(number(u64::MAX).as_str(), "18446744073709551615");
    }
}
