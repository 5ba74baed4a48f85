//! What a denial looks like on the wire, free of any framework's types.

use crate::classify::is_grpc;
use crate::decision::{Decision, Verdict};
use crate::headers;
use crate::permit::Shed;
use std::borrow::Cow;
use std::time::Duration;

/// Why a request was not served, and when to come back.
///
/// | denial | HTTP | gRPC | `Retry-After` |
/// |---|---|---|---|
/// | over a quota | 429, `quota-exceeded` | 8 (exhausted) | when the quota allows it; none if it never will |
/// | costs more than a quota ever allows | 429, `quota-exceeded` | 8, pushback -1 (never) | none |
/// | no slot, or the fence | 503, `temporary-reduced-capacity` | 14 (unavailable) | 1 to 3 s, spread |
/// | the store failed under a policy that then denies | 503, `temporary-reduced-capacity` | 14 | 1 to 3 s, spread |
///
/// The HTTP body is a problem document (RFC 9457) of the types of draft-ietf-httpapi-ratelimit-headers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Denial {
    reason: Reason,
    retry_after: Option<Duration>,
    policy: Option<&'static str>,
}

/// Why a request was not served.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Over a quota.
    Quota,
    /// The request costs more than its quota ever allows: coming back is no use.
    TooLarge,
    /// The guard had no slot for it, or lost it at the fence.
    Overload(Shed),
    /// The store that counts was out of reach, and the caller's policy is to deny then.
    Store,
}

/// How the client wants to be told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Form {
    /// A status code, `Retry-After` and a problem document.
    #[default]
    Problem,
    /// A gRPC status in the head of a 200.
    Grpc,
}

impl Form {
    /// The form for a request with this `content-type`.
    #[inline]
    #[must_use]
    pub fn of(content_type: Option<&[u8]>) -> Self {
        match content_type {
            Some(it) if is_grpc(it) => Self::Grpc,
            _ => Self::Problem,
        }
    }
}

/// A denial, ready to be put into a framework's response.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rendered {
    /// The status code.
    pub status: u16,
    /// The headers, lower-case names; the values are visible ASCII.
    pub headers: [Option<(&'static str, Cow<'static, str>)>; 4],
    /// The body; empty for gRPC.
    pub body: Cow<'static, str>,
}

impl Denial {
    /// Over a quota that allows the request again after `retry_after`.
    #[must_use]
    pub const fn quota(retry_after: Duration) -> Self {
        Self::new(Reason::Quota, Some(retry_after))
    }

    /// Costs more than the quota ever allows.
    #[must_use]
    pub const fn too_large() -> Self {
        Self::new(Reason::TooLarge, None)
    }

    /// The denial that a rate limit's `decision` means; `None` if it allows.
    #[must_use]
    pub fn of(decision: &Decision) -> Option<Self> {
        let reason = match decision.outcome() {
            Verdict::Allow => return None,
            Verdict::Deny => Reason::Quota,
            Verdict::TooLarge => Reason::TooLarge,
            Verdict::Unavailable => return Some(Self::store()),
        };
        let denial = Self::new(reason, decision.retry_after());
        Some(denial.violating(decision.policy().as_str()))
    }

    /// No slot. When to come back is drawn at random, so that refused clients do not come back together.
    #[must_use]
    pub fn overload(reason: Shed) -> Self {
        Self::new(Reason::Overload(reason), Some(spread(draw())))
    }

    /// The store is out of reach. When to come back is drawn at random.
    #[must_use]
    pub fn store() -> Self {
        Self::new(Reason::Store, Some(spread(draw())))
    }

    const fn new(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self {
            reason,
            retry_after,
            policy: None,
        }
    }

    /// The same, naming the quota's policy in the problem document.
    #[must_use]
    pub const fn violating(mut self, policy: &'static str) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The same, to come back after `retry_after`.
    #[must_use]
    pub const fn retry_in(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// When to come back, exactly; none if never.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// When to come back as `Retry-After` says it: whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after
            .map(|after| headers::seconds_up(after).max(1))
    }

    /// The violated quota's policy, if it was named.
    #[must_use]
    pub const fn policy(&self) -> Option<&'static str> {
        self.policy
    }

    /// The HTTP status: 429 or 503.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.reason {
            Reason::Quota | Reason::TooLarge => 429,
            Reason::Overload(_) | Reason::Store => 503,
        }
    }

    /// Status, headers and body in the form that the client expects. Formats only what is neither fixed nor short.
    #[must_use]
    pub fn render(&self, form: Form) -> Rendered {
        match form {
            Form::Problem => Rendered {
                status: self.status(),
                headers: [
                    Some(("content-type", Cow::Borrowed("application/problem+json"))),
                    self.retry_after_seconds()
                        .map(|seconds| ("retry-after", decimal(seconds))),
                    None,
                    None,
                ],
                body: self.problem(),
            },
            Form::Grpc => {
                let (code, message) = match self.reason {
                    Reason::Quota | Reason::TooLarge => ("8", "quota exceeded"),
                    Reason::Overload(_) | Reason::Store => ("14", "temporarily out of capacity"),
                };
                Rendered {
                    status: 200,
                    headers: [
                        Some(("content-type", Cow::Borrowed("application/grpc"))),
                        Some(("grpc-status", Cow::Borrowed(code))),
                        Some(("grpc-message", Cow::Borrowed(message))),
                        Some(("grpc-retry-pushback-ms", self.pushback())),
                    ],
                    body: Cow::Borrowed(""),
                }
            }
        }
    }

    /// gRPC A6: milliseconds to wait, negative for "do not come back".
    fn pushback(&self) -> Cow<'static, str> {
        self.retry_after.map_or(Cow::Borrowed("-1"), |after| {
            let millis = after.as_nanos().div_ceil(1_000_000).max(1);
            decimal(u64::try_from(millis).unwrap_or(u64::MAX))
        })
    }

    /// The problem document.
    pub(crate) fn problem(&self) -> Cow<'static, str> {
        match (self.reason, self.policy) {
            (Reason::Quota | Reason::TooLarge, None) => Cow::Borrowed(concat!(
                r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
                r#""title":"Request cannot be satisfied as assigned quota has been exceeded","status":429}"#
            )),
            (Reason::Quota | Reason::TooLarge, Some(policy)) => {
                let mut text = String::with_capacity(224 + policy.len());
                text.push_str(concat!(
                    r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
                    r#""title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"#,
                    r#""violated-policies":["#
                ));
                push_json(&mut text, policy);
                text.push_str("]}");
                Cow::Owned(text)
            }
            (Reason::Overload(_) | Reason::Store, _) => Cow::Borrowed(concat!(
                r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","#,
                r#""title":"Request cannot be satisfied due to temporary server capacity constraints","status":503}"#
            )),
        }
    }
}

