//! A backend that counts what is in flight in it.

use crate::background::Background;
use crate::peaks::{Peaks, now};
use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// An HTTP/1.1 server on the loopback that counts its own concurrency.
///
/// A request is in flight from its head until just before the last byte of its answer is sent: so a caller who has
/// the whole answer, or has seen the connection end, finds it counted down. A request whose caller hangs up is worked
/// on to its end all the same, as in most real backends; only a stream stops.
///
/// | path | answer |
/// |---|---|
/// | `/stats` | the counts as JSON; not counted itself |
/// | `/status/503` | this status, after the service time |
/// | `/stream/5` | five chunks of 1 KiB with the service time before each |
/// | `/echo` | the request's body, after the service time |
/// | any, with `Upgrade: echo` | 101, then whatever is sent, until the end of the stream |
/// | all others | `ok`, after the service time |
#[derive(Debug)]
pub struct Backend {
    shared: Arc<Shared>,
    background: Background,
}

/// How a [`Backend`] is to be started.
#[derive(Clone, Debug)]
pub struct BackendBuilder {
    capacity: usize,
    service_time: Duration,
    listen: SocketAddr,
}

/// What a [`Backend`] has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BackendStats {
    /// Requests in flight now, waiting for a server or served.
    pub in_flight: usize,
    /// The most there ever were, or since [`Backend::reset_max`].
    pub max_in_flight: usize,
    /// Requests begun.
    pub begun: u64,
}

#[derive(Debug)]
struct Shared {
    stats: Mutex<BackendStats>,
    peaks: Peaks,
    changed: Condvar,
    servers: Semaphore,
    capacity: Mutex<Capacity>,
    service_time: watch::Sender<Duration>,
    paused: watch::Sender<bool>,
}

/// How many servers there are to be.
#[derive(Debug)]
struct Capacity {
    servers: usize,
    /// Servers that stop when they have served their request.
    leaving: usize,
}

impl Backend {
    /// Starts a backend that answers at once, however many ask.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Options first.
    #[must_use]
    pub fn builder() -> BackendBuilder {
        BackendBuilder {
            capacity: Semaphore::MAX_PERMITS,
            service_time: Duration::ZERO,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// `http://..`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> BackendStats {
        *self.shared.stats()
    }

    /// Waits at most `patience` until the counts are as `wanted`; the counts, whatever they are by then.
    pub fn wait_until(
        &self,
        patience: Duration,
        wanted: impl Fn(&BackendStats) -> bool,
    ) -> BackendStats {
        let (stats, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.stats(), patience, |stats| !wanted(stats))
            .expect("nothing panics under the lock");
        *stats
    }

    /// The most in flight since each of these moments and until a tenth of a second later, of all tenths in which a
    /// request began, in order.
    #[must_use]
    pub fn peaks(&self) -> Vec<(Instant, usize)> {
        self.shared.peaks.all()
    }

    /// Forgets the most there ever were.
    pub fn reset_max(&self) {
        let mut stats = self.shared.stats();
        stats.max_in_flight = stats.in_flight;
    }

    /// Requests that begin from now on take this long.
    pub fn set_service_time(&self, service_time: Duration) {
        self.shared.service_time.send_replace(service_time);
    }

    /// From now on at most `capacity` requests are served at once. Those that are served go on to their end.
    pub fn set_capacity(&self, capacity: usize) {
        let mut now = self.shared.capacity();
        let gone = now.servers.saturating_sub(capacity);
        now.leaving += gone - self.shared.servers.forget_permits(gone);
        let more = capacity.saturating_sub(now.servers);
        let stay = more.min(now.leaving);
        now.leaving -= stay;
        self.shared.servers.add_permits(more - stay);
        now.servers = capacity;
    }

    /// No request gets further than its head, until [`Self::resume`].
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Goes on with what [`Self::pause`] held back.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }
}

impl BackendBuilder {
    /// At most so many are served at once, the others wait in order of arrival. Default: all.
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How long a request is served. Default: not at all.
    #[must_use]
    pub const fn service_time(mut self, service_time: Duration) -> Self {
        self.service_time = service_time;
        self
    }

