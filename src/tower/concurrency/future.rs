//! The response future: waits for a slot if told to, then runs the service with it.

use crate::permit::{Acquire, Shed};
use crate::reject::{Denial, Form};
use crate::slot::{Answered, Carrier, Head, Watch};
use crate::tower::RequestHead;
use crate::tower::concurrency::ResponseBody;
use crate::tower::concurrency::layer::Settings;
use crate::tower::concurrency::service::admit;
use crate::tower::denial::Marking;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// The response of a service behind a guard.
///
/// # Cancel safety
/// Dropping it drops the service's future and gives the slot back.
#[must_use = "futures do nothing unless polled"]
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    // Dropped before the slot goes back.
    #[pin]
    state: State<S, B>,
    carrier: Carrier,
    settings: Arc<Settings>,
    asked: Asked,
    /// Set while the service is polled: found set afterwards, the service panicked.
    polling: bool,
}

#[pin_project(project = StateProject)]
enum State<S, B>
where
    S: Service<Request<B>>,
{
    /// Boxed, so that those who never wait do not move around the room for it.
    Waiting(Pin<Box<Waiting<S, B>>>),
    Running {
        #[pin]
        inner: S::Future,
        #[pin]
        watch: Watch,
    },
    Denied(Shed, Marking),
    Done,
}

/// A request in the queue, and the service that is ready for it.
#[pin_project]
pub(super) struct Waiting<S, B> {
    #[pin]
    acquire: Acquire,
    next: Option<(S, Request<B>)>,
}

impl<S, B> Waiting<S, B> {
    pub(super) const fn new(acquire: Acquire, service: S, request: Request<B>) -> Self {
        Self {
            acquire,
            next: Some((service, request)),
        }
    }
}

/// What of the request is still needed when the answer comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    form: Form,
    connect: bool,
    /// No body will be sent, whatever the response carries.
    head_only: bool,
}

impl Asked {
    #[inline]
    pub(super) fn of(head: &RequestHead<'_>) -> Self {
        Self {
            form: head.form(),
            connect: head.method() == Method::CONNECT,
            head_only: head.method() == Method::HEAD,
        }
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[inline(always)]
    pub(super) fn running(
        inner: S::Future,
        carrier: Carrier,
        settings: Arc<Settings>,
        asked: Asked,
    ) -> Self {
        let watch = watch(&settings);
        Self::new(State::Running { inner, watch }, carrier, settings, asked)
    }

    pub(super) fn waiting(waiting: Waiting<S, B>, settings: Arc<Settings>, asked: Asked) -> Self {
        let state = State::Waiting(Box::pin(waiting));
        Self::new(state, Carrier::empty(), settings, asked)
    }

    #[inline(always)]
    pub(super) fn denied(
        shed: Shed,
        marking: Marking,
        settings: Arc<Settings>,
        asked: Asked,
    ) -> Self {
        let state = State::Denied(shed, marking);
        Self::new(state, Carrier::empty(), settings, asked)
    }

    #[inline(always)]
    fn new(state: State<S, B>, carrier: Carrier, settings: Arc<Settings>, asked: Asked) -> Self {
        Self {
            state,
            carrier,
            settings,
            asked,
            polling: false,
        }
    }
}

impl<S, B, Res> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<Res>>,
    Res: Body,
{
    type Output = Result<Response<ResponseBody<Res>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (shed, marking) = match this.state.as_mut().project() {
                StateProject::Running { inner, watch } => {
                    *this.polling = true;
                    let polled = inner.poll(cx);
                    *this.polling = false;
                    match polled {
                        Poll::Ready(Ok(response)) => {
                            if !this.carrier.is_empty() {
                                answered(&response, this.carrier, this.settings, *this.asked);
                            }
                            let carrier = std::mem::take(this.carrier);
                            let cancels = this.settings.cancels;
                            return Poll::Ready(Ok(
                                response.map(|body| ResponseBody::carrying(body, carrier, cancels))
                            ));
                        }
                        Poll::Ready(Err(error)) => {
                            this.carrier.failed(&this.settings.classifier);
                            return Poll::Ready(Err(error));
                        }
                        Poll::Pending if this.carrier.is_empty() => return Poll::Pending,
                        Poll::Pending if !watch.is_fenced(this.carrier, cx) => {
                            return Poll::Pending;
                        }
                        Poll::Pending => (Shed::Fenced, Marking::Marked),
                    }
                }
                StateProject::Waiting(waiting) => {
                    let waiting = waiting.as_mut().project();
                    match ready!(waiting.acquire.poll(cx)) {
                        Ok(lease) => {
                            let (mut service, mut request) =
                                waiting.next.take().expect("a slot comes once");
                            *this.carrier = admit(lease, this.settings, &mut request);
                            *this.polling = true;
                            let inner = service.call(request);
                            *this.polling = false;
                            let watch = watch(this.settings);
                            this.state.set(State::Running { inner, watch });
                            continue;
                        }
                        Err(shed) => (shed, Marking::Marked),
                    }
                }
                StateProject::Denied(shed, marking) => (*shed, *marking),
                StateProject::Done => panic!("a future is not polled after its end"),
            };
            // The work stops before its slot goes back.
            this.state.set(State::Done);
            this.carrier.release();
            return Poll::Ready(Ok(this.settings.responder.respond(
                Denial::overload(shed),
                this.asked.form,
                marking,
                |_| {},
                ResponseBody::denied,
            )));
        }
    }
}

#[pinned_drop]
impl<S, B> PinnedDrop for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if *this.polling {
            this.carrier.panicked();
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
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

/// Tells the carrier about the head.
#[inline]
fn answered<B: Body>(
    response: &Response<B>,
    carrier: &mut Carrier,
    settings: &Settings,
    asked: Asked,
) {
    let content_type = bytes_of(response.headers(), &header::CONTENT_TYPE);
    let head = Head {
        status: response.status().as_u16(),
        content_type,
        grpc_status: match content_type {
            Some(it) if crate::classify::is_grpc(it) => response
                .headers()
                .get("grpc-status")
                .map(HeaderValue::as_bytes),
            _ => None,
        },
        denied: response.extensions().get::<Denial>().is_some(),
        connect: asked.connect,
        socket: false,
        length: if asked.head_only || response.body().is_end_stream() {
            Some(0)
        } else {
            response.body().size_hint().exact()
        },
    };
    match carrier.answered(&head, &settings.classifier, settings.measure) {
        Answered::Body | Answered::UpgradeHeld => {}
        Answered::UpgradeUnheld => settings.upgraded_unheld(),
    }
}

#[inline]
fn bytes_of<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}
