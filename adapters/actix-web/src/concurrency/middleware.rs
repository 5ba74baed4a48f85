//! The middleware: which guard, and what it does beside admitting.

use crate::concurrency::{ConcurrencyService, ResponseBody};
use crate::denied::Responder;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, HttpResponse};
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use tidegate::classify::{Classifier, Measure};
use tidegate::reject::Denial;
use tidegate::slot::OnFull;
use tidegate::{ConcurrencyGuard, Criticality};

/// Puts a [`ConcurrencyGuard`] in front of an app, a scope or a resource.
///
/// Cheap to clone. Clones, in all workers, share the guard's slots. The type has no parameters: it can be returned
/// from functions and kept in structs.
///
/// # Defaults
/// [`OnFull::Reject`], every request [`Criticality::Default`], none exempt, latency measured to the head, outcomes
/// as [`Classifier::server`] says, a [`Slot`](crate::Slot) for the handler, work cancelled at the fence, problem
/// documents as denials.
///
/// # Examples
/// ```
/// use actix_web::{App, web};
/// use tidegate_actix_web::Concurrency;
/// use tidegate_actix_web::concurrency::OnFull;
/// use tidegate_actix_web::tidegate::adaptive::LocalGuard;
///
/// let guard = LocalGuard::fixed(100);
/// let in_flight = Concurrency::new(guard.clone())
///     .on_full(OnFull::micro_queue())
///     .exempt(|request| request.path() == "/health");
/// let app = move || App::new().wrap(in_flight.clone()).route("/", web::get().to(|| async { "hello" }));
/// # let _ = app();
/// ```
#[derive(Clone, Debug)]
pub struct Concurrency {
    settings: Arc<Settings>,
}

type Rule<T> = Arc<dyn Fn(&ServiceRequest) -> T + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) guard: Arc<dyn ConcurrencyGuard>,
    pub(super) on_full: OnFull,
    pub(super) shadow: bool,
    criticality: Option<Rule<Criticality>>,
    exempt: Option<Rule<bool>>,
    pub(super) classifier: Classifier,
    pub(super) measure: Measure,
    pub(super) extensions: bool,
    pub(super) cancels: bool,
    pub(super) responder: Responder,
}

impl Concurrency {
    /// A middleware that asks `guard`. Keep a clone of the guard to read its statistics or to close it.
    #[must_use]
    pub fn new(guard: impl ConcurrencyGuard + 'static) -> Self {
        Self {
            settings: Arc::new(Settings {
                guard: Arc::new(guard),
                on_full: OnFull::default(),
                shadow: false,
                criticality: None,
                exempt: None,
                classifier: Classifier::server(),
                measure: Measure::default(),
                extensions: true,
                cancels: true,
                responder: Responder::default(),
            }),
        }
    }

    /// What becomes of requests that find no slot. [`OnFull::micro_queue`] is recommended.
    #[must_use]
    pub fn on_full(self, on_full: OnFull) -> Self {
        self.with(|settings| settings.on_full = on_full)
    }

    /// How much each request matters: less critical ones are refused first.
    #[must_use]
    pub fn criticality(
        self,
        rule: impl Fn(&ServiceRequest) -> Criticality + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.criticality = Some(Arc::new(rule)))
    }

    /// Requests that pass without a slot, such as health checks.
    #[must_use]
    pub fn exempt(self, rule: impl Fn(&ServiceRequest) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.exempt = Some(Arc::new(rule)))
    }

    /// Decides and counts, but lets everything pass: what would be refused runs without a slot.
    /// [`Slot::decision`](tidegate::Slot::decision) tells. Waiting is not tried out.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.with(|settings| settings.shadow = shadow)
    }

    /// When the latency sample ends. The slot is kept until the body ends in either case.
    #[must_use]
    pub fn measure(self, measure: Measure) -> Self {
        self.with(|settings| settings.measure = measure)
    }

    /// What answers say about the backend. In a gateway take [`Classifier::upstream`].
    #[must_use]
    pub fn classifier(self, classifier: Classifier) -> Self {
        self.with(|settings| settings.classifier = classifier)
    }

    /// Whether handlers get a [`Slot`](crate::Slot), and denials are marked in their extensions. Costs one allocation a
    /// request. Without it a handler cannot hold its slot beyond the response, and a guard around this one whose own
    /// are off too takes a denial for the backend's answer.
    #[must_use]
    pub fn extensions(self, extensions: bool) -> Self {
        self.with(|settings| settings.extensions = extensions)
    }

    /// Whether requests under way are cancelled when the lease on their slots runs out. Switch it off only for work
    /// that must not stop in the middle, and then bound its time in the guard's configuration.
    #[must_use]
    pub fn cancel_at_fence(self, cancel: bool) -> Self {
        self.with(|settings| settings.cancels = cancel)
    }

    /// The response to a refused request, in place of the problem document. gRPC calls are still refused with a
    /// gRPC status.
    #[must_use]
    pub fn denial(self, respond: impl Fn(&Denial) -> HttpResponse + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.responder = Responder::custom(respond))
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for Concurrency
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Transform = ConcurrencyService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let settings = Arc::clone(&self.settings);
        ready(Ok(ConcurrencyService::new(inner, settings)))
    }
}

impl Settings {
    #[inline]
    pub(super) fn is_exempt(&self, request: &ServiceRequest) -> bool {
        self.exempt.as_ref().is_some_and(|rule| rule(request))
    }

    #[inline]
    pub(super) fn class(&self, request: &ServiceRequest) -> Criticality {
        self.criticality
            .as_ref()
            .map_or_else(Criticality::default, |rule| rule(request))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("guard", &self.guard)
            .field("on_full", &self.on_full)
            .field("shadow", &self.shadow)
            .field("classifier", &self.classifier)
            .field("measure", &self.measure)
            .field("extensions", &self.extensions)
            .field("cancels", &self.cancels)
            .field("responder", &self.responder)
            .finish_non_exhaustive()
    }
}
