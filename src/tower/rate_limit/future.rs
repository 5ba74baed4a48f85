//! The response future: the service's answer with headers, or a denial.

use crate::classify::Answer;
use crate::decision::Decisions;
use crate::limiter::{Admission, Counting, Deciding};
use crate::reject::{Denial, Form};
use crate::slot::Slot;
use crate::tiers::Found;
use crate::tower::RequestHead;
use crate::tower::denial::{Marking, problem};
use crate::tower::rate_limit::ResponseBody;
use crate::tower::rate_limit::layer::{By, Settings, Telling};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
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
        told: Told,
        counting: Option<Box<Counting>>,
    },
    Denied(Refusal),
}

/// What clients are told; none if nothing.
pub(super) type Told = Option<(Decisions, Telling)>;

/// A request that waits for `T`, and the service that is ready for it.
struct Waiting<S, B, T> {
    later: Later<T>,
    settings: Arc<Settings>,
    next: Option<(S, Request<B>)>,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a denial is made of.
pub(super) enum Refusal {
    /// A document that is ready, and no more: so nobody holds the settings for it, whose holders all threads count.
    Problem {
        denial: Denial,
        text: &'static str,
        marking: Marking,
    },
    Other {
        decisions: Decisions,
        denial: Denial,
        form: Form,
        marking: Marking,
        settings: Arc<Settings>,
    },
}

impl Refusal {
    #[inline]
    fn respond<B>(&self) -> Response<ResponseBody<B>> {
        match self {
            Self::Problem {
                denial,
                text,
                marking,
            } => {
                let body = ResponseBody::denied(Bytes::from_static(text.as_bytes()));
                problem(*denial, *marking, |_| {}, body)
            }
            Self::Other {
                decisions,
                denial,
                form,
                marking,
                settings,
            } => {
                let tell = |headers: &mut HeaderMap| {
                    if let Some(telling) = settings.telling() {
                        telling.tell(decisions, headers);
                    }
                };
                let responder = &settings.responder;
                responder.respond(*denial, *form, *marking, tell, ResponseBody::denied)
            }
        }
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
    pub(super) fn running(inner: S::Future, told: Told, counting: Option<Box<Counting>>) -> Self {
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
        match admit(settings, admission.decisions, &mut request) {
            Ok(told) => Self::running(service.call(request), told, admission.counting),
            Err(refusal) => Self::denied(refusal),
        }
    }

    #[inline(always)]
    pub(super) const fn denied(refusal: Refusal) -> Self {
        Self {
            state: State::Denied(refusal),
        }
    }
}

/// What was decided, put into effect on `request`: what is told with its answer, or what a denial is made of.
// Before there is a future to move: nothing then stands between its making and its place.
#[inline]
pub(super) fn admit<B>(
    settings: &Arc<Settings>,
    decisions: Decisions,
    request: &mut Request<B>,
) -> Result<Told, Refusal> {
    if !settings.terms.lets_pass(&decisions) {
        return Err(refuse(settings, decisions, &RequestHead::of(request)));
    }
    if settings.terms.extensions {
        let slot = Slot::rated(*decisions.binding(), request.extensions().get::<Slot>());
        request.extensions_mut().insert(slot);
    }
    Ok(settings.telling().map(|telling| (decisions, telling)))
}

#[inline]
fn refuse(settings: &Arc<Settings>, decisions: Decisions, head: &RequestHead<'_>) -> Refusal {
    let denial = Denial::of(decisions.binding()).expect("only what is denied is refused");
    let (form, marking) = (head.form(), Marking::of(settings.terms.extensions, head));
    match settings.responder.ready(&denial, form) {
        Some(text) if !settings.terms.tells() => Refusal::Problem {
            denial,
            text,
            marking,
        },
        _ => Refusal::Other {
            decisions,
            denial,
            form,
            marking,
            settings: Arc::clone(settings),
        },
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
            match this.state.as_mut().project() {
                StateProject::Finding(waiting) => {
                    let found = ready!(waiting.later.as_mut().poll(cx));
                    let (service, request) = waiting.next.take().expect("it is found once");
                    let all = Arc::clone(&waiting.settings);
                    let decided = Self::found(service, &all, &found, request);
                    this.state.set(decided.state);
                }
                StateProject::Waiting(waiting) => {
                    let admission = ready!(waiting.later.as_mut().poll(cx));
                    let (mut service, request) = waiting.next.take().expect("a turn comes once");
                    let settings = Arc::clone(&waiting.settings);
                    let entered = Self::enter(&mut service, &settings, admission, request);
                    this.state.set(entered.state);
                }
                StateProject::Running {
                    inner,
                    told,
                    counting,
                } => {
                    // Each answer goes from where it comes to where it stays.
                    return match inner.poll(cx) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(Err(error)) => {
                            settle::<Res>(counting, told, None);
                            Poll::Ready(Err(error))
                        }
                        Poll::Ready(Ok(mut response)) => {
                            settle(counting, told, Some(&response));
                            if let Some((decisions, telling)) = told {
                                telling.tell_around(decisions, &mut response);
                            }
                            Poll::Ready(Ok(response.map(ResponseBody::inner)))
                        }
                    };
                }
                StateProject::Denied(refusal) => return Poll::Ready(Ok(refusal.respond())),
            }
        }
    }
}

/// Counts a request by its answer, if that is how it counts, and tells how things stand then.
#[inline]
fn settle<B>(
    counting: &mut Option<Box<Counting>>,
    told: &mut Told,
    response: Option<&Response<B>>,
) {
    if let Some(counting) = counting.take() {
        let stands = count(*counting, response);
        if let Some((decisions, _)) = told {
            *decisions = stands;
        }
    }
}

/// Counts a request by its answer; an error has none.
#[cold]
fn count<B>(counting: Counting, response: Option<&Response<B>>) -> Decisions {
    let Some(response) = response else {
        return counting.answered(Answer::Error, false);
    };
    let ours = response.extensions().get::<Denial>().is_some();
    counting.answered(answer_of(response), ours)
}

/// What the head of a response answers.
pub(super) fn answer_of<B>(response: &Response<B>) -> Answer {
    let header = |name: &str| response.headers().get(name).map(HeaderValue::as_bytes);
    let status = response.status().as_u16();
    Answer::of_head(status, header("content-type"), header("grpc-status"))
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
