//! The middleware: which limiter, whose requests count together, and what clients are told.

use crate::denied::Responder;
use crate::key::RequestKey;
use crate::rate_limit::future::answer_of;
use crate::rate_limit::{RateLimitService, ResponseBody};
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{Error, HttpResponse};
use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;
use tidegate::Key;
use tidegate::decision::Decisions;
use tidegate::headers::{self, Headers};
use tidegate::key::KeySecret;
use tidegate::limiter::{AnyLimiter, Count, Deciding, Here, Terms};
use tidegate::limits::Limits;
use tidegate::reject::Denial;
use tidegate::tiers::Tiers;

/// Puts a [`RateLimiter`](tidegate::RateLimiter), or one that counts in a store, in front of an app, a scope or a resource.
///
/// Cheap to clone. Clones, in all workers, share the limiter's counts. The type has no parameters: it can be returned
/// from functions and kept in structs.
///
/// # Defaults
/// All requests count together ([`Key::EVERYONE`]), each costs 1 whatever its answer, none is exempt,
/// none waits, [`Headers::Standard`], a
/// [`Slot`](crate::Slot) for the handler, problem documents as denials.
///
/// # Examples
/// ```
/// use tidegate_actix_web::tidegate::{Quota, RateLimiter};
/// use tidegate_actix_web::{RateLimit, key};
///
/// fn api_limit() -> RateLimit {
///     let limiter = RateLimiter::new(Quota::per_second(100).burst(20));
///     RateLimit::new(limiter).key((key::header("x-tenant"), key::method()))
/// }
/// # let _ = api_limit();
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    settings: Arc<Settings>,
}

type Rule<T> = Arc<dyn Fn(&ServiceRequest) -> T + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) terms: Terms,
    /// None if all requests have one limit.
    pub(super) by: Option<By>,
    key: Option<RequestKey>,
    secret: Option<KeySecret>,
    cost: Option<Rule<u32>>,
    exempt: Option<Rule<bool>>,
    /// The value of `RateLimit-Policy`, which never changes.
    policy: HeaderValue,
    pub(super) responder: Responder,
}

/// By what requests have limits of their own.
#[derive(Clone)]
pub(super) enum By {
    Route(Limits),
    Tier(Tiers, Arc<Identity>),
}

pub(super) type Identity = dyn for<'a> Fn(&'a ServiceRequest) -> Option<Cow<'a, str>> + Send + Sync;

impl RateLimit {
    /// A middleware that asks `limiter`. Keep a clone of the limiter to read its statistics.
    #[must_use]
    pub fn new(limiter: impl Into<AnyLimiter>) -> Self {
        let limiter = limiter.into();
        Self::by(None).with(|settings| settings.set_limiter(limiter))
    }

    /// A middleware that asks the limiter of each request's method and resource pattern, as `limits` says at that
    /// moment. What has no limit passes uncounted; what matches no resource has that of `<unmatched>`. All other settings
    /// are the same for all routes.
    ///
    /// Works around an app, a scope and a resource. actix-web makes the pattern anew for every request: two or more
    /// allocations.
    ///
    /// # Examples
    /// ```
    /// use tidegate_actix_web::tidegate::Quota;
    /// use tidegate_actix_web::tidegate::limits::{Limits, Plan};
    /// use tidegate_actix_web::{RateLimit, key};
    ///
    /// let plan = Plan::new()
    ///     .limit("reads", Quota::per_second(100))?
    ///     .limit("writes", Quota::per_second(5))?
    ///     .route("GET /items/{id}", "reads")?
    ///     .route("POST *", "writes")?;
    /// let limits = Limits::new(&plan);
    /// // Outside of `HttpServer::new`: once for all workers.
    /// let middleware = RateLimit::routed(limits).key(key::peer());
    /// # let _ = middleware;
    /// # Ok::<(), tidegate_actix_web::tidegate::ConfigError>(())
    /// ```
    #[must_use]
    pub fn routed(limits: Limits) -> Self {
        Self::by(Some(By::Route(limits)))
    }

