//! The response future: the service's answer with headers, or a denial.

use crate::classify::Answer;
use crate::decision::Decisions;
use crate::limiter::{Admission, Counting, Deciding};
use crate::reject::{Denial, Form};
use crate::slot::Slot;
use crate::tiers::Found;
use crate::tower::RequestHead;
use crate::tower::denial::Marking;
use crate::tower::rate_limit::ResponseBody;
use crate::tower::rate_limit::layer::{By, Settings};
use http::{HeaderValue, Request, Response};
use pin_project::pin_project;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// The response of a service behind a rate limit.
///
/// # Cancel safety
/// Dropping it leaves the line, if it waits in one, and drops the service's future. A look-up of the client goes on.
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[pin]
    state: State<S, B>,
}

#[pin_project(project = StateProject)]
enum State<S, B>
where
    S: Service<Request<B>>,
{
    /// Boxed, so that those who never wait do not move around the room for it.
    Finding(Box<Waiting<S, B, Found>>),
    Waiting(Box<Waiting<S, B, Admission>>),
    Running {
        #[pin]
        inner: S::Future,
        told: Option<(Decisions, Arc<Settings>)>,
        counting: Option<Box<Counting>>,
    },
    Denied(Option<Refusal>),
}

/// A request that waits for `T`, and the service that is ready for it.
struct Waiting<S, B, T> {
    later: Later<T>,
    settings: Arc<Settings>,
    next: Option<(S, Request<B>)>,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a denial is made of.
pub(super) struct Refusal {
    pub(super) decisions: Decisions,
    pub(super) form: Form,
    pub(super) marking: Marking,
    pub(super) settings: Arc<Settings>,
}

impl Refusal {
    #[inline]
    fn respond<B>(self) -> Response<ResponseBody<B>> {
        let denial =
            Denial::of(self.decisions.binding()).expect("the service refuses only what is denied");
        let mut response =
            self.settings
                .responder
                .respond(denial, self.form, self.marking, ResponseBody::denied);
        if self.settings.terms.tells() {
            self.settings.tell(&self.decisions, response.headers_mut());
        }
        response
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    /// Until it is known whose limit the request has.
    pub(super) fn finding(
        later: Later<Found>,
        service: S,
        settings: Arc<Settings>,
        request: Request<B>,
    ) -> Self {
        let state = State::Finding(Box::new(Waiting {
            later,
            settings,
            next: Some((service, request)),
        }));
        Self { state }
    }

    /// Until it is decided.
    pub(super) fn waiting(
        later: Later<Admission>,
        service: S,
        settings: Arc<Settings>,
        request: Request<B>,
    ) -> Self {
        let state = State::Waiting(Box::new(Waiting {
            later,
            settings,
            next: Some((service, request)),
        }));
        Self { state }
    }

    /// Goes on with whose limit it is: asks it.
    fn found(mut service: S, all: &Arc<Settings>, found: &Found, request: Request<B>) -> Self {
        let Some(By::Tier(tiered)) = &all.by else {
            unreachable!("only who has a tier is looked up")
        };
        let (settings, deciding) = tiered.decide(all, found, &RequestHead::of(&request));
        match deciding {
            Deciding::Now(admission) => Self::enter(&mut service, &settings, admission, request),
            Deciding::Later(later) => Self::waiting(later, service, settings, request),
        }
    }

    /// With nothing `told`, says nothing about the limit.
    #[inline(always)]
    pub(super) fn running(
        inner: S::Future,
        told: Option<(Decisions, Arc<Settings>)>,
        counting: Option<Box<Counting>>,
    ) -> Self {
        let state = State::Running {
            inner,
            told,
            counting,
        };
        Self { state }
    }

    /// Goes on with what was decided: asks the service, or denies.
    #[inline(always)]
    pub(super) fn enter(
        service: &mut S,
        settings: &Arc<Settings>,
        admission: Admission,
        mut request: Request<B>,
    ) -> Self {
        let Admission {
            decisions,
            counting,
        } = admission;
        if !settings.terms.lets_pass(&decisions) {
            let head = RequestHead::of(&request);
            let state = State::Denied(Some(Refusal {
                decisions,
                form: head.form(),
                marking: Marking::of(settings.terms.extensions, &head),
                settings: Arc::clone(settings),
            }));
            return Self { state };
        }
        if settings.terms.extensions {
            let slot = Slot::rated(*decisions.binding(), request.extensions().get::<Slot>());
            request.extensions_mut().insert(slot);
        }
        // Before there is a future to move: nothing then stands between its making and its place.
        let told = settings
            .terms
            .tells()
            .then(|| (decisions, Arc::clone(settings)));
        Self::running(service.call(request), told, counting)
    }
}

impl<S, B, Res> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<Res>>,
{
    type Output = Result<Response<ResponseBody<Res>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            return Poll::Ready(match this.state.as_mut().project() {
                StateProject::Finding(waiting) => {
                    let found = ready!(waiting.later.as_mut().poll(cx));
                    let (service, request) = waiting.next.take().expect("it is found once");
                    let all = Arc::clone(&waiting.settings);
                    let decided = Self::found(service, &all, &found, request);
                    this.state.set(decided.state);
                    continue;
                }
                StateProject::Waiting(waiting) => {
                    let admission = ready!(waiting.later.as_mut().poll(cx));
                    let (mut service, request) = waiting.next.take().expect("a turn comes once");
                    let settings = Arc::clone(&waiting.settings);
                    let entered = Self::enter(&mut service, &settings, admission, request);
                    this.state.set(entered.state);
                    continue;
                }
                StateProject::Running {
                    inner,
                    told,
                    counting,
                } => {
                    let answer = ready!(inner.poll(cx));
                    if let Some(counting) = counting.take() {
                        let stands = settle(*counting, answer.as_ref().ok());
                        if let Some((decisions, _)) = told {
                            *decisions = stands;
                        }
                    }
                    let mut response = answer?;
                    if let Some((decisions, settings)) = told {
                        settings.tell(decisions, response.headers_mut());
                    }
                    Ok(response.map(ResponseBody::inner))
                }
                StateProject::Denied(refusal) => Ok(refusal
                    .take()
                    .expect("a future is not polled after its end")
                    .respond()),
            });
        }
    }
}

/// Counts a request by its answer; an error has none.
#[cold]
fn settle<B>(counting: Counting, response: Option<&Response<B>>) -> Decisions {
    let Some(response) = response else {
        return counting.answered(Answer::Error, false);
    };
    let header = |name: &str| response.headers().get(name).map(HeaderValue::as_bytes);
    let status = response.status().as_u16();
    let answer = Answer::of_head(status, header("content-type"), header("grpc-status"));
    counting.answered(answer, response.extensions().get::<Denial>().is_some())
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
