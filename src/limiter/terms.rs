//! What every HTTP layer asks of its limiter and tells of it, free of any framework's types.

use crate::decision::{Decisions, Policy};
use crate::headers::{FieldValue, Headers, Legacy, RateLimitWriter};
use crate::key::Key;
use crate::limiter::{AnyLimiter, Asking, Count, Deciding};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The settings that a layer has whatever its framework, and the rules that follow from them. Clones count denials
/// together.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Terms {
    /// None if requests have limits of their own.
    limiter: Option<AnyLimiter>,
    /// For `limiter`.
    limit: RateLimitWriter,
    /// Which requests cost something.
    pub count: Count,
    /// How long requests wait in line.
    pub max_wait: Duration,
    /// Whether everything passes, and nobody is told anything.
    pub shadow: bool,
    /// Whether requests get a slot, and denials are marked.
    pub extensions: bool,
    /// How clients are told of their limit.
    pub headers: Headers,
    denied: Arc<AtomicU64>,
}

/// What clients are told with a response.
#[doc(hidden)]
#[derive(Debug)]
pub struct Told {
    /// The value of `RateLimit`, beside that of `RateLimit-Policy`.
    pub standard: Option<FieldValue>,
    /// Of the older fields.
    pub legacy: Option<Legacy>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            limiter: None,
            limit: RateLimitWriter::default(),
            count: Count::default(),
            max_wait: Duration::ZERO,
            shadow: false,
            extensions: true,
            headers: Headers::default(),
            denied: Arc::default(),
        }
    }
}

impl Terms {
    /// Takes `limiter`, and says what its policies are.
    pub fn set_limiter(&mut self, limiter: AnyLimiter) -> &[Policy] {
        self.limit = RateLimitWriter::of(limiter.policy());
        self.limiter.insert(limiter).policies()
    }

    /// The decision on a request where it is all there is to it, as with most layers: the counts are in this process, every
    /// request counts, and none waits. Otherwise none, and then nobody asks for key and cost.
    ///
    /// The same as [`Self::decide`] says, without the wrappings in which that hands it up.
    #[inline]
    pub fn decide_here(&self, ask: impl FnOnce() -> (Key, u32)) -> Option<Decisions> {
        let limiter = self.limiter.as_ref()?.as_local()?;
        let all_is_told = self.tells() || limiter.policies().len() == 1;
        let at_once = self.max_wait.is_zero() || self.shadow;
        if !(all_is_told && at_once && matches!(self.count, Count::All)) {
            return None;
        }
        let (key, cost) = ask();
        Some(limiter.check_each(&key, cost))
    }

    /// The decision on a request, or the way to it; none without a limiter, and then nobody asks for key and cost.
    pub fn decide(&self, ask: impl FnOnce() -> (Key, u32)) -> Option<Deciding> {
        let limiter = self.limiter.as_ref()?;
        let (key, cost) = ask();
        let asking = Asking {
            count: self.count,
            each: self.tells(),
            // Who only watches keeps nobody in line.
            max_wait: if self.shadow {
                Duration::ZERO
            } else {
                self.max_wait
            },
        };
        Some(limiter.decide_for(key, cost, asking))
    }

    /// Counts what was decided, and says whether the request may go on.
    #[inline]
    #[must_use]
    pub fn lets_pass(&self, decisions: &Decisions) -> bool {
        let allowed = decisions.is_allowed();
        if !allowed {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        allowed || self.shadow
    }

    /// Requests denied so far.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Whether clients are told anything.
    #[inline]
    #[must_use]
    pub fn tells(&self) -> bool {
        self.headers != Headers::Off && !self.shadow
    }

    /// What to tell of `decisions`: nothing of a client of whom nobody knows how it stands.
    #[inline]
    #[must_use]
    pub fn told(&self, decisions: &Decisions) -> Told {
        let known = decisions.are_known();
        let (standard, legacy) = (self.headers.standard(), self.headers.legacy());
        Told {
            standard: (known && standard).then(|| self.limit.write(decisions.each())),
            legacy: (known && legacy).then(|| Legacy::of(decisions.binding())),
        }
    }
}
