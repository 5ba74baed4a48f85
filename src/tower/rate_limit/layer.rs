//! The layer: which limiter, whose requests count together, and what clients are told.

use crate::decision::{Decisions, Verdict};
use crate::headers::{self, Headers, Legacy, RateLimitWriter};
use crate::intern::interned;
use crate::key::{Key, KeySecret};
use crate::limiter::{AnyLimiter, Asking, Count, Deciding};
use crate::limits::{Limits, Seen};
use crate::reject::Denial;
use crate::tower::RequestHead;
use crate::tower::denial::Responder;
use crate::tower::key::RequestKey;
use crate::tower::rate_limit::RateLimit;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tower_layer::Layer;

/// Puts a [`RateLimiter`](crate::RateLimiter), or one that counts in a store, in front of a service.
///
/// Cheap to clone. Clones, and all the services they wrap, share the limiter's counts. The type has no parameters:
/// it can be returned from functions and kept in structs.
///
/// # Defaults
/// All requests count together ([`Key::EVERYONE`]), each costs 1 whatever its answer, none is exempt,
/// none waits, [`Headers::Standard`], a
/// [`Slot`](crate::Slot) in the request's extensions, problem documents as denials.
///
/// # Examples
/// ```
/// use tidegate::tower::{RateLimitLayer, key};
/// use tidegate::{Quota, RateLimiter};
///
/// fn api_limit() -> RateLimitLayer {
///     let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
///     RateLimitLayer::new(limiter).key((key::header("x-tenant"), key::method()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    settings: Arc<Settings>,
}

type Rule<T> = Arc<dyn Fn(&RequestHead<'_>) -> T + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    /// None if every route has its own.
    limiter: Option<AnyLimiter>,
    pub(super) routes: Option<Routes>,
    key: Option<RequestKey>,
    secret: Option<KeySecret>,
    cost: Option<Rule<u32>>,
    count: Count,
    max_wait: Duration,
    exempt: Option<Rule<bool>>,
    pub(super) shadow: bool,
    pub(super) extensions: bool,
    headers: Headers,
    /// The value of `RateLimit-Policy`, which never changes.
    policy: HeaderValue,
    limit: RateLimitWriter,
    pub(super) responder: Responder,
    denied: Arc<AtomicU64>,
}

/// Where the limits of routes are, and what this layer made of each.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    seen: Seen<Arc<Settings>>,
    template: fn(&Extensions) -> Option<&str>,
}

impl RateLimitLayer {
    /// A layer that asks `limiter`. Keep a clone of the limiter to read its statistics.
    #[must_use]
    pub fn new(limiter: impl Into<AnyLimiter>) -> Self {
        let limiter = limiter.into();
        Self::with_limits(None).with(|settings| settings.set_limiter(limiter))
    }

    /// A layer that asks the limiter of each request's method and path template, as `limits` says at that moment. What
    /// has no limit passes uncounted. All other settings are the same for all routes.
    ///
    /// `template` finds the template in the extensions, as for [`key::path_template`]; adapters have it ready. Without
    /// one a request has the limit of `<unmatched>`.
    ///
    /// [`key::path_template`]: crate::tower::key::path_template
    #[must_use]
    pub fn routed(limits: Limits, template: fn(&Extensions) -> Option<&str>) -> Self {
        Self::with_limits(Some(Routes {
            seen: Seen::new(limits),
            template,
        }))
    }

    fn with_limits(routes: Option<Routes>) -> Self {
        Self {
            settings: Arc::new(Settings {
                limiter: None,
                routes,
                policy: HeaderValue::from_static(""),
                limit: RateLimitWriter::default(),
                responder: Responder::default(),
                key: None,
                secret: None,
                cost: None,
                count: Count::default(),
                max_wait: Duration::ZERO,
                exempt: None,
                shadow: false,
                extensions: true,
                headers: Headers::default(),
                denied: Arc::default(),
            }),
        }
    }

    /// Whose requests count together: see [`key`](crate::tower::key).
    #[must_use]
    pub fn key(self, key: impl Into<RequestKey>) -> Self {
        let key = key.into();
        self.with(|settings| settings.key = Some(key))
    }

    /// Hashes what keys are made of under a secret, so that nobody can choose identifiers that share a key. Layers
    /// and processes that share limits need the same.
    #[must_use]
    pub fn secret(self, secret: KeySecret) -> Self {
        self.with(|settings| settings.secret = Some(secret))
    }

    /// What a request costs. 0 asks how things stand and books nothing.
    #[must_use]
    pub fn cost(self, rule: impl Fn(&RequestHead<'_>) -> u32 + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.cost = Some(Arc::new(rule)))
    }

    /// Which requests cost something: all, or those whose answer says so.
    ///
    /// # Examples
    /// ```
    /// use tidegate::limiter::Count;
    /// use tidegate::tower::RateLimitLayer;
    /// use tidegate::{Quota, RateLimiter};
    ///
    /// // Five wrong passwords a minute; who gets in pays nothing.
    /// let limiter = RateLimiter::new(Quota::per_minute(5));
    /// let logins = RateLimitLayer::new(limiter).count(Count::Failures);
    /// # let _ = logins;
    /// ```
    #[must_use]
    pub fn count(self, count: Count) -> Self {
        self.with(|settings| settings.count = count)
    }

    /// Requests over the quota wait in line, up to `max_wait`, instead of being denied; who would have to wait longer is
    /// denied at once. Those of one key are served in the order in which they came.
    ///
    /// 0 by default. For clients of one's own, such as workers; strangers better hear that they come too often.
    #[must_use]
    pub fn wait(self, max_wait: Duration) -> Self {
        self.with(|settings| settings.max_wait = max_wait)
    }

    /// Requests that pass uncounted, such as health checks.
    #[must_use]
    pub fn exempt(self, rule: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.exempt = Some(Arc::new(rule)))
    }

