//! The response future: the service's answer with headers, or a denial.

use crate::rate_limit::ResponseBody;
use crate::rate_limit::service::Shared;
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use pin_project::pin_project;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tidegate::classify::Answer;
use tidegate::decision::Decisions;
use tidegate::limiter::Counting;
use tidegate::reject::Denial;

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
    Running {
        #[pin]
        inner: S::Future,
        told: Option<(Decisions, Rc<Shared<S>>)>,
        counting: Option<Box<Counting>>,
    },
    Denied(Option<ServiceResponse>),
}

impl<S> ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    /// Says nothing about the limit.
    #[inline]
    pub(super) const fn silent(inner: S::Future, counting: Option<Box<Counting>>) -> Self {
        let state = State::Running {
            inner,
            told: None,
            counting,
        };
        Self { state }
    }

    #[inline]
    pub(super) fn telling(
        inner: S::Future,
        counting: Option<Box<Counting>>,
        decisions: Decisions,
        shared: Rc<Shared<S>>,
    ) -> Self {
        let told = Some((decisions, shared));
        let state = State::Running {
            inner,
            told,
            counting,
        };
        Self { state }
    }

    pub(super) const fn denied(response: ServiceResponse) -> Self {
        let state = State::Denied(Some(response));
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
        Poll::Ready(Ok(match self.project().state.project() {
            StateProject::Running {
                inner,
                told,
                counting,
            } => {
                let answer = ready!(inner.poll(cx));
                if let Some(counting) = counting.take() {
                    let stands = settle(*counting, answer.as_ref());
                    if let Some((decisions, _)) = told {
                        *decisions = stands;
                    }
                }
                let mut response = answer?;
                if let Some((decisions, shared)) = told {
                    shared.settings.tell(decisions, response.headers_mut());
                }
                response.map_body(|_, body| ResponseBody::inner(body))
            }
            StateProject::Denied(response) => {
                let response = response
                    .take()
                    .expect("a future is not polled after its end");
                response.map_body(|_, body| ResponseBody::denied(body))
            }
        }))
    }
}

/// Counts a request by its answer. An error of a handler is the answer that it becomes.
#[cold]
fn settle<B>(counting: Counting, answer: Result<&ServiceResponse<B>, &Error>) -> Decisions {
    let response = match answer {
        Ok(response) => response.response(),
        Err(error) => {
            let response = error.error_response();
            let ours = response.extensions().contains::<Denial>();
            return counting.answered(Answer::Status(response.status().as_u16()), ours);
        }
    };
    let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
    let status = response.status().as_u16();
    let answer = Answer::of_head(status, header("content-type"), header("grpc-status"));
    let ours = response.extensions().contains::<Denial>();
    counting.answered(answer, ours)
}

impl<S> fmt::Debug for ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