    /// A middleware that asks the limiter of each request's client, as `tiers` say at that moment. A request waits for
    /// the look-up of a client that is not known yet; all other settings are the same for all clients.
    ///
    /// `identity` finds in a request who it is from; without one it is a stranger's. Whoever is known counts by that
    /// identity; [`Self::key`] is for strangers, who all count together without it. What is exempt is not looked up.
    ///
    /// # Examples
    /// ```
    /// use tidegate_actix_web::tidegate::tiers::Tiers;
    /// use tidegate_actix_web::{RateLimit, key};
    ///
    /// fn by_api_key(tiers: Tiers) -> RateLimit {
    ///     let limit = RateLimit::tiered(tiers, |request| {
    ///         Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
    ///     });
    ///     // Strangers count by their addresses.
    ///     limit.key(key::peer())
    /// }
    /// # let _ = by_api_key;
    /// ```
    #[must_use]
    pub fn tiered(
        tiers: Tiers,
        identity: impl for<'a> Fn(&'a ServiceRequest) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    ) -> Self {
        Self::by(Some(By::Tier(tiers, Arc::new(identity))))
    }

    fn by(by: Option<By>) -> Self {
        Self {
            settings: Arc::new(Settings {
                terms: Terms::default(),
                by,
                policy: HeaderValue::from_static(""),
                responder: Responder::default(),
                key: None,
                secret: None,
                cost: None,
                exempt: None,
            }),
        }
    }

    /// Whose requests count together: see [`key`](crate::key). Of a [tiered](Self::tiered) middleware only strangers'.
    #[must_use]
    pub fn key(self, key: impl Into<RequestKey>) -> Self {
        let key = key.into();
        self.with(|settings| settings.key = Some(key))
    }

    /// Hashes what keys are made of under a secret, so that nobody can choose identifiers that share a key.
    /// Middlewares and processes that share limits need the same.
    #[must_use]
    pub fn secret(self, secret: KeySecret) -> Self {
        self.with(|settings| settings.secret = Some(secret))
    }

    /// What a request costs. 0 asks how things stand and books nothing.
    #[must_use]
    pub fn cost(self, rule: impl Fn(&ServiceRequest) -> u32 + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.cost = Some(Arc::new(rule)))
    }

    /// Which requests cost something: all, or those whose answer says so.
    ///
    /// # Examples
    /// ```
    /// use tidegate_actix_web::RateLimit;
    /// use tidegate_actix_web::tidegate::limiter::Count;
    /// use tidegate_actix_web::tidegate::{Quota, RateLimiter};
    ///
    /// // Five wrong passwords a minute; who gets in pays nothing.
    /// let limiter = RateLimiter::new(Quota::per_minute(5));
    /// let logins = RateLimit::new(limiter).count(Count::Failures);
    /// # let _ = logins;
    /// ```
    #[must_use]
    pub fn count(self, count: Count) -> Self {
        self.with(|settings| settings.terms.count = count)
    }

    /// Requests over the quota wait in line, up to `max_wait`, instead of being denied; who would have to wait longer is
    /// denied at once. Those of one key are served in the order in which they came.
    ///
    /// 0 by default. For clients of one's own, such as workers; strangers better hear that they come too often.
    #[must_use]
    pub fn wait(self, max_wait: Duration) -> Self {
        self.with(|settings| settings.terms.max_wait = max_wait)
    }

    /// Requests that pass uncounted, such as health checks.
    #[must_use]
    pub fn exempt(self, rule: impl Fn(&ServiceRequest) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.exempt = Some(Arc::new(rule)))
    }

    /// Decides and counts, but lets everything pass and sends no headers. [`Slot::rate`](tidegate::Slot::rate) and
    /// [`Self::denied`] tell.
    ///
    /// Requests do not wait in line then, but for what the decision needs: a store that has to be asked, the look-up of a
    /// [tier](tidegate::tiers::Tiers).
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.with(|settings| settings.terms.shadow = shadow)
    }

    /// Which headers tell clients about their limit.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.with(|settings| settings.terms.headers = headers)
    }

    /// Whether handlers get a [`Slot`](crate::Slot), and denials are marked in their extensions. Costs one allocation a
    /// request. Without it a guard around this limit whose own are off too takes a denial for the backend's answer.
    #[must_use]
    pub fn extensions(self, extensions: bool) -> Self {
        self.with(|settings| settings.terms.extensions = extensions)
    }

    /// The response to a denied request, in place of the problem document. gRPC calls are still denied with a gRPC
    /// status. Headers are added as configured, and `Retry-After` unless it has one.
    #[must_use]
    pub fn denial(self, respond: impl Fn(&Denial) -> HttpResponse + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.responder = Responder::custom(respond))
    }

    /// Requests denied so far, or in shadow mode those that would have been, by this and its clones.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.settings.terms.denied()
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for RateLimit
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Transform = RateLimitService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let settings = Arc::clone(&self.settings);
        ready(Ok(RateLimitService::new(inner, settings)))
    }
}

