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

/// A service behind a rate limit. Made by [`RateLimit`](crate::RateLimit), one for each worker and place.
#[derive(Debug)]
pub struct RateLimitService<S> {
    shared: Rc<Shared<S>>,
}

/// What the futures of one worker need of their service.
pub(super) struct Shared<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

impl<S> RateLimitService<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        let shared = Rc::new(Shared { inner, settings });
        Self { shared }
    }

    /// The service inside.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.shared.inner
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
        let Shared { inner, settings } = &*self.shared;
        match settings.decide(&request) {
            None => ResponseFuture::exempt(inner.call(request)),
            Some(Deciding::Now(admission)) => {
                ResponseFuture::enter(&self.shared, admission, request)
            }
            Some(Deciding::Later(later)) => {
                ResponseFuture::waiting(later, Rc::clone(&self.shared), request)
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
