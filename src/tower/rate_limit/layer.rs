//! The layer: which limiter, whose requests count together, and what clients are told.

use crate::decision::Decisions;
use crate::headers::{self, Headers, Legacy};
use crate::intern::interned;
use crate::key::{Key, KeySecret};
use crate::limiter::{Admission, AnyLimiter, Count, Deciding, Here, Teller, Terms};
use crate::limits::{Limits, Seen};
use crate::reject::Denial;
use crate::tiers::{Finding, Found, SeenTiers, Tiers};
use crate::tower::RequestHead;
use crate::tower::denial::Responder;
use crate::tower::key::RequestKey;
use crate::tower::rate_limit::RateLimit;
use crate::tower::rate_limit::future::answer_of;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
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
    pub(super) terms: Terms,
    /// None if all requests have one limit.
    pub(super) by: Option<By>,
    key: Option<RequestKey>,
    secret: Option<KeySecret>,
    cost: Option<Rule<u32>>,
    exempt: Option<Rule<bool>>,
    /// The value of `RateLimit-Policy`, which never changes. To copy it counts nothing but where a limit was looked up.
    policy: HeaderValue,
    pub(super) responder: Responder,
}

/// What of the settings a response needs to tell of its decisions. A copy: to count who holds the settings, all threads
/// would change one number.
pub(super) struct Telling {
    teller: Teller,
    policy: HeaderValue,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// Few, and not new ones all the time: their texts are kept for ever, and copied like numbers.
    Configured,
    /// Whatever a look-up says: their texts go with them.
    LookedUp,
}

/// By what requests have limits of their own.
#[derive(Clone, Debug)]
pub(super) enum By {
    Route(Routes),
    Tier(Tiered),
}

/// Where the limits of routes are, and what this layer made of each.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    seen: Seen<Arc<Settings>>,
    template: fn(&Extensions) -> Option<&str>,
}

/// Where the limits of clients are, who they are, and what this layer made of each limit.
#[derive(Clone)]
pub(super) struct Tiered {
    seen: SeenTiers<Arc<Settings>>,
    identity: Arc<Identity>,
}

type Identity = dyn for<'a> Fn(&'a RequestHead<'_>) -> Option<Cow<'a, str>> + Send + Sync;

impl RateLimitLayer {
    /// A layer that asks `limiter`. Keep a clone of the limiter to read its statistics.
    #[must_use]
    pub fn new(limiter: impl Into<AnyLimiter>) -> Self {
        let limiter = limiter.into();
        Self::by(None).with(|settings| settings.set_limiter(limiter, Origin::Configured))
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
        Self::by(Some(By::Route(Routes {
            seen: Seen::new(limits),
            template,
        })))
    }

    /// A layer that asks the limiter of each request's client, as `tiers` say at that moment. A request waits for the
    /// look-up of a client that is not known yet; all other settings are the same for all clients.
    ///
    /// `identity` finds in a request who it is from; without one it is a stranger's. Whoever is known counts by that
    /// identity; [`Self::key`] is for strangers, who all count together without it. What is exempt is not looked up.
    ///
    /// # Examples
    /// ```
    /// use tidegate::tiers::Tiers;
    /// use tidegate::tower::{RateLimitLayer, key};
    ///
    /// fn by_api_key(tiers: Tiers) -> RateLimitLayer {
    ///     let layer = RateLimitLayer::tiered(tiers, |request| {
    ///         Some(request.headers().get("x-api-key")?.to_str().ok()?.into())
    ///     });
    ///     // Strangers count by their addresses.
    ///     layer.key(key::peer())
    /// }
    /// ```
    #[must_use]
    pub fn tiered(
        tiers: Tiers,
        identity: impl for<'a> Fn(&'a RequestHead<'_>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    ) -> Self {
        Self::by(Some(By::Tier(Tiered {
            seen: SeenTiers::new(tiers),
            identity: Arc::new(identity),
        })))
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

    /// Whose requests count together: see [`key`](crate::tower::key). Of a [tiered](Self::tiered) layer only strangers'.
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
    pub fn exempt(self, rule: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.exempt = Some(Arc::new(rule)))
    }

    /// Decides and counts, but lets everything pass and sends no headers. [`Slot::rate`](crate::Slot::rate) and
    /// [`Self::denied`] tell.
    ///
    /// Requests do not wait in line then, but for what the decision needs: a store that has to be asked, the look-up of a
    /// [tier](crate::tiers::Tiers).
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.with(|settings| settings.terms.shadow = shadow)
    }

    /// Which headers tell clients about their limit.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        self.with(|settings| settings.terms.headers = headers)
    }

    /// Whether requests get a [`Slot`](crate::Slot) in their extensions, and denials are marked in theirs. Costs one
    /// allocation a request. Without it a guard around this layer whose own are off too takes a denial for the
    /// backend's answer.
    #[must_use]
    pub fn extensions(self, extensions: bool) -> Self {
        self.with(|settings| settings.terms.extensions = extensions)
    }

    /// The response to a denied request, in place of the problem document. gRPC calls are still denied with a gRPC
    /// status. Headers are added as configured, and `Retry-After` unless it has one.
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
        self.settings.terms.denied()
    }

    fn with(self, set: impl FnOnce(&mut Settings)) -> Self {
        // Always a clone, which has not seen any limit: what was made of one before is not as it is set now.
        let mut settings = Settings::clone(&self.settings);
        set(&mut settings);
        Self {
            settings: Arc::new(settings),
        }
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
            all.of(limiter, Origin::Configured)
        })
    }
}

