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

/// A decision that is made without asking anybody else.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "a decision that nobody reads limits nobody"]
pub enum Here {
    /// It has to be asked for as [`Terms::decide`] does.
    Elsewhere,
    /// The request may go on, and nobody is told more.
    Passes,
    /// This.
    Decided(Decisions),
}

/// What of the terms a response needs to tell of its decisions. Copied, so that it holds nothing of its layer.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    headers: Headers,
    limit: RateLimitWriter,
}

impl Teller {
    /// Shows the value of `RateLimit`, to be sent beside that of `RateLimit-Policy`, if clients are told. Not of a
    /// client of whom nobody knows how it stands.
    #[inline]
    pub fn standard(&self, decisions: &Decisions, show: impl FnOnce(&FieldValue)) {
        if self.headers.standard() && decisions.are_known() {
            show(&self.limit.write(decisions.each()));
        }
    }

    /// The same of the older fields.
    #[inline]
    #[must_use]
    pub fn legacy(&self, decisions: &Decisions) -> Option<Legacy> {
        let told = self.headers.legacy() && decisions.are_known();
        told.then(|| Legacy::of(decisions.binding()))
    }
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
    /// request counts, and none waits. Otherwise nobody asks for key and cost.
    ///
    /// The same as [`Self::decide`] says, without the wrappings in which that hands it up.
    #[inline]
    pub fn decide_here(&self, ask: impl FnOnce() -> (Key, u32)) -> Here {
        let limiter = self.limiter.as_ref().and_then(AnyLimiter::as_local);
        let Some(limiter) = limiter else {
            return Here::Elsewhere;
        };
        let one = limiter.policies().len() == 1;
        let at_once = self.max_wait.is_zero() || self.shadow;
        if !((one || self.tells()) && at_once && matches!(self.count, Count::All)) {
            return Here::Elsewhere;
        }
        let (key, cost) = ask();
        if self.extensions || self.tells() {
            return Here::Decided(limiter.check_each(&key, cost));
        }
        match limiter.refusal(&key, cost) {
            None => Here::Passes,
            Some(decision) => Here::Decided(decision.into()),
        }
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

    /// What tells clients.
    #[inline]
    #[must_use]
    pub const fn teller(&self) -> Teller {
        Teller {
            headers: self.headers,
            limit: self.limit,
        }
    }
}
