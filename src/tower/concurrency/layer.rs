//! The layer: which guard, and what it does beside admitting.

use crate::classify::{Classifier, Measure};
use crate::criticality::Criticality;
use crate::observe;
use crate::permit::ConcurrencyGuard;
use crate::reject::Denial;
use crate::slot::OnFull;
use crate::tower::RequestHead;
use crate::tower::concurrency::Concurrency;
use crate::tower::denial::Responder;
use bytes::Bytes;
use http::Response;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower_layer::Layer;

/// Puts a [`ConcurrencyGuard`] in front of a service.
///
/// Cheap to clone. Clones, and all the services they wrap, share the guard's slots. The type has no parameters: it
/// can be returned from functions and kept in structs.
///
/// # Defaults
/// [`OnFull::Reject`], every request [`Criticality::Default`], none exempt, latency measured to the head, outcomes
/// as [`Classifier::server`] says, a [`Slot`](crate::Slot) in the request's extensions, work cancelled at the fence,
/// problem documents as denials.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer {
    settings: Arc<Settings>,
}

type Rule<T> = Arc<dyn Fn(&RequestHead<'_>) -> T + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) guard: Arc<dyn ConcurrencyGuard>,
    pub(super) on_full: OnFull,
    pub(super) enforcement: Enforcement,
    pub(super) criticality: Option<Rule<Criticality>>,
    pub(super) exempt: Option<Rule<bool>>,
    pub(super) classifier: Classifier,
    pub(super) measure: Measure,
    pub(super) extensions: bool,
    pub(super) cancels: bool,
    pub(super) responder: Responder,
    unheld: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enforcement {
    Enforce,
    Shadow,
}

impl ConcurrencyLayer {
    /// A layer that asks `guard`. Keep a clone of the guard to read its statistics or to close it.
    #[must_use]
    pub fn new(guard: impl ConcurrencyGuard + 'static) -> Self {
        Self {
            settings: Arc::new(Settings {
                guard: Arc::new(guard),
                on_full: OnFull::default(),
                enforcement: Enforcement::Enforce,
                criticality: None,
                exempt: None,
                classifier: Classifier::server(),
                measure: Measure::default(),
                extensions: true,
                cancels: true,
                responder: Responder::default(),
                unheld: Arc::default(),
            }),
        }
    }

    /// What becomes of requests that find no slot. Servers that run on tokio do well with [`OnFull::micro_queue`].
    #[must_use]
    pub fn on_full(self, on_full: OnFull) -> Self {
        self.with(|settings| settings.on_full = on_full)
    }

    /// How much each request matters: less critical ones are refused first.
    #[must_use]
    pub fn criticality(
        self,
        rule: impl Fn(&RequestHead<'_>) -> Criticality + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.criticality = Some(Arc::new(rule)))
    }

    /// Requests that pass without a slot, such as health checks.
    #[must_use]
    pub fn exempt(self, rule: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.exempt = Some(Arc::new(rule)))
    }

    /// Decides and counts, but lets everything pass: what would be refused runs without a slot.
    /// [`Slot::decision`](crate::Slot::decision) tells. Waiting is not tried out.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.with(|settings| {
            settings.enforcement = if shadow {
                Enforcement::Shadow
            } else {
                Enforcement::Enforce
            };
        })
    }

    /// When the latency sample ends. The slot is kept until the body ends in either case.
    #[must_use]
    pub fn measure(self, measure: Measure) -> Self {
        self.with(|settings| settings.measure = measure)
    }

    /// What answers say about the backend. Around a client take [`Classifier::upstream`].
    #[must_use]
    pub fn classifier(self, classifier: Classifier) -> Self {
        self.with(|settings| settings.classifier = classifier)
    }

    /// Whether requests get a [`Slot`](crate::Slot) in their extensions, and denials are marked in theirs. Costs one
    /// allocation a request. Without it a handler cannot hold its slot beyond the response, and a guard around this
    /// layer whose own are off too takes a denial for the backend's answer.
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
    pub fn denial(
        self,
        respond: impl Fn(&Denial) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.responder = Responder::custom(respond))
    }

    /// Upgraded connections so far whose slot nobody held: they ran without one.
    #[must_use]
    pub fn unheld_upgrades(&self) -> u64 {
        self.settings.unheld.load(Ordering::Relaxed)
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency::new(inner, Arc::clone(&self.settings))
    }
}

impl Settings {
    #[inline]
    pub(super) fn is_exempt(&self, head: &RequestHead<'_>) -> bool {
        self.exempt.as_ref().is_some_and(|rule| rule(head))
    }

    #[inline]
    pub(super) fn class(&self, head: &RequestHead<'_>) -> Criticality {
        self.criticality
            .as_ref()
            .map_or_else(Criticality::default, |rule| rule(head))
    }

    /// Counts an upgrade that runs without a slot.
    #[cold]
    pub(super) fn upgraded_unheld(&self) {
        if self.unheld.fetch_add(1, Ordering::Relaxed) == 0 {
            observe::upgraded_unheld();
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("guard", &self.guard)
            .field("on_full", &self.on_full)
            .field("enforcement", &self.enforcement)
            .field("classifier", &self.classifier)
            .field("measure", &self.measure)
            .field("extensions", &self.extensions)
            .field("cancels", &self.cancels)
            .field("responder", &self.responder)
            .finish_non_exhaustive()
    }
}
