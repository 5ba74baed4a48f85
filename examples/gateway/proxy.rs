//! From a request to its answer: what all servers share, in the types of none of them.

use crate::BoxError;
use crate::client::Client;
use crate::exchange::{Exchange, Patience};
use crate::headers::{self, Passing};
use crate::options::Options;
use crate::upstream::Upstream;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate::fleet::DistributedGuard;
use tidegate::reject::{Denial, Form};
use tidegate::slot::Carrier;
use tidegate::tower::denial_response;
use tidegate::{ConcurrencyGuard, Criticality, Shed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

/// Bodies of requests and answers.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The client's connection once it has been upgraded.
pub(crate) type Upgrading = Pin<Box<dyn Future<Output = Result<Box<dyn Socket>, BoxError>> + Send>>;

/// Both directions of an upgraded connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Forwards what the guard admits.
pub(crate) struct Proxy {
    guard: Option<DistributedGuard>,
    /// How long requests wait in the micro-queue, if there is one.
    queue: Option<Duration>,
    upstream: Arc<Upstream>,
    patience: Patience,
    counts: Arc<Counts>,
    /// Where exchanges run, whichever thread of whichever server asked for them.
    runtime: Handle,
}

/// What the guard does not count.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests at the backend, with and without limits.
    pub(crate) at_backend: AtomicU64,
    /// Clients that did not wait for the end of their answer.
    pub(crate) hung_up: AtomicU64,
    /// Requests that got no answer from the backend.
    pub(crate) unanswered: AtomicU64,
}

impl Counts {
    pub(crate) fn count(what: &AtomicU64) {
        what.fetch_add(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// To be called on the runtime that exchanges shall run on.
    pub(crate) fn new(options: &Options, guard: Option<DistributedGuard>) -> Self {
        Self {
            upstream: Arc::new(Upstream::new(options.upstream.clone(), guard.clone())),
            guard,
            queue: options.queue,
            patience: Patience {
                head: options.timeout,
                absent: options.linger,
                cut: options.drain,
            },
            counts: Arc::default(),
            runtime: Handle::current(),
        }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Answers a request. `upgrade` is the client's connection if it can be upgraded.
    ///
    /// # Cancel safety
    /// Dropping the future is the client's hanging up: who waits for a slot leaves the queue, and an exchange goes on
    /// until the backend is done.
    pub(crate) async fn forward(
        &self,
        mut request: Request<Body>,
        peer: IpAddr,
        upgrade: Option<Upgrading>,
    ) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "this is no open proxy\n");
        }
        let Ok(uri) = self.upstream.uri(request.uri()) else {
            return plain(StatusCode::BAD_REQUEST, "the target is not a path\n");
        };
        let form = form(&request);
        let carrier = match self.admit().await {
            Ok(carrier) => carrier,
            Err(shed) => return denied(shed, form),
        };

        let upgrade = upgrade.filter(|_| headers::wants_upgrade(request.headers()));
        let passing = match upgrade {
            Some(_) => Passing::Upgrade,
            None => Passing::Nothing,
        };
        let authority = request.uri().authority().cloned();
        headers::strip(request.headers_mut(), passing);
        let authority = authority.as_ref().map(hyper::http::uri::Authority::as_str);
        headers::introduce(request.headers_mut(), peer, authority);
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;

        let (client, answer) = Client::new(form, upgrade);
        let exchange = Exchange::new(
            carrier,
            client,
            Arc::clone(&self.upstream),
            self.patience,
            Arc::clone(&self.counts),
        );
        self.runtime.spawn(exchange.run(request));
        answer
            .await
            .unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY, "the exchange was given up\n"))
    }

    async fn admit(&self) -> Result<Carrier, Shed> {
        let Some(guard) = &self.guard else {
            return Ok(Carrier::empty());
        };
        let lease = match self.queue {
            None => guard.try_acquire(Criticality::Default),
            Some(most) => {
                let queueing = guard.acquire_or_queue(Criticality::Default, most);
                queueing.lease().await
            }
        };
        lease.map(Carrier::new)
    }
}

/// No slot, or no longer.
pub(crate) fn denied(shed: Shed, form: Form) -> Response<Body> {
    denial_response(Denial::overload(shed), form).map(whole)
}

/// An answer of the gateway's own.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// A body that is there at once.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// How the client wants to be told no.
fn form(request: &Request<Body>) -> Form {
    let content_type = request.headers().get(CONTENT_TYPE);
    Form::of(content_type.map(HeaderValue::as_bytes))
}
