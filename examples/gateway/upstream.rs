//! Connections to the backend: as many as there are slots, kept, and silent after the fence.

use crate::BoxError;
use crate::proxy::Body;
use hyper::body::Incoming;
use hyper::http::uri::{InvalidUriParts, PathAndQuery};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tidegate::fleet::DistributedGuard;
use tokio::net::TcpStream;
use tower::Service;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long to keep one that is not used; backends commonly close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

/// The backend.
pub(crate) struct Upstream {
    base: Uri,
    client: Client<Connector, Body>,
}

impl Upstream {
    /// The backend at `base`. Nothing is written to it once `guard` is fenced.
    pub(crate) fn new(base: Uri, guard: Option<DistributedGuard>) -> Self {
        let mut inner = HttpConnector::new();
        inner.set_nodelay(true);
        inner.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            // The guard bounds them, and a pool that closes what it cannot keep connects anew for every request.
            .pool_max_idle_per_host(usize::MAX)
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(Connector { inner, guard });
        Self { base, client }
    }

    /// The address at the backend of what a client asked for.
    pub(crate) fn uri(&self, asked: &Uri) -> Result<Uri, InvalidUriParts> {
        let mut parts = self.base.clone().into_parts();
        let asked = asked.path_and_query().map_or("/", PathAndQuery::as_str);
        let base = self.base.path().trim_end_matches('/');
        // What begins with a slash and continues with what was an address is one.
        parts.path_and_query = format!("{base}{asked}").parse().ok();
        Uri::from_parts(parts)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}

/// Makes connections that know the fence.
#[derive(Clone)]
struct Connector {
    inner: HttpConnector,
    guard: Option<DistributedGuard>,
}

impl Service<Uri> for Connector {
    type Response = Fenced;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Fenced, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let guard = self.guard.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(Fenced { stream, guard })
        })
    }
}

/// A connection that writes nothing without a lease.
///
/// Between an admission and the bytes that go out lie a task and perhaps a connection to be made. A process stopped
/// in there wakes up when its slots may be somebody else's, and would send before its driver has cancelled anything.
/// So the clock is read once more right here, microseconds before the write.
struct Fenced {
    stream: TokioIo<TcpStream>,
    guard: Option<DistributedGuard>,
}

impl Fenced {
    fn check(&self) -> io::Result<()> {
        match &self.guard {
            Some(guard) if guard.is_fenced() => Err(io::Error::other(LeaseOver)),
            _ => Ok(()),
        }
    }
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) struct LeaseOver;

impl LeaseOver {
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

impl fmt::Display for LeaseOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease on this process's slots ran out")
    }
}

impl std::error::Error for LeaseOver {}

impl Read for Fenced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Fenced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Fenced {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
