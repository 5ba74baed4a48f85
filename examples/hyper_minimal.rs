//! The shortest hyper server with a limit found from latency: any tower service takes the layers.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use tidegate::adaptive::{Gradient2, LocalGuard};
use tidegate::tower::ConcurrencyLayer;
use tower::{ServiceBuilder, service_fn};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let guard = LocalGuard::new(Gradient2::default());
    // One layer, outside of the loop: what it counts is shared by all connections.
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLayer::new(guard))
        .service(service_fn(hello));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                eprintln!("{error}");
            }
        });
    }
}
