//! I4 over HTTP/2: streams that end, are reset or lose their connection give their slots back once.

mod support;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, Error, HttpResponse};
use futures_util::stream;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use support::{run, settles};
use tidegate_actix_web::Concurrency;
use tidegate_actix_web::tidegate::adaptive::LocalGuard;
use tokio::net::TcpStream;
use tokio::sync::Notify;

struct Client {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    socket: std::net::TcpStream,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let socket = socket.into_std().unwrap();
        let io = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Self {
            address,
            sender,
            socket,
        }
    }

    async fn ask(&mut self, method: &str, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(Empty::new())
            .unwrap();
        self.sender.send_request(request).await
    }

    /// Closes the connection without a word.
    fn vanish(&self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }
}

fn server() -> (LocalGuard, Arc<Notify>, support::Running) {
    let guard = LocalGuard::fixed(4);
    let go = Arc::new(Notify::new());
    let middleware = Concurrency::new(guard.clone());
    let data = Data::new(Arc::clone(&go));
    let app = move || {
        let endless = || async {
            let chunk = || Ok::<_, Error>(Bytes::from_static(&[b'x'; 4096]));
            HttpResponse::Ok().streaming(stream::repeat_with(chunk))
        };
        let waits = |go: Data<Arc<Notify>>| async move {
            go.notified().await;
            "went"
        };
        App::new()
            .wrap(middleware.clone())
            .app_data(data.clone())
            .route("/ok", web::route().to(|| async { "hello" }))
            .route("/empty", web::route().to(HttpResponse::NoContent))
            .route("/endless", web::route().to(endless))
            .route("/waits", web::route().to(waits))
    };
    let server = actix_web::HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .bind_auto_h2c(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    (guard, go, run(server.run(), address))
}

#[actix_web::test]
async fn i4_answers_of_every_kind() {
    let (guard, _, server) = server();
    let mut client = Client::connect(server.address).await;
    for (method, path, status, length) in [
        ("GET", "/ok", 200, 5),
        ("HEAD", "/ok", 200, 0),
        ("HEAD", "/endless", 200, 0),
        ("GET", "/empty", 204, 0),
        ("GET", "/nowhere", 404, 0),
    ] {
        for _ in 0..6 {
            let response = client.ask(method, path).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), length, "{method} {path}");
            settles(&guard, 0).await;
        }
    }
}

#[actix_web::test]
async fn i4_a_stream_reset_half_read() {
    let (guard, _, server) = server();
    let mut client = Client::connect(server.address).await;
    let mut response = client.ask("GET", "/endless").await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(guard.in_flight(), 1);
    drop(response);
    settles(&guard, 0).await;
    let again = client.ask("GET", "/ok").await.unwrap();
    assert_eq!(again.status(), 200, "the connection lives on");
}

#[actix_web::test]
async fn i4_a_connection_gone_in_the_body() {
    let (guard, _, server) = server();
    let mut client = Client::connect(server.address).await;
    let mut response = client.ask("GET", "/endless").await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    client.vanish();
    settles(&guard, 0).await;
}

#[actix_web::test]
async fn i4_a_connection_gone_while_the_handler_runs() {
    let (guard, go, server) = server();
    let mut client = Client::connect(server.address).await;
    {
        let call = std::pin::pin!(client.ask("GET", "/waits"));
        let taken = std::pin::pin!(settles(&guard, 1));
        futures_util::future::select(call, taken).await;
    }
    client.vanish();
    go.notify_one();
    settles(&guard, 0).await;
}
