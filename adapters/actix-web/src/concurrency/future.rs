//! The response future: waits for a slot if told to, then runs the service with it.

use crate::Denied;
use crate::concurrency::ResponseBody;
use crate::concurrency::middleware::Settings;
use crate::concurrency::service::{Shared, admit, refuse};
use crate::request::form;
use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tidegate::Shed;
use tidegate::classify::is_grpc;
use tidegate::permit::Acquire;
use tidegate::reject::{Denial, Form};
use tidegate::slot::{Carrier, Head, Watch};

/// The response of a service behind a guard.
///
/// # Cancel safety
/// Dropping it drops the service's future and gives the slot back.
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    // Dropped before the slot goes back.
    #[pin]
    state: State<S::Future>,
    carrier: Carrier,
    form: Form,
    /// Set while the service is polled: found set afterwards, the service panicked.
    polling: bool,
    shared: Rc<Shared<S>>,
}

#[pin_project(project = StateProject)]
enum State<F> {
    /// Boxed, so that those who never wait do not move around the room for it.
    Waiting(Pin<Box<Waiting>>),
    Running {
        #[pin]
        inner: F,
        #[pin]
        watch: Watch,
    },
    Denied(Option<ServiceResponse>),
    /// Cancelled by the fence.
    Gone,
}

/// A request in the queue.
#[pin_project]
struct Waiting {
    #[pin]
    acquire: Acquire,
    request: Option<ServiceRequest>,
}

impl<S> ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    #[inline]
    pub(super) fn running(
        inner: S::Future,
        carrier: Carrier,
        form: Form,
        shared: &Rc<Shared<S>>,
    ) -> Self {
        let watch = watch(&shared.settings);
        Self::new(State::Running { inner, watch }, carrier, form, shared)
    }

    pub(super) fn waiting(
        acquire: Acquire,
        request: ServiceRequest,
        shared: &Rc<Shared<S>>,
    ) -> Self {
        let form = form(&request);
        let request = Some(request);
        let state = State::Waiting(Box::pin(Waiting { acquire, request }));
        Self::new(state, Carrier::empty(), form, shared)
    }

    pub(super) fn denied(response: ServiceResponse, shared: &Rc<Shared<S>>) -> Self {
        let state = State::Denied(Some(response));
        Self::new(state, Carrier::empty(), Form::Problem, shared)
    }

    #[inline]
    fn new(state: State<S::Future>, carrier: Carrier, form: Form, shared: &Rc<Shared<S>>) -> Self {
        Self {
            state,
            carrier,
            form,
            polling: false,
            shared: Rc::clone(shared),
        }
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
        let settings = &*this.shared.settings;
        loop {
            match this.state.as_mut().project() {
                StateProject::Running { inner, watch } => {
                    *this.polling = true;
                    let polled = inner.poll(cx);
                    *this.polling = false;
                    match polled {
                        Poll::Ready(Ok(response)) => {
                            let carrier = std::mem::take(this.carrier);
                            return Poll::Ready(Ok(answered(response, carrier, settings)));
                        }
                        Poll::Ready(Err(error)) => {
                            failed(&error, this.carrier, settings);
                            return Poll::Ready(Err(error));
                        }
                        Poll::Pending if this.carrier.is_empty() => return Poll::Pending,
                        Poll::Pending if !watch.is_fenced(this.carrier, cx) => {
                            return Poll::Pending;
                        }
                        Poll::Pending => {}
                    }
                    // The work stops before its slot goes back. The request went with it, and actix-web makes no
                    // response without one: an error becomes one further out.
                    this.state.set(State::Gone);
                    this.carrier.release();
                    let denial = Denial::overload(Shed::Fenced);
                    let denied = Denied::told(denial, *this.form, settings.responder.clone());
                    return Poll::Ready(Err(denied.into()));
                }
                StateProject::Waiting(waiting) => {
                    let waiting = waiting.as_mut().project();
                    let slot = ready!(waiting.acquire.poll(cx));
                    let request = waiting.request.take().expect("a slot comes once");
                    match slot {
                        Ok(lease) => {
                            *this.carrier = admit(lease, settings, &request);
                            *this.polling = true;
                            let inner = this.shared.inner.call(request);
                            *this.polling = false;
                            let watch = watch(settings);
                            this.state.set(State::Running { inner, watch });
                        }
                        Err(shed) => {
                            let response = refuse(shed, settings, request);
                            this.state.set(State::Denied(Some(response)));
                        }
                    }
                }
                StateProject::Denied(response) => {
                    let response = response.take().expect(POLLED_AFTER_ITS_END);
                    return Poll::Ready(
                        Ok(response.map_body(|_, text| ResponseBody::denied(text))),
                    );
                }
                StateProject::Gone => unreachable!("{POLLED_AFTER_ITS_END}"),
            }
        }
    }
}

const POLLED_AFTER_ITS_END: &str = "a future is not polled after its end";

#[pinned_drop]
impl<S> PinnedDrop for ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if *this.polling {
            this.carrier.panicked();
        }
    }
}

impl<S> fmt::Debug for ResponseFuture<S>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

fn watch(settings: &Settings) -> Watch {
    if settings.cancels {
        Watch::new()
    } else {
        Watch::off()
    }
}

/// Tells the carrier about the head, and sends it on with the body.
#[inline]
fn answered<B: MessageBody>(
    response: ServiceResponse<B>,
    mut carrier: Carrier,
    settings: &Settings,
) -> ServiceResponse<ResponseBody<B>> {
    if !carrier.is_empty() {
        let inner = response.response();
        let headers = inner.headers();
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(HeaderValue::as_bytes);
        let head = Head {
            status: response.status().as_u16(),
            content_type,
            grpc_status: match content_type {
                Some(it) if is_grpc(it) => headers.get("grpc-status").map(HeaderValue::as_bytes),
                _ => None,
            },
            denied: inner.extensions().get::<Denial>().is_some(),
            connect: *response.request().method() == Method::CONNECT,
            socket: true,
            // actix-web drops an empty body unpolled, but polls that of the answer to a HEAD.
            length: match inner.body().size() {
                BodySize::None => Some(0),
                BodySize::Sized(length) => Some(length),
                BodySize::Stream => None,
            },
        };
        carrier.answered(&head, &settings.classifier, settings.measure);
    }
    response.map_body(|_, body| ResponseBody::carrying(body, carrier, settings.cancels))
}

/// Tells the carrier about an error, of which somebody further out will make a response.
#[cold]
fn failed(error: &Error, carrier: &mut Carrier, settings: &Settings) {
    let head = Head {
        status: error.as_response_error().status_code().as_u16(),
        denied: error.as_error::<Denied>().is_some(),
        socket: true,
        length: Some(0),
        ..Head::default()
    };
    carrier.answered(&head, &settings.classifier, settings.measure);
}
