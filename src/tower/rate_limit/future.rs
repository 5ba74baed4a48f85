//! The response future: the service's answer with headers, or a denial.

use crate::classify::Answer;
use crate::decision::Decisions;
use crate::limiter::Counting;
use crate::reject::{Denial, Form};
use crate::tower::denial::Marking;
use crate::tower::rate_limit::ResponseBody;
use crate::tower::rate_limit::layer::Settings;
use http::{HeaderValue, Response};
use pin_project::pin_project;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The response of a service behind a rate limit.
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProject)]
enum State<F> {
    Running {
        #[pin]
        inner: F,
        told: Option<(Decisions, Arc<Settings>)>,
        counting: Option<Box<Counting>>,
    },
    Denied(Option<Refusal>),
}

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
        if self.settings.tells() {
            self.settings.tell(&self.decisions, response.headers_mut());
        }
        response
    }
}

impl<F> ResponseFuture<F> {
    /// With nothing `told`, says nothing about the limit.
    #[inline(always)]
    pub(super) fn running(
        inner: F,
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

    #[inline(always)]
    pub(super) const fn denied(refusal: Refusal) -> Self {
        let state = State::Denied(Some(refusal));
        Self { state }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
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
        })
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

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
