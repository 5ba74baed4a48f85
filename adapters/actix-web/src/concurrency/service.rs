//! The service: one decision a request, made in `call`.

use crate::concurrency::middleware::Settings;
use crate::concurrency::{ResponseBody, ResponseFuture};
use crate::denied::Marking;
use crate::request::form;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::{Error, HttpMessage};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidegate::permit::Queueing;
use tidegate::reject::Denial;
use tidegate::slot::{Admission, Carrier, OnFull};
use tidegate::{Lease, Shed, Slot};

/// A service behind a guard. Made by [`Concurrency`](crate::Concurrency), one for each worker and place.
#[derive(Debug)]
pub struct ConcurrencyService<S> {
    shared: Rc<Shared<S>>,
}

/// What the futures of one worker need of their service.
pub(super) struct Shared<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

impl<S> ConcurrencyService<S> {
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

impl<S, B> Service<ServiceRequest> for ConcurrencyService<S>
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

    #[inline]
    fn call(&self, request: ServiceRequest) -> Self::Future {
        let settings = &*self.shared.settings;
        if settings.is_exempt(&request) {
            return self.pass(request, Admission::Exempt);
        }
        let class = settings.class(&request);
        let asked_for = match settings.on_full {
            OnFull::Wait(most) if !settings.shadow => {
                Ok(Queueing::Waits(settings.guard.acquire(class, most)))
            }
            OnFull::MicroQueue(most) if !settings.shadow => {
                Ok(settings.guard.acquire_or_queue(class, most))
            }
            _ => settings.guard.try_acquire(class).map(Queueing::Admitted),
        };
        match asked_for {
            Ok(Queueing::Admitted(lease)) => {
                let carrier = admit(lease, settings, &request);
                self.run(request, carrier)
            }
            Ok(Queueing::Waits(acquire)) => ResponseFuture::waiting(acquire, request, &self.shared),
            Err(shed) if settings.shadow => self.pass(request, Admission::Shadowed(shed)),
            Err(shed) => ResponseFuture::denied(refuse(shed, settings, request), &self.shared),
        }
    }
}

impl<S: Service<ServiceRequest>> ConcurrencyService<S> {
    #[inline]
    fn run(&self, request: ServiceRequest, carrier: Carrier) -> ResponseFuture<S> {
        let form = form(&request);
        let inner = self.shared.inner.call(request);
        ResponseFuture::running(inner, carrier, form, &self.shared)
    }

    /// Runs the request without a lease.
    fn pass(&self, request: ServiceRequest, admission: Admission) -> ResponseFuture<S> {
        if self.shared.settings.extensions {
            show(&request, |outer| Slot::without_lease(admission, outer));
        }
        self.run(request, Carrier::empty())
    }
}

/// A lease on its way, shown to the handler unless extensions are off.
#[inline]
pub(super) fn admit(lease: Lease, settings: &Settings, request: &ServiceRequest) -> Carrier {
    let mut carrier = Carrier::new(lease);
    if settings.extensions {
        show(request, |outer| carrier.slot(outer));
    }
    carrier
}

/// The answer to a request that got no slot.
pub(super) fn refuse(shed: Shed, settings: &Settings, request: ServiceRequest) -> ServiceResponse {
    let marking = Marking::of(settings.extensions, &request);
    let denial = Denial::overload(shed);
    let response = settings.responder.respond(denial, form(&request), marking);
    request.into_response(response)
}

/// Puts the slot that `make` makes of the one of the middleware around into the request.
fn show(request: &ServiceRequest, make: impl FnOnce(Option<&Slot>) -> Slot) {
    let mut extensions = request.extensions_mut();
    let slot = make(extensions.get());
    extensions.insert(slot);
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