    /// Where to listen. Default: a free port.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Starts the backend.
    ///
    /// # Panics
    /// If the address is taken, or not of the loopback.
    #[must_use]
    pub fn start(self) -> Backend {
        assert!(
            self.listen.ip().is_loopback(),
            "{} is open to others",
            self.listen
        );
        let shared = Arc::new(Shared {
            stats: Mutex::default(),
            peaks: Peaks::default(),
            changed: Condvar::new(),
            servers: Semaphore::new(self.capacity),
            capacity: Mutex::new(Capacity {
                servers: self.capacity,
                leaving: 0,
            }),
            service_time: watch::Sender::new(self.service_time),
            paused: watch::Sender::new(false),
        });
        let for_server = Arc::clone(&shared);
        Backend {
            shared,
            background: Background::listen(self.listen, |listener| accept(listener, for_server)),
        }
    }
}

impl Shared {
    fn stats(&self) -> MutexGuard<'_, BackendStats> {
        self.stats.lock().expect("nothing panics under the lock")
    }

    /// What every request goes through.
    async fn serve(&self) {
        let mut paused = self.paused.subscribe();
        let _ = paused.wait_for(|paused| !paused).await;
        let service_time = *self.service_time.borrow();
        let Ok(server) = self.servers.acquire().await else {
            return;
        };
        if !service_time.is_zero() {
            tokio::time::sleep(service_time).await;
        }
        let mut capacity = self.capacity();
        if capacity.leaving > 0 {
            capacity.leaving -= 1;
            server.forget();
        }
    }

    fn capacity(&self) -> MutexGuard<'_, Capacity> {
        self.capacity.lock().expect("nothing panics under the lock")
    }
}

/// One request in flight.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut stats = shared.stats();
        stats.in_flight += 1;
        stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        stats.begun += 1;
        // Under the lock, so that no later beginning comes before it.
        shared.peaks.note(now(), stats.in_flight);
        drop(stats);
        shared.changed.notify_all();
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.stats().in_flight -= 1;
        self.0.changed.notify_all();
    }
}

type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
    });
    // Ends with the connection; what a client did wrong is the client's test to find.
    let _ = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Body> {
    if request.uri().path() == "/stats" {
        return report(&shared);
    }
    let counted = Counted::new(&shared);
    // A task of its own: it goes on when the connection, and with it this future, is dropped.
    tokio::spawn(work(request, counted))
        .await
        .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the backend has a bug"))
}

async fn work(mut request: Request<Incoming>, counted: Counted) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if request.headers().contains_key(UPGRADE) {
        tokio::spawn(echo(hyper::upgrade::on(&mut request), counted));
        let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = response.headers_mut();
        headers.insert(CONNECTION, "upgrade".parse().expect("a header value"));
        headers.insert(UPGRADE, "echo".parse().expect("a header value"));
        return response;
    }
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return text(StatusCode::BAD_REQUEST, "the body broke off"),
    };
    let mut words = path.trim_start_matches('/').split('/');
    match (words.next(), words.next()) {
        (Some("stream"), Some(chunks)) => {
            let (mut sender, channel) = Channel::new(1);
            let chunks = chunks.parse().unwrap_or(1);
            tokio::spawn(async move {
                let mut counted = Some(counted);
                for chunk in 1..=chunks {
                    if let Some(counted) = &counted {
                        counted.0.serve().await;
                    }
                    if chunk == chunks {
                        counted = None;
                    }
                    if sender.send_data(vec![b'~'; 1024].into()).await.is_err() {
                        return;
                    }
                }
            });
            Response::new(Either::Right(channel))
        }
        (Some("status"), Some(status)) => {
            counted.0.serve().await;
            let status = status.parse().unwrap_or(StatusCode::BAD_REQUEST);
            text(status, "as you wish")
        }
        (Some("echo"), _) => {
            counted.0.serve().await;
            Response::new(Either::Left(Full::new(body)))
        }
        _ => {
            counted.0.serve().await;
            text(StatusCode::OK, "ok")
        }
    }
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade, counted: Counted) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut stream = TokioIo::new(upgraded);
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    drop(counted);
    let _ = stream.shutdown().await;
}

fn report(shared: &Shared) -> Response<Body> {
    let BackendStats {
        in_flight,
        max_in_flight,
        begun,
    } = *shared.stats();
    Response::new(Either::Left(Full::new(Bytes::from(format!(
        "{{\"in_flight\":{in_flight},\"max_in_flight\":{max_in_flight},\"begun\":{begun}}}\n"
    )))))
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}
