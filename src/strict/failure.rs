//! What happens to requests while the store does not answer: a policy with a name, never a silent default.

use crate::decision::{Decision, Decisions, NO_WAIT, NOT_DRAWN, Policy, UNKNOWN, Verdict};
use crate::error::ConfigError;
use crate::limiter::RateLimiter;
use crate::quota::{Kind, Quota};
use crate::rule::Rule;
use crate::strict::untold::Untold;
use crate::time::Clock;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What a limiter says while its store does not answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnFailure {
    /// Nothing passes: [`Verdict::Unavailable`], which HTTP layers answer with 503. For limits that protect something
    /// which must not be exceeded whatever it costs.
    #[default]
    Deny,
    /// Everything passes, uncounted. For limits that are a courtesy.
    Allow,
    /// Each process enforces its part of every quota by itself, and tells the store when it is back.
    ///
    /// The part is rounded down, so that the shares of `of` processes together let no more pass than the limit. They begin
    /// with nothing spent: what the store had admitted before it was away they do not know. So in the window in which the
    /// store goes away a key may get its quota once more: of 1 000 000 a month up to 2 000 000 in that month. What was
    /// admitted is told when the store is back, and counts there beyond the limit.
    ///
    /// A process to which the store had denied a key goes on denying it for the wait that it was told, so it is 1/`of` of the
    /// quota for each process that had not been denied. Denied is what costs as much as what the store had denied, or more.
    /// As many denials as [`denied_keys`](super::StrictLimiterBuilder::denied_keys) are remembered at most, and until
    /// something is given back here.
    ///
    /// # Guarantees
    /// A decision whose answer did not come may have been booked by the store, and is made again by the share, which tells
    /// the store of it. If the answer comes within a minute, what the store had booked goes back, and the request counts
    /// once. If it was lost with its connection, the request counts twice until it comes back by itself: those do that were
    /// under way when the connection broke, while the breaker was closed as many as there were callers, later one probe
    /// each time, and no others. What counts twice is denied to others; nobody gets more for it.
    ///
    /// To count those once as well, the store would have to remember each decision until it is heard of, which takes the
    /// server more than twice the time of a decision (5.5 µs and 12 on the same machine).
    ///
    /// What is admitted so is kept of 100 000 keys at most. Where of each of them something has not come back by itself,
    /// units of another key are not told to the store, which gives them to others as well:
    /// [`StrictStats::lost`](super::StrictStats::lost).
    LocalShare {
        /// How many processes share the limit.
        of: NonZeroU32,
    },
}

impl OnFailure {
    /// A local share of one in `processes`.
    ///
    /// # Panics
    /// If there are none; in a `const` that is a compile error.
    #[must_use]
    pub const fn local_share(processes: u32) -> Self {
        match NonZeroU32::new(processes) {
            Some(of) => Self::LocalShare { of },
            None => panic!("a limit is shared by at least one process"),
        }
    }
}

/// Who decides while the store does not answer.
#[derive(Debug)]
pub(crate) enum Fallback {
    Deny,
    /// What passed and was not counted, as far as it would not have come back yet: no refund of it is one of the store's.
    Allow(Arc<Untold>),
    Share(RateLimiter),
}

impl Fallback {
    /// # Errors
    /// If a share is nothing.
    pub(super) fn new(
        on_failure: OnFailure,
        policies: &[Policy],
        rules: &[Rule],
        max_keys: usize,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        let of = match on_failure {
            OnFailure::Deny => return Ok(Self::Deny),
            OnFailure::Allow => return Ok(Self::Allow(Untold::new(rules, max_keys).into())),
            OnFailure::LocalShare { of } => of,
        };
        let shares = shares(policies, of)?;
        let mut share = RateLimiter::builder(*shares[0].quota())
            .name(shares[0].name().as_str())
            .clock(clock.clone());
        for policy in &shares[1..] {
            share = share.policy(*policy);
        }
        Ok(Self::Share(share.build()?))
    }
}

/// The part of each quota that one process in `of` enforces.
///
/// # Errors
/// If that is nothing.
fn shares(policies: &[Policy], of: NonZeroU32) -> Result<Vec<Policy>, ConfigError> {
    let share = |policy: &Policy| {
        let quota = share(policy.quota(), of.get());
        match quota {
            Some(quota) => Ok(Policy::new(policy.name(), quota)),
            None => Err(ConfigError::setting(
                "a local share",
                format_args!("1/{of} of {}", policy.quota()),
                "a process that may do nothing says so with OnFailure::Deny; or share among fewer",
            )),
        }
    };
    policies.iter().map(share).collect()
}

fn share(quota: &Quota, of: u32) -> Option<Quota> {
    if quota.denies_all() {
        return Some(*quota);
    }
    let (limit, most) = (quota.limit() / of, quota.burst_size() / of);
    if limit == 0 || most == 0 {
        return None;
    }
    let share = Quota::new(limit, quota.window()).expect("a quota's window is a quota's window");
    Some(match quota.kind() {
        // A part of the burst at a part of the rate takes no longer to refill, but for what is rounded.
        Kind::TokenBucket => share.try_burst(most).unwrap_or(share),
        Kind::FixedWindow => share.fixed(),
        Kind::SlidingWindow => share.sliding(),
        Kind::SlidingLog => share.sliding_log(),
        Kind::Suppress => share.soft(most),
        Kind::Calendar(calendar) => Quota::calendar(limit, calendar),
    })
}

/// Nobody could be asked, so nothing passes.
pub(super) fn unavailable(policies: &[Policy]) -> Decisions {
    uncounted(policies, Verdict::Unavailable)
}

/// Nobody could be asked, and everything passes.
pub(super) fn let_pass(policies: &[Policy]) -> Decisions {
    uncounted(policies, Verdict::Allow)
}

fn uncounted(policies: &[Policy], outcome: Verdict) -> Decisions {
    let decision = |policy: &Policy| Decision {
        outcome,
        limit: policy.quota().burst_size(),
        remaining: match outcome {
            Verdict::Allow => policy.quota().burst_size(),
            _ => 0,
        },
        chance: NOT_DRAWN,
        retry_after_nanos: NO_WAIT,
        reset_after_nanos: UNKNOWN,
        policy: policy.name(),
    };
    Decisions::of(policies.iter().map(decision).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(quota: &str, of: u32) -> Option<String> {
        share(&quota.parse().unwrap(), of).map(|quota| quota.to_string())
    }

    #[test]
    fn shares_are_of_the_same_kind_and_never_add_up_to_more() {
        for (quota, of, share) in [
            ("100/s", 4, "25/s"),
            ("100/s burst 20", 3, "33/s burst 6"),
            ("100/min fixed", 3, "33/min fixed"),
            ("100/min sliding", 100, "1/min sliding"),
            ("100/min log", 7, "14/min log"),
            ("100/min soft 80", 2, "50/min soft 40"),
            (
                "1000/month calendar +01:00",
                10,
                "100/month calendar +01:00",
            ),
            ("0/s", 10, "0/s"),
        ] {
            assert_eq!(text(quota, of).as_deref(), Some(share), "{quota} / {of}");
        }
    }

    #[test]
    fn a_share_of_nothing_is_refused() {
        assert_eq!(text("5/s", 6), None);
        assert_eq!(text("100/s burst 5", 6), None);
        let policies = [Quota::per_second(5).into()];
        let error = shares(&policies, NonZeroU32::new(6).unwrap()).unwrap_err();
        assert!(error.to_string().contains("1/6 of 5/s"), "{error}");
    }
}
