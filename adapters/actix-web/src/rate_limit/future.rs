//! The response future: the service's answer with headers, or a denial.

use crate::denied::Marking;
use crate::rate_limit::ResponseBody;
use crate::rate_limit::service::{Shared, Tiered};
use crate::request::form;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::{Error, HttpMessage, HttpResponse};
use pin_project::pin_project;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tidegate::Slot;
use tidegate::classify::Answer;
use tidegate::decision::Decisions;
use tidegate::limiter::{Admission, Counting, Deciding};
use tidegate::reject::Denial;
use tidegate::tiers::Found;

/// The response of a service behind a rate limit.
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    #[pin]
    state: State<S>,
}

#[pin_project(project = StateProject)]
enum State<S>
where
    S: Service<ServiceRequest>,
{
    /// Boxed, so that those who never wait do not move around the room for it.
    Finding(Box<Waiting<S, Found>>, Rc<Tiered<S>>),
    Waiting(Box<Waiting<S, Admission>>),
    Running {
        #[pin]
        inner: S::Future,
        told: Option<(Decisions, Rc<Shared<S>>)>,
        counting: Option<Box<Counting>>,
    },
    Denied(Option<ServiceResponse>),
}

/// A request that waits for `T`.
struct Waiting<S, T> {
    later: Later<T>,
    shared: Rc<Shared<S>>,
    request: Option<ServiceRequest>,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S> ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    /// Says nothing about the limit.
    #[inline]
    pub(super) const fn untold(inner: S::Future) -> Self {
        let state = State::Running {
            inner,
            told: None,
            counting: None,
        };
        Self { state }
    }

    /// Until it is known whose limit the request has.
    pub(super) fn finding(
        later: Later<Found>,
        tiered: Rc<Tiered<S>>,
        shared: Rc<Shared<S>>,
        request: ServiceRequest,
    ) -> Self {
        let waiting = Waiting {
            later,
            shared,
            request: Some(request),
        };
        let state = State::Finding(Box::new(waiting), tiered);
        Self { state }
    }

    /// Until it is decided.
    pub(super) fn waiting(
        later: Later<Admission>,
        shared: Rc<Shared<S>>,
        request: ServiceRequest,
    ) -> Self {
        let state = State::Waiting(Box::new(Waiting {
            later,
            shared,
            request: Some(request),
        }));
        Self { state }
    }

    /// Goes on with what was decided: asks the service, or denies.
    #[inline]
    pub(super) fn enter(
        shared: &Rc<Shared<S>>,
        admission: Admission,
        request: ServiceRequest,
    ) -> Self {
        let Shared { inner, settings } = &**shared;
        let Admission {
            decisions,
            counting,
        } = admission;
        if !settings.terms.lets_pass(&decisions)
            && let Some(denial) = Denial::of(decisions.binding())
        {
            let marking = Marking::of(settings.terms.extensions, &request);
            let mut response = settings.responder.respond(denial, form(&request), marking);
            if settings.terms.tells() {
                settings.tell(&decisions, &mut response);
            }
            let state = State::Denied(Some(request.into_response(response)));
            return Self { state };
        }
        if settings.terms.extensions {
            let mut extensions = request.extensions_mut();
            let slot = Slot::rated(*decisions.binding(), extensions.get());
            extensions.insert(slot);
        }
        let told = settings
            .terms
            .tells()
            .then(|| (decisions, Rc::clone(shared)));
        let state = State::Running {
            inner: inner.call(request),
            told,
            counting,
        };
        Self { state }
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<ResponseBody<B>>, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Finding(waiting, tiered) => {
                    let found = ready!(waiting.later.as_mut().poll(cx));
                    let request = waiting.request.take().expect("it is found once");
                    let (shared, deciding) = tiered.decide(&waiting.shared, &found, &request);
                    let decided = match deciding {
                        Deciding::Now(admission) => Self::enter(&shared, admission, request),
                        Deciding::Later(later) => Self::waiting(later, shared, request),
                    };
                    this.state.set(decided.state);
                }
                StateProject::Waiting(waiting) => {
                    let admission = ready!(waiting.later.as_mut().poll(cx));
                    let request = waiting.request.take().expect("a turn comes once");
                    let shared = Rc::clone(&waiting.shared);
                    this.state
                        .set(Self::enter(&shared, admission, request).state);
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
                            settle::<B, _>(counting, told, Err(&error));
                            Poll::Ready(Err(error))
                        }
                        Poll::Ready(Ok(mut response)) => {
                            settle(counting, told, Ok(&response));
                            if let Some((decisions, shared)) = told {
                                shared.settings.tell(decisions, response.response_mut());
                            }
                            Poll::Ready(Ok(response.map_body(|_, body| ResponseBody::inner(body))))
                        }
                    };
                }
                StateProject::Denied(response) => {
                    let response = response.take();
                    let response = response.expect("a future is not polled after its end");
                    return Poll::Ready(
                        Ok(response.map_body(|_, body| ResponseBody::denied(body))),
                    );
                }
            }
        }
    }
}

/// Counts a request by its answer, if that is how it counts, and tells how things stand then.
#[inline]
fn settle<B, T>(
    counting: &mut Option<Box<Counting>>,
    told: &mut Option<(Decisions, T)>,
    answer: Result<&ServiceResponse<B>, &Error>,
) {
    if let Some(counting) = counting.take() {
        let stands = count(*counting, answer);
        if let Some((decisions, _)) = told {
            *decisions = stands;
        }
    }
}

/// Counts a request by its answer. An error of a handler is the answer that it becomes.
#[cold]
fn count<B>(counting: Counting, answer: Result<&ServiceResponse<B>, &Error>) -> Decisions {
    let response = match answer {
        Ok(response) => response.response(),
        Err(error) => {
            let response = error.error_response();
            let ours = response.extensions().contains::<Denial>();
            return counting.answered(Answer::Status(response.status().as_u16()), ours);
        }
    };
    let ours = response.extensions().contains::<Denial>();
    counting.answered(answer_of(response), ours)
}

/// What the head of a response answers.
pub(super) fn answer_of<B>(response: &HttpResponse<B>) -> Answer {
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    let status = response.status().as_u16();
    Answer::of_head(status, header("content-type"), header("grpc-status"))
}

impl<S> fmt::Debug for ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
