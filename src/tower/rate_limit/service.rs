//! The service: one decision a request, made in `call`.

use crate::limiter::{Deciding, Here};
use crate::tiers::Finding;
use crate::tower::RequestHead;
use crate::tower::rate_limit::future::admit;
use crate::tower::rate_limit::layer::{By, Settings};
use crate::tower::rate_limit::{ResponseBody, ResponseFuture};
use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A service behind a rate limit. Made by [`RateLimitLayer`](crate::tower::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> RateLimit<S> {
    pub(super) const fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req, Res> Service<Request<Req>> for RateLimit<S>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
{
    type Response = Response<ResponseBody<Res>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        let head = RequestHead::of(&request);
        let told = if self.settings.exempts(&head) {
            None
        } else {
            match self.settings.decide_here(&head) {
                Here::Passes => None,
                Here::Decided(decisions) => match admit(&self.settings, decisions, &mut request) {
                    Ok(told) => told,
                    Err(refusal) => return ResponseFuture::denied(refusal),
                },
                Here::Elsewhere => return self.call_otherwise(request),
            }
        };
        ResponseFuture::running(self.inner.call(request), told, None)
    }
}

impl<S> RateLimit<S> {
    /// Goes on with a request whose limit is to be found, or to be asked elsewhere. Out of line, so that others do not
    /// make room for it.
    #[inline(never)]
    fn call_otherwise<Req, Res>(&mut self, request: Request<Req>) -> ResponseFuture<S, Req>
    where
        S: Service<Request<Req>, Response = Response<Res>> + Clone,
    {
        let head = RequestHead::of(&request);
        let own;
        let (settings, deciding) = match &self.settings.by {
            None => (&self.settings, self.settings.decide(&head, None)),
            Some(By::Route(routes)) => match routes.find(&self.settings, &head) {
                None => (&self.settings, None),
                Some(of_route) => {
                    own = of_route;
                    (&own, own.decide(&head, None))
                }
            },
            Some(By::Tier(tiered)) => match tiered.find(&head) {
                Finding::Now(found) => {
                    let decided = tiered.decide(&self.settings, &found, &head);
                    own = decided.0;
                    (&own, Some(decided.1))
                }
                Finding::Later(later) => {
                    let settings = Arc::clone(&self.settings);
                    return ResponseFuture::finding(later, self.take_ready(), settings, request);
                }
            },
        };
        match deciding {
            None => ResponseFuture::running(self.inner.call(request), None, None),
            Some(Deciding::Now(admission)) => {
                ResponseFuture::enter(&mut self.inner, settings, admission, request)
            }
            Some(Deciding::Later(later)) => {
                let settings = Arc::clone(settings);
                ResponseFuture::waiting(later, self.take_ready(), settings, request)
            }
        }
    }
}

impl<S: Clone> RateLimit<S> {
    /// The service that is ready, for a request that waits; the clone left behind asks again.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}