    /// Decides and counts, but lets everything pass and sends no headers. [`Slot::rate`](crate::Slot::rate) and
    /// [`Self::denied`] tell.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.with(|settings| settings.shadow = shadow)
    }

    /// Which headers tell clients about their limit.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.with(|settings| settings.headers = headers)
    }

    /// Whether requests get a [`Slot`](crate::Slot) in their extensions, and denials are marked in theirs. Costs one
    /// allocation a request. Without it a guard around this layer whose own are off too takes a denial for the
    /// backend's answer.
    #[must_use]
    pub fn extensions(self, extensions: bool) -> Self {
        self.with(|settings| settings.extensions = extensions)
    }

    /// The response to a denied request, in place of the problem document. gRPC calls are still denied with a gRPC
    /// status. Headers are added as configured.
    #[must_use]
    pub fn denial(
        self,
        respond: impl Fn(&Denial) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.responder = Responder::custom(respond))
    }

    /// Requests denied so far, or in shadow mode those that would have been.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.settings.denied.load(Ordering::Relaxed)
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.settings))
    }
}

impl Routes {
    /// The settings for a request's route, unless it has no limit; `all` are those of the layer.
    #[inline]
    pub(super) fn find(&self, all: &Settings, head: &RequestHead<'_>) -> Option<Arc<Settings>> {
        let template = (self.template)(head.extensions());
        self.seen.find(head.method().as_str(), template, |limiter| {
            let mut own = all.clone();
            own.routes = None;
            own.set_limiter(limiter.clone());
            Arc::new(own)
        })
    }
}

impl Settings {
    /// Takes `limiter`, and makes ready what is said about it.
    fn set_limiter(&mut self, limiter: AnyLimiter) {
        let policy = headers::rate_limit_policy(limiter.policies());
        self.policy = HeaderValue::from_static(interned(policy.as_str()));
        self.limit = RateLimitWriter::of(limiter.policy());
        self.responder.prepare(limiter.policies());
        self.limiter = Some(limiter);
    }

    /// The decision on a request, or the way to it; `None` if it is exempt or has no limit.
    #[inline]
    pub(super) fn decide(&self, head: &RequestHead<'_>) -> Option<Deciding> {
        let limiter = self.limiter.as_ref()?;
        if self.exempt.as_ref().is_some_and(|rule| rule(head)) {
            return None;
        }
        let key = self
            .key
            .as_ref()
            .map_or(Key::EVERYONE, |rule| rule.of(head, self.secret.as_ref()));
        let cost = self.cost.as_ref().map_or(1, |rule| rule(head));
        let asking = Asking {
            count: self.count,
            each: self.tells(),
            // Who only watches keeps nobody waiting.
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
    pub(super) fn lets_pass(&self, decisions: &Decisions) -> bool {
        let allowed = decisions.is_allowed();
        if !allowed {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        allowed || self.shadow
    }

    #[inline]
    pub(super) fn tells(&self) -> bool {
        self.headers != Headers::Off && !self.shadow
    }

    /// Adds the headers that tell about `decisions` to those that layers inside have added.
    pub(super) fn tell(&self, decisions: &Decisions, to: &mut HeaderMap) {
        if decisions.binding().outcome() == Verdict::Unavailable {
            // Nobody knows how the client stands.
            return;
        }
        if self.headers.standard() {
            to.append(RATE_LIMIT_POLICY, self.policy.clone());
            to.append(
                RATE_LIMIT,
                value(self.limit.write(decisions.each()).as_bytes()),
            );
        }
        if self.headers.legacy() {
            let ours = Legacy::of(decisions.binding());
            let told = to.get(X_RATE_LIMIT_REMAINING);
            if ours.binds(told.map(HeaderValue::as_bytes)) {
                to.insert(X_RATE_LIMIT_LIMIT, ours.limit.into());
                to.insert(X_RATE_LIMIT_REMAINING, ours.remaining.into());
                to.insert(X_RATE_LIMIT_RESET, ours.reset.into());
            }
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limiter", &self.limiter)
            .field("routes", &self.routes)
            .field("key", &self.key)
            .field("shadow", &self.shadow)
            .field("extensions", &self.extensions)
            .field("headers", &self.headers)
            .field("responder", &self.responder)
            .finish_non_exhaustive()
    }
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("policy names and numbers are visible ASCII")
}

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static(headers::RATE_LIMIT_POLICY);
const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_LIMIT);
const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_REMAINING);
const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_RESET);
