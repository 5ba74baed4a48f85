//! A link between a client and a server that can be made bad.

use crate::background::Background;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Responses,
}

/// Forwards connections to a server, and misbehaves on demand. A new proxy is clear.
///
/// Faults apply to the connections there are and to new ones, until [`Self::heal`]. As on a real network a silent
/// link loses nothing by itself: what is held is delivered late when it heals, unless the connection is cut before.
#[derive(Debug)]
pub struct TcpProxy {
    upstream: Arc<Mutex<SocketAddr>>,
    faults: watch::Sender<Faults>,
    counts: Arc<Counts>,
    background: Background,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Faults {
    requests: Way,
    responses: Way,
    refuse: bool,
    /// A connection ends when this is no longer what it was at its beginning.
    generation: u64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Way {
    delay: Duration,
    hold: bool,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl TcpProxy {
    /// Listens on a free loopback port for connections to `upstream`.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let (faults, watch) = watch::channel(Faults::default());
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let upstream = Arc::new(Mutex::new(upstream));
        let towards = Arc::clone(&upstream);
        Self {
            upstream,
            faults,
            counts,
            background: Background::start(move |listener| accept(listener, towards, watch, shared)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Bytes take `delay` longer, each way.
    pub fn delay(&self, delay: Duration) {
        self.delay_one_way(Direction::Requests, delay);
        self.delay_one_way(Direction::Responses, delay);
    }

    /// Bytes take `delay` longer in `direction`.
    pub fn delay_one_way(&self, direction: Direction, delay: Duration) {
        self.faults
            .send_modify(|faults| faults.way(direction).delay = delay);
    }

    /// Nothing arrives any more, either way, and nobody is told: a black hole. New connections are accepted, as by a
    /// kernel whose process hangs.
    pub fn hold(&self) {
        self.hold_one_way(Direction::Requests);
        self.hold_one_way(Direction::Responses);
    }

    /// Nothing arrives any more in `direction`: a half-open link.
    pub fn hold_one_way(&self, direction: Direction) {
        self.faults
            .send_modify(|faults| faults.way(direction).hold = true);
    }

    /// New connections go to `upstream`; those there are, are cut: a name that points to another server now.
    pub fn redirect(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
        self.cut();
    }

    /// Closes every connection there is; bytes under way are lost. New ones are welcome.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.generation += 1);
    }

    /// Closes every connection there is and each new one at once.
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| {
            faults.refuse = true;
            faults.generation += 1;
        });
    }

    /// No faults any more; what was held goes on.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| {
            *faults = Faults {
                generation: faults.generation,
                ..Faults::default()
            };
        });
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Acquire)
    }

    /// Connections accepted since the start, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Acquire)
    }
}

impl Faults {
    const fn on(&self, direction: Direction) -> Way {
        match direction {
            Direction::Requests => self.requests,
            Direction::Responses => self.responses,
        }
    }

    const fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Responses => &mut self.responses,
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Arc<Mutex<SocketAddr>>,
    faults: watch::Receiver<Faults>,
    counts: Arc<Counts>,
) {
    while let Ok((client, _)) = listener.accept().await {
        counts.accepted.fetch_add(1, Ordering::AcqRel);
        let Faults {
            refuse, generation, ..
        } = *faults.borrow();
        if refuse {
            continue;
        }
        let open = Open::count(&counts);
        let faults = faults.clone();
        let upstream = *upstream.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(async move {
            let _open = open;
            let mut cut = faults.clone();
            tokio::select! {
                () = forward(client, upstream, faults) => {}
                _ = cut.wait_for(|faults| faults.generation != generation) => {}
            }
        });
    }
}

struct Open(Arc<Counts>);

impl Open {
    fn count(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, faults: watch::Receiver<Faults>) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pump(from_client, to_server, faults.clone(), Direction::Requests),
        pump(from_server, to_client, faults, Direction::Responses),
    );
}

/// Carries bytes one way, each chunk no earlier than its arrival and the delay; the end of the stream comes last.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut faults: watch::Receiver<Faults>,
    direction: Direction,
) {
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut ended = false;
    loop {
        let way = faults.borrow_and_update().on(direction);
        let due = under_way
            .front()
            .filter(|_| !way.hold)
            .map(|(arrived, _)| *arrived + way.delay);
        if ended && under_way.is_empty() && !way.hold {
            let _ = to.shutdown().await;
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer), if !ended => match read {
                Ok(0) | Err(_) => ended = true,
                Ok(length) => under_way.push_back((Instant::now(), buffer[..length].to_vec())),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let (_, bytes) = under_way.pop_front().expect("only a chunk is due");
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}
