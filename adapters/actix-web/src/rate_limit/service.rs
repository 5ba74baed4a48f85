//! The service: one decision a request, made in `call`.

use crate::rate_limit::middleware::Settings;
use crate::rate_limit::{ResponseBody, ResponseFuture};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidegate::limiter::Deciding;
use tidegate::limits::Seen;

/// A service behind a rate limit. Made by [`RateLimit`](crate::RateLimit), one for each worker and place.
#[derive(Debug)]
pub struct RateLimitService<S> {
    shared: Rc<Shared<S>>,
    /// What the limit of each route needs, if they differ.
    routes: Option<Seen<Rc<Shared<S>>>>,
}

/// What the futures of one worker need of their service.
pub(super) struct Shared<S> {
    pub(super) inner: Rc<S>,
    pub(super) settings: Arc<Settings>,
}

impl<S> RateLimitService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        let routes = settings.routes.clone().map(Seen::new);
        let inner = Rc::new(inner);
        let shared = Rc::new(Shared { inner, settings });
        Self { shared, routes }
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
        routes.find(method, pattern.as_deref(), |limiter| {
            Rc::new(Self {
                inner: Rc::clone(&self.inner),
                settings: Arc::new(self.settings.of(limiter.clone())),
            })
        })
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
        let of_route;
        let shared = match &self.routes {
            None => &self.shared,
            Some(routes) => match self.shared.find(routes, &request) {
                Some(own) => {
                    of_route = own;
                    &of_route
                }
                None => return ResponseFuture::exempt(self.shared.inner.call(request)),
            },
        };
        let Shared { inner, settings } = &**shared;
        match settings.decide(&request) {
            None => ResponseFuture::exempt(inner.call(request)),
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
