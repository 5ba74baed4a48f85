//! A server on loopback and clients of both versions of HTTP that can be made to vanish.
#![allow(dead_code, reason = "each test binary uses its part")]

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;
use tidegate::adaptive::LocalGuard;
use tidegate_axum::tidegate;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Serves `app` until the runtime ends.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Serves `app` as a plain router, without connect info.
pub(crate) async fn serve_plain(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// One connection.
pub(crate) struct Client {
    address: SocketAddr,
    sender: Sender,
    socket: std::net::TcpStream,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = stream.into_std().unwrap();
        let socket = stream.try_clone().unwrap();
        let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
        let sender = if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Self {
            address,
            sender,
            socket,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("host", self.address.to_string())
            .body(Full::default())
            .unwrap()
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.send(self.request("GET", path)).await
    }

    /// Closes the connection without a word.
    pub(crate) fn vanish(self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

/// Waits until `guard` has `in_flight` slots in use.
pub(crate) async fn settles(guard: &LocalGuard, in_flight: u32) {
    let reached = async {
        while guard.in_flight() != in_flight {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached)
        .await
        .unwrap_or_else(|_| panic!("{} in flight instead of {in_flight}", guard.in_flight()));
}

/// Whether `condition` comes to hold.
pub(crate) async fn comes_true(condition: impl Fn() -> bool) -> bool {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.is_ok()
}

/// Opens a WebSocket by hand (RFC 6455 4.1) and reads the head of the answer.
async fn open_http1(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        head.escape_ascii()
    );
    socket
}

/// A WebSocket's bytes, whatever carries them.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A WebSocket on a connection of its own, over `version`.
pub(crate) async fn open(address: SocketAddr, path: &str, version: Version) -> Box<dyn Socket> {
    if version == Version::HTTP_2 {
        Box::new(open_http2(address, path).await)
    } else {
        Box::new(open_http1(address, path).await)
    }
}

/// A WebSocket over HTTP/2 (RFC 8441), on a connection that lives as long as the socket.
async fn open_http2(address: SocketAddr, path: &str) -> TokioIo<Upgraded> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    // Until the server's settings are here, the client does not know that it may ask for this.
    let response = loop {
        let request = Request::connect(format!("http://{address}{path}"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::<Bytes>::new())
            .unwrap();
        sender.ready().await.unwrap();
        match sender.send_request(request).await {
            Ok(response) => break response,
            Err(error) if error.is_user() => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(response.status(), 200);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

/// A masked text frame "hi" (RFC 6455 5.2), and its echo.
pub(crate) async fn talk(socket: &mut (impl Socket + ?Sized)) {
    socket
        .write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])
        .await
        .unwrap();
    let mut echo = [0; 4];
    socket.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

/// A body that sends one chunk and then nothing for ever.
pub(crate) fn stalling() -> Body {
    use futures_util::stream::{self, StreamExt};
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
    Body::from_stream(first.chain(stream::pending()))
}

/// A body that never ends and always has more.
pub(crate) fn endless() -> Body {
    let chunk = Bytes::from_static(&[b'x'; 4096]);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        Ok::<_, std::io::Error>(chunk.clone())
    }))
}
