//! The service: one decision a request, made in `call`.

use crate::slot::Slot;
use crate::tower::RequestHead;
use crate::tower::denial::Marking;
use crate::tower::rate_limit::future::Refusal;
use crate::tower::rate_limit::layer::Settings;
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
    S: Service<Request<Req>, Response = Response<Res>>,
{
    type Response = Response<ResponseBody<Res>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        let settings = &self.settings;
        let head = RequestHead::of(&request);
        let Some((decisions, counting)) = settings.decide(&head) else {
            return ResponseFuture::running(self.inner.call(request), None, None);
        };
        if !decisions.is_allowed() && !settings.shadow {
            return ResponseFuture::denied(Refusal {
                decisions,
                form: head.form(),
                marking: Marking::of(settings.extensions, &head),
                settings: Arc::clone(settings),
            });
        }
        if settings.extensions {
            let slot = Slot::rated(*decisions.binding(), request.extensions().get::<Slot>());
            request.extensions_mut().insert(slot);
        }
        // Before there is a future to move: nothing then stands between its making and its place.
        let told = settings.tells().then(|| (decisions, Arc::clone(settings)));
        ResponseFuture::running(self.inner.call(request), told, counting)
    }
}
