//! The answer of a rate limit, and the name of the policy that gave it.

use crate::error::{ConfigError, excerpt};
use crate::intern::interned;
use crate::quota::Quota;
use std::fmt;
use std::time::Duration;

/// What a rate limit says to a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// It may go on; its cost was booked.
    Allow,
    /// Not now; nothing was booked. Also the answer of a quota that denies everything.
    Deny,
    /// Its cost is more than the quota can ever admit at once, so trying again is pointless; nothing was booked. That is
    /// the burst of a token bucket, the limit of the other rules, and with a [soft limit](crate::Quota::soft) that one:
    /// what costs more is not even left to chance.
    TooLarge,
    /// The store that counts did not answer, and nothing may pass uncounted.
    Unavailable,
}

impl Verdict {
    /// The verdict in one lower-case word, as used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The answer of a rate limit, with what a client needs to know to come back at the right time.
///
/// A denial is an answer, not an error. Copied, never allocated.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use = "a decision that nobody reads limits nobody"]
pub struct Decision {
    pub(crate) outcome: Verdict,
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// The probability of passing in parts of 2^32, or [`NOT_DRAWN`].
    pub(crate) chance: u32,
    /// [`NO_WAIT`] when there is nothing to wait for.
    pub(crate) retry_after_nanos: u64,
    /// [`UNKNOWN`] when nobody knows.
    pub(crate) reset_after_nanos: u64,
    pub(crate) policy: PolicyName,
}

impl Decision {
    /// What the request was told.
    #[must_use]
    pub const fn outcome(&self) -> Verdict {
        self.outcome
    }

    /// Whether the request may go on.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.outcome, Verdict::Allow)
    }

    /// The most that can ever be [`remaining`](Self::remaining): the quota's burst.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Units that could be spent at this moment, after this request.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The wait after which the same request passes if nobody else comes: exact to the nanosecond, so one
    /// nanosecond earlier it is still denied.
    ///
    /// `None` when waiting has no point, or nobody knows for how long: the request was allowed, is too large, the quota
    /// denies everything, or the store did not answer.
    ///
    /// # Exceptions
    /// * Above a [soft limit](crate::Quota::soft) it passes for certain after that, and with its
    ///   [`probability`](Self::probability) before.
    /// * `until_ready` whose `max_wait` ended before its turn: if the cost would fit, but is for those in front, the time
    ///   until all that was spent has come back, which is longer than any of them can take of it.
    /// * A layered limiter denies from what it knows. More than eight ninths into the limit that includes what other
    ///   processes may have used and not told yet: at most twice the time that takes (a flush and a round trip) longer, if
    ///   they have not, and nothing longer for a cost above a ninth of the limit. While its origin is away, and the cost
    ///   is more than this process's part of the limit: the 300 ms until origin is asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_after_nanos {
            NO_WAIT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// The time until everything that was spent has come back; zero if nobody knows.
    #[must_use]
    pub const fn reset_after(&self) -> Duration {
        match self.reset_after_nanos {
            UNKNOWN => Duration::ZERO,
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// Whether anybody knows how the client stands: not if nobody counted, or nobody was asked.
    #[cfg(feature = "fleet")]
    const fn is_known(&self) -> bool {
        self.reset_after_nanos != UNKNOWN && !matches!(self.outcome, Verdict::Unavailable)
    }

    /// With which probability such a request passed at that moment: 0 or 1 unless the quota has a
    /// [soft limit](crate::Quota::soft) and was above it. A cost of 0 tells it of a cost of 1.
    #[must_use]
    pub fn probability(&self) -> f64 {
        match (self.chance, self.outcome) {
            (NOT_DRAWN, Verdict::Allow) => 1.0,
            (NOT_DRAWN, _) => 0.0,
            (parts, _) => f64::from(parts) / 4_294_967_296.0,
        }
    }

    /// The policy that decided.
    #[must_use]
    pub const fn policy(&self) -> PolicyName {
        self.policy
    }

    /// The same some time later, if nothing else has happened.
    #[cfg(feature = "redis")]
    pub(crate) fn aged(mut self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        if self.retry_after_nanos != NO_WAIT {
            self.retry_after_nanos = self.retry_after_nanos.saturating_sub(by).max(1);
        }
        if self.reset_after_nanos != UNKNOWN {
            self.reset_after_nanos = self.reset_after_nanos.saturating_sub(by);
        }
        self
    }

    /// Whether a client feels this one first, of two on the same request: see [`binding`](crate::headers::binding).
    pub(crate) fn binds_before(&self, other: &Self) -> bool {
        self.urgency() < other.urgency()
    }

    pub(crate) const fn urgency(&self) -> (u8, u64) {
        match self.outcome {
            Verdict::TooLarge | Verdict::Unavailable => (0, 0),
            // NO_WAIT, the wait of a quota that denies everything, is the longest.
            Verdict::Deny => (1, u64::MAX - self.retry_after_nanos),
            Verdict::Allow => (2, self.remaining as u64),
        }
    }
}

/// The answers of all the policies of a limiter to one request.
///
/// With one policy nothing is allocated.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a decision that nobody reads limits nobody"]
pub struct Decisions {
    binding: Decision,
    /// None where the binding one is the only one.
    each: Box<[Decision]>,
}

impl Decisions {
    /// Of several policies.
    pub(crate) fn of(each: Vec<Decision>) -> Self {
        let binding = crate::headers::binding(&each).expect("a limiter has a policy");
        Self {
            binding: *binding,
            each: if each.len() == 1 {
                Box::default()
            } else {
                each.into()
            },
        }
    }

    /// The same with one that is known better, and binds.
    pub(crate) fn with(mut self, binding: Decision) -> Self {
        let same = |it: &&mut Decision| it.policy == binding.policy;
        if let Some(known) = self.each.iter_mut().find(same) {
            *known = binding;
        }
        self.binding = binding;
        self
    }

    /// Denies what others wait for, until everything has come back.
    #[cfg(feature = "redis")]
    pub(crate) fn deny_until_reset(&mut self) {
        if self.binding.is_allowed() {
            self.binding.outcome = Verdict::Deny;
            self.binding.retry_after_nanos = self.binding.reset_after_nanos.max(1);
            *self = self.clone().with(self.binding);
        }
    }

    /// The same, of a client of whom nobody knows how it stands, but under quotas that leave nobody anything.
    #[cfg(feature = "redis")]
    pub(crate) fn unknown(mut self) -> Self {
        for decision in std::iter::once(&mut self.binding).chain(&mut self.each) {
            if decision.limit > 0 {
                decision.reset_after_nanos = UNKNOWN;
            }
        }
        self
    }

    /// Whether it is known how the client stands under all policies.
    #[cfg(feature = "fleet")]
    #[inline]
    pub(crate) fn are_known(&self) -> bool {
        self.each().iter().all(Decision::is_known)
    }

    /// The same some time later, if nothing else has happened.
    #[cfg(feature = "redis")]
    pub(crate) fn aged(&self, by: Duration) -> Self {
        Self {
            binding: self.binding.aged(by),
            each: self.each.iter().map(|decision| decision.aged(by)).collect(),
        }
    }

    /// The same denial of more: nothing less may be enough than that everything is back.
    #[cfg(feature = "redis")]
    pub(crate) fn until_reset(&self) -> Self {
        let each = self.each().iter().map(|it| match it.outcome {
            Verdict::Deny if it.retry_after_nanos != NO_WAIT && it.is_known() => Decision {
                retry_after_nanos: it.retry_after_nanos.max(it.reset_after_nanos),
                ..*it
            },
            _ => *it,
        });
        Self::of(each.collect())
    }

    /// The one that a client feels: see [`binding`](crate::headers::binding).
    #[inline]
    pub const fn binding(&self) -> &Decision {
        &self.binding
    }

    /// All of them, in the order of the policies. When one denies, the others tell how they stand: nothing was booked
    /// on them.
    #[inline]
    pub fn each(&self) -> &[Decision] {
        if self.each.is_empty() {
            std::slice::from_ref(&self.binding)
        } else {
            &self.each
        }
    }

    /// Whether the request may go on.
    #[inline]
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.binding.is_allowed()
    }
}

impl From<Decision> for Decisions {
    /// Of one policy.
    #[inline]
    fn from(decision: Decision) -> Self {
        Self {
            binding: decision,
            each: Box::default(),
        }
    }
}

/// In place of a probability where nothing was left to chance.
pub(crate) const NOT_DRAWN: u32 = u32::MAX;

/// In place of the time until everything is back when nobody knows.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// In place of a wait when there is nothing to wait for.
pub(crate) const NO_WAIT: u64 = u64::MAX;

/// A quota with the name under which clients see it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Policy {
    name: PolicyName,
    quota: Quota,
}

