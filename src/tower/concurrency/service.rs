//! The service: one decision a request, made in `call`.

use crate::permit::{Lease, Queueing};
use crate::slot::{Admission, Carrier, OnFull, Slot};
use crate::tower::RequestHead;
use crate::tower::concurrency::future::{Asked, Waiting};
use crate::tower::concurrency::layer::{Enforcement, Settings};
use crate::tower::concurrency::{ResponseBody, ResponseFuture};
use crate::tower::denial::Marking;
use http::{Extensions, Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

/// A service behind a guard. Made by [`ConcurrencyLayer`](crate::tower::ConcurrencyLayer).
#[derive(Clone, Debug)]
pub struct Concurrency<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Concurrency<S> {
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

impl<S, Req, Res> Service<Request<Req>> for Concurrency<S>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
    Res: http_body::Body,
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
        // Cloned before there is a future to move: nothing then stands between its making and its place.
        let settings = Arc::clone(&self.settings);
        let head = RequestHead::of(&request);
        let asked = Asked::of(&head);
        if settings.is_exempt(&head) {
            let inner = pass(&mut self.inner, &settings, request, Admission::Exempt);
            return ResponseFuture::running(inner, Carrier::empty(), settings, asked);
        }
        let class = settings.class(&head);
        let asked_for = match (settings.enforcement, settings.on_full) {
            (Enforcement::Enforce, OnFull::Wait(max)) => {
                Ok(Queueing::Waits(settings.guard.acquire(class, max)))
            }
            (Enforcement::Enforce, OnFull::MicroQueue(max)) => {
                Ok(settings.guard.acquire_or_queue(class, max))
            }
            (Enforcement::Shadow, _) | (Enforcement::Enforce, OnFull::Reject) => {
                settings.guard.try_acquire(class).map(Queueing::Admitted)
            }
        };
        match asked_for {
            Ok(Queueing::Admitted(lease)) => {
                let carrier = admit(lease, &settings, &mut request);
                ResponseFuture::running(self.inner.call(request), carrier, settings, asked)
            }
            Ok(Queueing::Waits(acquire)) => {
                // The service that is ready waits; the clone left behind asks again.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                let waiting = Waiting::new(acquire, ready, request);
                ResponseFuture::waiting(waiting, settings, asked)
            }
            Err(shed) => match settings.enforcement {
                Enforcement::Enforce => {
                    let marking = Marking::of(settings.extensions, &head);
                    ResponseFuture::denied(shed, marking, settings, asked)
                }
                Enforcement::Shadow => {
                    let inner = pass(
                        &mut self.inner,
                        &settings,
                        request,
                        Admission::Shadowed(shed),
                    );
                    ResponseFuture::running(inner, Carrier::empty(), settings, asked)
                }
            },
        }
    }
}

/// A lease on its way, shown to the handler unless extensions are off.
#[inline]
pub(super) fn admit<B>(lease: Lease, settings: &Settings, request: &mut Request<B>) -> Carrier {
    if settings.extensions {
        show(lease, request.extensions_mut())
    } else {
        Carrier::new(lease)
    }
}

fn show(lease: Lease, extensions: &mut Extensions) -> Carrier {
    let mut carrier = Carrier::new(lease);
    let slot = carrier.slot(extensions.get::<Slot>());
    extensions.insert(slot);
    carrier
}

/// Calls the service without a lease.
fn pass<S, B>(
    inner: &mut S,
    settings: &Settings,
    mut request: Request<B>,
    admission: Admission,
) -> S::Future
where
    S: Service<Request<B>>,
{
    if settings.extensions {
        let slot = Slot::without_lease(admission, request.extensions().get::<Slot>());
        request.extensions_mut().insert(slot);
    }
    inner.call(request)
}
