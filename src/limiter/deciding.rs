//! How a layer gets its decision: at once, or after a wait that it drives.

use crate::decision::{Decision, Decisions, NO_WAIT, NOT_DRAWN, PolicyName, Verdict};
use crate::key::Key;
use crate::limiter::{Count, Counting, RateLimiter};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// What a layer wants of a decision.
// For adapters alone, as all of this file: it may change in any release.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Which requests cost something.
    pub count: Count,
    /// Whether clients are told of every policy, and not of the binding one alone.
    pub each: bool,
    /// How long to wait for what does not fit.
    pub max_wait: Duration,
}

/// The decisions on a request, and what its answer settles.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "a decision that nobody reads limits nobody"]
pub struct Admission {
    /// Of all policies if that was asked for, else the binding one.
    pub decisions: Decisions,
    /// Unless every request counts.
    pub counting: Option<Box<Counting>>,
}

impl Admission {
    /// Nobody passes: there is no limit to be found that could say how many may.
    pub fn unavailable() -> Self {
        Self {
            decisions: Decision {
                outcome: Verdict::Unavailable,
                limit: 0,
                remaining: 0,
                chance: NOT_DRAWN,
                retry_after_nanos: NO_WAIT,
                reset_after_nanos: 0,
                policy: PolicyName::DEFAULT,
            }
            .into(),
            counting: None,
        }
    }
}

impl From<Decisions> for Admission {
    /// Of a request that counts, whatever its answer.
    #[inline]
    fn from(decisions: Decisions) -> Self {
        Self {
            decisions,
            counting: None,
        }
    }
}

/// An [`Admission`], or the way to it.
#[doc(hidden)]
#[must_use = "a decision that nobody reads limits nobody"]
pub enum Deciding {
    /// Nothing is waited for, and nothing was boxed.
    Now(Admission),
    /// It takes time.
    Later(Pin<Box<dyn Future<Output = Admission> + Send>>),
}

impl fmt::Debug for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(admission) => f.debug_tuple("Now").field(admission).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl RateLimiter {
    /// Decides on a request of a layer.
    #[doc(hidden)]
    #[inline]
    pub fn decide_for(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        if asking.max_wait.is_zero() {
            Deciding::Now(self.decide_now(key, cost, asking))
        } else {
            self.decide_in_line(key, cost, asking)
        }
    }

    #[inline]
    fn decide_now(&self, key: Key, cost: u32, asking: Asking) -> Admission {
        let decisions = match asking.count {
            Count::All if asking.each => self.check_each(&key, cost),
            Count::All => self.check(&key, cost).into(),
            count => return self.reserve_now(key, cost, count),
        };
        Admission {
            decisions,
            counting: None,
        }
    }

    #[cold]
    fn reserve_now(&self, key: Key, cost: u32, count: Count) -> Admission {
        match Counting::begin(self, key, cost, count) {
            Ok(counting) => Admission {
                decisions: (*counting.decision()).into(),
                counting: Some(Box::new(counting)),
            },
            Err(decisions) => Admission {
                decisions,
                counting: None,
            },
        }
    }

    #[cold]
    fn decide_in_line(&self, key: Key, cost: u32, asking: Asking) -> Deciding {
        // Whoever waits already goes first.
        if !self.has_line(&key) {
            let asked = self.ask(&key, cost);
            let too_long = |wait| wait > asking.max_wait;
            if asked.is_allowed() || asked.retry_after().is_none_or(too_long) {
                let now = self.decide_now(key, cost, asking);
                if now.decisions.is_allowed() || !asked.is_allowed() {
                    return Deciding::Now(now);
                }
            }
        }
        let limiter = self.clone();
        Deciding::Later(Box::pin(async move {
            let book = || {
                let admission = limiter.decide_now(key, cost, asking);
                let binding = *admission.decisions.binding();
                if binding.is_allowed() {
                    Ok(admission)
                } else {
                    Err(binding)
                }
            };
            let waited = limiter.in_line(&key, cost, asking.max_wait, book).await;
            waited.unwrap_or_else(|denied| limiter.denied(key, denied, asking))
        }))
    }

    fn denied(&self, key: Key, denied: Decision, asking: Asking) -> Admission {
        let decisions = if asking.each {
            self.peek_each(&key).with(denied)
        } else {
            denied.into()
        };
        Admission {
            decisions,
            counting: None,
        }
    }
}