/// Half a second to three seconds, evenly, from a random number.
const fn spread(random: u64) -> Duration {
    Duration::from_millis(500 + random % 2_501)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: nothing is decided by it, it only keeps clients apart"
)]
fn draw() -> u64 {
    fastrand::u64(..)
}

/// `number` in decimal, without formatting for the small ones that nearly every denial has.
fn decimal(number: u64) -> Cow<'static, str> {
    match ready_decimal(number) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(number.to_string()),
    }
}

/// The numbers up to 60 in decimal.
pub(crate) fn ready_decimal(number: u64) -> Option<&'static str> {
    const SMALL: [&str; 61] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
        "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46",
        "47", "48", "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59", "60",
    ];
    let at = usize::try_from(number).ok()?;
    SMALL.get(at).copied()
}

/// Appends `text` as a JSON string (RFC 8259 7).
fn push_json(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(rendered: &'a Rendered, name: &str) -> Option<&'a str> {
        rendered
            .headers
            .iter()
            .flatten()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| &**value)
    }

    #[test]
    fn a_store_that_did_not_answer_is_503_with_a_time_to_come_back() {
        let decision = Decision {
            outcome: Verdict::Unavailable,
            limit: 5,
            remaining: 0,
            chance: crate::decision::NOT_DRAWN,
            retry_after_nanos: crate::decision::NO_WAIT,
            reset_after_nanos: 0,
            policy: crate::decision::PolicyName::DEFAULT,
        };
        let denial = Denial::of(&decision).expect("a denial");
        assert_eq!(denial.reason(), Reason::Store);
        let rendered = denial.render(Form::Problem);
        assert_eq!(rendered.status, 503);
        let seconds = header(&rendered, "retry-after").expect("when to come back");
        assert!(["1", "2", "3"].contains(&seconds), "{seconds}");
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (after, seconds) in [
            (0, "1"),
            (1, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (61_000, "61"),
        ] {
            let denial = Denial::quota(Duration::from_millis(after));
            let rendered = denial.render(Form::Problem);
            assert_eq!(
                header(&rendered, "retry-after"),
                Some(seconds),
                "{after} ms"
            );
            assert_eq!(rendered.status, 429);
        }
        let longest = Denial::overload(Shed::Full).retry_in(Duration::MAX);
        assert_eq!(longest.retry_after_seconds(), Some(u64::MAX));
    }

    #[test]
    fn refused_clients_are_told_different_moments() {
        let told: std::collections::BTreeSet<_> = (0..200)
            .map(|_| Denial::overload(Shed::Full).retry_after_seconds())
            .collect();
        assert_eq!(told, [Some(1), Some(2), Some(3)].into());
    }

    #[test]
    fn the_body_is_a_problem_document() {
        for denial in [
            Denial::quota(Duration::ZERO),
            Denial::quota(Duration::ZERO).violating("per \"minute\"\n"),
            Denial::too_large(),
            Denial::overload(Shed::Class),
            Denial::store(),
        ] {
            let rendered = denial.render(Form::Problem);
            let body: serde_json::Value = serde_json::from_str(&rendered.body).unwrap();
            assert_eq!(body["status"], denial.status());
            assert_eq!(
                header(&rendered, "content-type"),
                Some("application/problem+json")
            );
            let kind = if denial.status() == 429 {
                "https://iana.org/assignments/http-problem-types#quota-exceeded"
            } else {
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
            };
            assert_eq!(body["type"], kind);
            assert_eq!(body["violated-policies"][0].as_str(), denial.policy());
        }
    }

    #[test]
    fn grpc_is_told_in_a_head_of_200() {
        let rendered = Denial::quota(Duration::from_micros(1_500)).render(Form::Grpc);
        assert_eq!((rendered.status, &*rendered.body), (200, ""));
        assert_eq!(header(&rendered, "grpc-status"), Some("8"));
        assert_eq!(header(&rendered, "grpc-retry-pushback-ms"), Some("2"));
        let rendered = Denial::overload(Shed::Full).render(Form::Grpc);
        assert_eq!(header(&rendered, "grpc-status"), Some("14"));
        let rendered = Denial::too_large().render(Form::Grpc);
        assert_eq!(header(&rendered, "grpc-retry-pushback-ms"), Some("-1"));
        assert_eq!(Denial::too_large().retry_after_seconds(), None);
    }

    #[test]
    fn the_form_follows_the_request() {
        assert_eq!(Form::of(Some(b"application/grpc+proto")), Form::Grpc);
        assert_eq!(Form::of(Some(b"application/json")), Form::Problem);
        assert_eq!(Form::of(None), Form::Problem);
    }
}