impl Policy {
    /// `quota` under `name`.
    #[must_use]
    pub const fn new(name: PolicyName, quota: Quota) -> Self {
        Self { name, quota }
    }

    /// The name that clients see.
    #[must_use]
    pub const fn name(&self) -> PolicyName {
        self.name
    }

    /// What is allowed.
    #[must_use]
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }
}

impl From<Quota> for Policy {
    /// Under the name `default`.
    fn from(quota: Quota) -> Self {
        Self::new(PolicyName::DEFAULT, quota)
    }
}

/// A policy's name: 1 to 64 letters, digits or any of `-_.:/`, so that it needs no quoting in a header.
///
/// Copied like a number. Each different name is kept once for the life of the process, so names belong into
/// configuration; what differs from request to request belongs into a [`Key`](crate::Key).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyName(&'static str);

impl PolicyName {
    /// `default`.
    pub const DEFAULT: Self = Self("default");

    /// The policy called `name`.
    ///
    /// # Errors
    /// [`ConfigError::PolicyName`] if the name is empty, longer than 64 bytes, or has other characters.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(ConfigError::PolicyName {
                name: excerpt(name),
            });
        }
        Ok(Self(interned(name)))
    }

    /// The name as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_fits_a_cache_line() {
        assert!(size_of::<Decision>() <= 64);
    }

    #[test]
    fn equal_names_are_kept_once() {
        let first = PolicyName::new("tenant-a.writes").unwrap();
        let second = PolicyName::new(&String::from("tenant-a.writes")).unwrap();
        assert_eq!(first, second);
        assert!(std::ptr::eq(first.as_str(), second.as_str()));
    }

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        for name in [
            "",
            "a b",
            "a\"b",
            "a\\b",
            "a;q=1",
            "naïve",
            "a\nb",
            &"x".repeat(65),
        ] {
            let error = PolicyName::new(name).unwrap_err();
            assert!(matches!(error, ConfigError::PolicyName { .. }), "{name}");
        }
        assert!(PolicyName::new(&"x".repeat(64)).is_ok());
    }
}