impl Tiered {
    /// Whose limit a request has, or the way to it.
    #[inline]
    pub(super) fn find(&self, head: &RequestHead<'_>) -> Finding {
        match (self.identity)(head) {
            Some(identity) => self.seen.tiers().find(&identity),
            None => Finding::Now(Found::STRANGER),
        }
    }

    /// The decision on a request by the limit that was found, or the way to it, and the settings for that limit; `all`
    /// are those of the layer.
    pub(super) fn decide(
        &self,
        all: &Arc<Settings>,
        found: &Found,
        head: &RequestHead<'_>,
    ) -> (Arc<Settings>, Deciding) {
        let origin = match found.is_own() {
            true => Origin::LookedUp,
            false => Origin::Configured,
        };
        let own = self.seen.of(found, |limiter| all.of(limiter, origin));
        let deciding = own.as_ref().and_then(|own| own.decide(head, found.key()));
        (
            own.unwrap_or_else(|| Arc::clone(all)),
            deciding.unwrap_or_else(|| Deciding::Now(Admission::unavailable())),
        )
    }
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tiered").field(&self.seen).finish()
    }
}

impl Settings {
    /// These for one limit.
    fn of(&self, limiter: &AnyLimiter, origin: Origin) -> Arc<Self> {
        let mut own = self.clone();
        own.by = None;
        own.set_limiter(limiter.clone(), origin);
        Arc::new(own)
    }

    /// Takes `limiter`, and makes ready what is said about it.
    fn set_limiter(&mut self, limiter: AnyLimiter, origin: Origin) {
        let policies = self.terms.set_limiter(limiter);
        let policy = headers::rate_limit_policy(policies);
        self.policy = match origin {
            Origin::Configured => HeaderValue::from_static(interned(policy.as_str())),
            Origin::LookedUp => value(policy.as_str().as_bytes()),
        };
        self.responder.prepare(policies);
    }

    /// Whether a request passes uncounted.
    #[inline]
    pub(super) fn exempts(&self, head: &RequestHead<'_>) -> bool {
        self.exempt.as_ref().is_some_and(|rule| rule(head))
    }

    /// The decision on a request, if it takes no more than to look at the counts of this process.
    #[inline]
    pub(super) fn decide_here(&self, head: &RequestHead<'_>) -> Here {
        self.terms.decide_here(|| self.ask(head, None))
    }

    /// The decision on a request, or the way to it, which counts as `known` if that is known already; `None` without a
    /// limit.
    pub(super) fn decide(&self, head: &RequestHead<'_>, known: Option<Key>) -> Option<Deciding> {
        self.terms.decide(|| self.ask(head, known))
    }

    /// As whose a request counts, and for how much.
    #[inline]
    fn ask(&self, head: &RequestHead<'_>, known: Option<Key>) -> (Key, u32) {
        let by_rule = |rule: &RequestKey| rule.of(head, self.secret.as_ref());
        let key = known.or_else(|| self.key.as_ref().map(by_rule));
        let cost = self.cost.as_ref().map_or(1, |rule| rule(head));
        (key.unwrap_or(Key::EVERYONE), cost)
    }

    /// What of these a response needs to tell of its decisions, unless clients are told nothing.
    #[inline]
    pub(super) fn telling(&self) -> Option<Telling> {
        self.terms.tells().then(|| Telling {
            teller: self.terms.teller(),
            policy: self.policy.clone(),
        })
    }
}

impl Telling {
    /// Adds the headers that tell about `decisions` to those of our own denial, which may be the user's response with
    /// numbers of its own: these stay.
    pub(super) fn tell(&self, decisions: &Decisions, to: &mut HeaderMap) {
        self.standard(decisions, to);
        if let Some(ours) = self.teller.legacy(decisions)
            && ours.binds(remaining(to), || true)
        {
            legacy(ours, to);
        }
    }

    /// The same to those that layers inside have added to `response`.
    pub(super) fn tell_around<B>(&self, decisions: &Decisions, response: &mut Response<B>) {
        self.standard(decisions, response.headers_mut());
        let Some(ours) = self.teller.legacy(decisions) else {
            return;
        };
        let denied = || {
            let mark = response.extensions().get::<Denial>();
            headers::is_limits_denial(mark, answer_of(response))
        };
        if ours.binds(remaining(response.headers()), denied) {
            legacy(ours, response.headers_mut());
        }
    }

    fn standard(&self, decisions: &Decisions, to: &mut HeaderMap) {
        self.teller.standard(decisions, |limit| {
            to.append(RATE_LIMIT_POLICY, self.policy.clone());
            to.append(RATE_LIMIT, value(limit.as_bytes()));
        });
    }
}

/// What `headers` say already of what is left.
fn remaining(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get(X_RATE_LIMIT_REMAINING)
        .map(HeaderValue::as_bytes)
}

fn legacy(ours: Legacy, to: &mut HeaderMap) {
    to.insert(X_RATE_LIMIT_LIMIT, ours.limit.into());
    to.insert(X_RATE_LIMIT_REMAINING, ours.remaining.into());
    to.insert(X_RATE_LIMIT_RESET, ours.reset.into());
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

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("policy names and numbers are visible ASCII")
}

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static(headers::RATE_LIMIT_POLICY);
const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_LIMIT);
const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_REMAINING);
const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static(headers::X_RATE_LIMIT_RESET);