impl Settings {
    /// These for one limit.
    pub(super) fn of(&self, limiter: AnyLimiter) -> Self {
        let mut own = self.clone();
        own.by = None;
        own.set_limiter(limiter);
        own
    }

    /// Takes `limiter`, and makes ready what is said about it.
    fn set_limiter(&mut self, limiter: AnyLimiter) {
        let policies = self.terms.set_limiter(limiter);
        let policy = headers::rate_limit_policy(policies);
        self.policy = value(policy.as_bytes());
        self.responder.prepare(policies);
    }

    /// Whether a request passes uncounted.
    #[inline]
    pub(super) fn exempts(&self, request: &ServiceRequest) -> bool {
        self.exempt.as_ref().is_some_and(|rule| rule(request))
    }

    /// The decision on a request, if it takes no more than to look at the counts of this process.
    #[inline]
    pub(super) fn decide_here(&self, request: &ServiceRequest) -> Here {
        self.terms.decide_here(|| self.ask(request, None))
    }

    /// The decision on a request, or the way to it, which counts as `known` if that is known already; `None` without a
    /// limit.
    pub(super) fn decide(&self, request: &ServiceRequest, known: Option<Key>) -> Option<Deciding> {
        self.terms.decide(|| self.ask(request, known))
    }

    /// As whose a request counts, and for how much.
    #[inline]
    fn ask(&self, request: &ServiceRequest, known: Option<Key>) -> (Key, u32) {
        let by_rule = |rule: &RequestKey| rule.of(request, self.secret.as_ref());
        let key = known.or_else(|| self.key.as_ref().map(by_rule));
        let cost = self.cost.as_ref().map_or(1, |rule| rule(request));
        (key.unwrap_or(Key::EVERYONE), cost)
    }

    /// Adds the headers that tell about `decisions` to those that middlewares inside have added.
    pub(super) fn tell<B>(&self, decisions: &Decisions, response: &mut HttpResponse<B>) {
        let teller = self.terms.teller();
        teller.standard(decisions, |limit| {
            let to = response.headers_mut();
            to.append(RATE_LIMIT_POLICY, self.policy.clone());
            to.append(RATE_LIMIT, value(limit.as_bytes()));
        });
        if let Some(ours) = teller.legacy(decisions) {
            let theirs = response.headers().get(X_RATE_LIMIT_REMAINING);
            let theirs = theirs.map(HeaderValue::as_bytes);
            let denied = || {
                let extensions = response.extensions();
                headers::is_limits_denial(extensions.get::<Denial>(), answer_of(response))
            };
            if ours.binds(theirs, denied) {
                let to = response.headers_mut();
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
            .field("terms", &self.terms)
            .field("by", &self.by)
            .field("key", &self.key)
            .field("responder", &self.responder)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(limits) => f.debug_tuple("Route").field(limits).finish(),
            Self::Tier(tiers, _) => f.debug_tuple("Tier").field(tiers).finish(),
        }
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
