//! A server on loopback and a client that can be made to vanish at any byte.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use actix_web::dev::{Server, ServerHandle};
use std::net::SocketAddr;
use std::time::Duration;
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything takes here.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is stopped when the test is over.
pub struct Running {
    pub address: SocketAddr,
    handle: ServerHandle,
}

/// Runs a server that was bound to one address.
pub fn run(server: Server, address: SocketAddr) -> Running {
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Running { address, handle }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// Serves `$app` on a free port of loopback: `serve!(app)`, or with more options of the server behind it.
#[macro_export]
macro_rules! serve {
    ($app:expr $(, $option:ident($($value:expr),*))*) => {{
        let server = actix_web::HttpServer::new($app)
            .workers(1)
            .disable_signals()
            .shutdown_timeout(0)
            $(.$option($($value),*))*
            .bind(("127.0.0.1", 0))
            .unwrap();
        let address = server.addrs()[0];
        $crate::support::run(server.run(), address)
    }};
}

/// One connection, spoken by hand.
pub struct Client(pub TcpStream);

impl Client {
    pub async fn connect(server: &Running) -> Self {
        Self(TcpStream::connect(server.address).await.unwrap())
    }

    /// Sends a request whose `fields` are whole lines.
    pub async fn send(&mut self, method: &str, path: &str, fields: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: here\r\n{fields}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// Reads the head of the answer: its status, and the head as it came.
    pub async fn head(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (status(&head), head)
    }

    /// Reads what comes until the server closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        // A connection that is reset has no more to say either.
        let _ = ended.expect("the server closes");
        rest
    }
}

/// Opens a WebSocket by hand (RFC 6455 4.1) and reads the head of the answer.
pub async fn dial(server: &Running, path: &str) -> Client {
    let mut client = Client::connect(server).await;
    let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    client.send("GET", path, fields).await;
    let (status, head) = client.head().await;
    assert_eq!(status, 101, "{head}");
    client
}

/// Asks once and reads everything; the status is 0 if the server closed without an answer.
pub async fn ask(server: &Running, method: &str, path: &str) -> (u16, String) {
    let mut client = Client::connect(server).await;
    client.send(method, path, "connection: close\r\n").await;
    let answer = client.rest().await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (status(&answer), answer)
}

fn status(head: &str) -> u16 {
    head.strip_prefix("HTTP/1.1 ")
        .map_or(0, |rest| rest[..3].parse().unwrap())
}

/// Waits until `guard` has `in_flight` slots in use.
pub async fn settles(guard: &LocalGuard, in_flight: u32) {
    let reached = comes_true(|| guard.in_flight() == in_flight).await;
    assert!(
        reached,
        "{} in flight instead of {in_flight}",
        guard.in_flight()
    );
}

/// Whether `condition` comes to hold.
pub async fn comes_true(condition: impl Fn() -> bool) -> bool {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.is_ok()
}

/// Whether `guard` still has `in_flight` slots in use when the server had time to notice whatever happened before:
/// it has answered on other connections, each of which it polled after those before.
pub async fn keeps(server: &Running, guard: &LocalGuard, in_flight: u32) -> bool {
    for _ in 0..20 {
        let (status, _) = ask(server, "GET", "/health").await;
        assert_eq!(status, 200);
    }
    guard.in_flight() == in_flight
}
