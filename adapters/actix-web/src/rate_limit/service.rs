//! The service: one decision a request, made in `call`.

use crate::rate_limit::middleware::{By, Identity, Settings};
use crate::rate_limit::{ResponseBody, ResponseFuture};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidegate::limiter::{Admission, AnyLimiter, Deciding, Here};
use tidegate::limits::Seen;
use tidegate::tiers::{Finding, Found, SeenTiers};

/// A service behind a rate limit. Made by [`RateLimit`](crate::RateLimit), one for each worker and place.
#[derive(Debug)]
pub struct RateLimitService<S> {
    shared: Rc<Shared<S>>,
    /// If requests have limits of their own.
    by: Option<ByLimit<S>>,
}

/// What the futures of one worker need of their service.
pub(super) struct Shared<S> {
    pub(super) inner: Rc<S>,
    pub(super) settings: Arc<Settings>,
}

/// What each limit needs.
#[derive(Debug)]
enum ByLimit<S> {
    Route(Seen<Rc<Shared<S>>>),
    Tier(Rc<Tiered<S>>),
}

/// Where the limits of clients are, who they are, and what each limit needs.
pub(super) struct Tiered<S> {
    seen: SeenTiers<Rc<Shared<S>>>,
    identity: Arc<Identity>,
}

impl<S> RateLimitService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        let by = settings.by.as_ref().map(|by| match by {
            By::Route(limits) => ByLimit::Route(Seen::new(limits.clone())),
            By::Tier(tiers, identity) => ByLimit::Tier(Rc::new(Tiered {
                seen: SeenTiers::new(tiers.clone()),
                identity: Arc::clone(identity),
            })),
        });
        let inner = Rc::new(inner);
        let shared = Rc::new(Shared { inner, settings });
        Self { shared, by }
    }

    /// The service inside.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.shared.inner
    }
}

impl<S> Shared<S> {
    /// What the limit of a request's route needs, unless it has none.
    fn find(&self, routes: &Seen<Rc<Self>>, request: &ServiceRequest) -> Option<Rc<Self>> {
        let pattern = request.match_pattern();
        let method = request.method().as_str();
        routes.find(method, pattern.as_deref(), |limiter| self.of(limiter))
    }

    /// What one limit needs.
    fn of(&self, limiter: &AnyLimiter) -> Rc<Self> {
        Rc::new(Self {
            inner: Rc::clone(&self.inner),
            settings: Arc::new(self.settings.of(limiter.clone())),
        })
    }
}

impl<S> Tiered<S> {
    /// Whose limit a request has, or the way to it.
    #[inline]
    fn find(&self, request: &ServiceRequest) -> Finding {
        match (self.identity)(request) {
            Some(identity) => self.seen.tiers().find(&identity),
            None => Finding::Now(Found::STRANGER),
        }
    }

    /// The decision on a request by the limit that was found, or the way to it, and what that limit needs; `all` is what
    /// the service has.
    pub(super) fn decide(
        &self,
        all: &Rc<Shared<S>>,
        found: &Found,
        request: &ServiceRequest,
    ) -> (Rc<Shared<S>>, Deciding) {
        let own = self.seen.of(found, |limiter| all.of(limiter));
        let deciding = own
            .as_ref()
            .and_then(|own| own.settings.decide(request, found.key()));
        (
            own.unwrap_or_else(|| Rc::clone(all)),
            deciding.unwrap_or_else(|| Deciding::Now(Admission::unavailable())),
        )
    }
}

impl<S, B> Service<ServiceRequest> for RateLimitService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    #[inline]
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let shared = &self.shared;
        if shared.settings.exempts(&request) {
            return ResponseFuture::untold(shared.inner.call(request));
        }
        match shared.settings.decide_here(&request) {
            Here::Passes => ResponseFuture::untold(shared.inner.call(request)),
            Here::Decided(decisions) => ResponseFuture::enter(shared, decisions.into(), request),
            Here::Elsewhere => self.call_otherwise(request),
        }
    }
}

impl<S> RateLimitService<S> {
    /// Goes on with a request whose limit is to be found, or to be asked elsewhere. Out of line, so that others do not
    /// make room for it.
    #[inline(never)]
    fn call_otherwise<B>(&self, request: ServiceRequest) -> ResponseFuture<S>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody,
    {
        let shared = &self.shared;
        let own;
        let (shared, deciding) = match &self.by {
            None => (shared, shared.settings.decide(&request, None)),
            Some(ByLimit::Route(routes)) => match shared.find(routes, &request) {
                None => (shared, None),
                Some(of_route) => {
                    own = of_route;
                    (&own, own.settings.decide(&request, None))
                }
            },
            Some(ByLimit::Tier(tiered)) => match tiered.find(&request) {
                Finding::Now(found) => {
                    let decided = tiered.decide(shared, &found, &request);
                    own = decided.0;
                    (&own, Some(decided.1))
                }
                Finding::Later(later) => {
                    let (tiered, shared) = (Rc::clone(tiered), Rc::clone(shared));
                    return ResponseFuture::finding(later, tiered, shared, request);
                }
            },
        };
        match deciding {
            None => ResponseFuture::untold(shared.inner.call(request)),
            Some(Deciding::Now(admission)) => ResponseFuture::enter(shared, admission, request),
            Some(Deciding::Later(later)) => {
                ResponseFuture::waiting(later, Rc::clone(shared), request)
            }
        }
    }
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Tiered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tiered").field(&self.seen).finish()
    }
}
