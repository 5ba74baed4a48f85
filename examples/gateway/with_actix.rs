//! The gateway under actix-web, which is on http 0.2: heads are translated, bodies are passed on as they come.

use crate::Gateway;
use crate::headers::wants_upgrade;
use crate::proxy::{Body, Socket, Upgrading, whole};
use crate::relay::relay;
use crate::stats::{self, Looks};
use actix_web::body::{BodyStream, BoxBody, MessageBody, SizedStream};
use actix_web::http::header::{ACCEPT, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Condition;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use hyper::{Request, Response};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tidegate::{Quota, RateLimiter};
use tidegate_actix_web::{RateLimit, key};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_util::io::ReaderStream;

/// Bytes of an upgraded connection that may be on their way in each direction.
const ON_THE_WAY: usize = 64 * 1024;

/// Serves until the gateway stops; then until every client has its answer, or `patience` is over.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    patience: Duration,
) -> io::Result<()> {
    let stop = gateway.stop.clone();
    let limited = gateway.limiter.is_some();
    let limiter = gateway.limiter.clone();
    // Wrapped only if there is a quota.
    let quota = RateLimit::new(limiter.unwrap_or_else(|| RateLimiter::new(Quota::DENY_ALL)))
        .key(key::peer())
        .exempt(|request| request.path() == "/stats");
    if limited {
        let quota = quota.clone();
        gateway.stats.count_denied_by(move || quota.denied());
    }
    let app = move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&gateway)))
            .wrap(Condition::new(limited, quota.clone()))
            .route("/stats", web::get().to(stats))
            .default_service(web::to(forward))
    };
    let server = HttpServer::new(app)
        .workers(2)
        // Else a client that hangs up is not noticed before its answer.
        .h1_allow_half_closed(false)
        .disable_signals()
        .shutdown_timeout(patience.as_secs().max(1))
        .listen(listener)?
        .run();
    let handle = server.handle();
    let stopping = async {
        stop.cancelled().await;
        handle.stop(true).await;
    };
    tokio::join!(server, stopping).0
}

async fn forward(
    asked: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let peer = asked
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let Ok(request) = head(&asked) else {
        return HttpResponse::BadRequest().body("the target is not a path\n");
    };
    // The framework hands out the connection for this protocol alone; others are not offered to the backend.
    let upgrade = request.headers().get(UPGRADE);
    let is_websocket = upgrade.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if is_websocket && wants_upgrade(request.headers()) {
        let (ours, theirs) = tokio::io::duplex(ON_THE_WAY);
        let socket: Upgrading = Box::pin(async { Ok(Box::new(theirs) as Box<dyn Socket>) });
        let request = request.map(|()| whole(Bytes::new()));
        let answer = gateway.proxy.forward(request, peer, Some(socket)).await;
        if answer.status() == hyper::StatusCode::SWITCHING_PROTOCOLS {
            return switch(&answer, payload, ours);
        }
        return translate(answer);
    }
    let has_body = [CONTENT_LENGTH, TRANSFER_ENCODING]
        .iter()
        .any(|name| request.headers().contains_key(name));
    let body = if has_body {
        upload(payload)
    } else {
        whole(Bytes::new())
    };
    let request = request.map(|()| body);
    translate(gateway.proxy.forward(request, peer, None).await)
}

/// The head of a request, in the types of http 1.
fn head(asked: &HttpRequest) -> Result<Request<()>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(asked.method().as_str())
        .uri(asked.uri().to_string());
    for (name, value) in asked.headers() {
        request = request.header(name.as_str(), value.as_bytes());
    }
    request.body(())
}

/// The body of a request. Payloads do not leave their thread, so a task there passes on what comes.
fn upload(mut payload: web::Payload) -> Body {
    let (feed, relay) = relay();
    rt::spawn(async move {
        while let Some(bytes) = payload.next().await {
            let Ok(bytes) = bytes else { return };
            if feed.send(Frame::data(bytes)).await.is_err() {
                return;
            }
        }
        feed.end().await;
    });
    relay.boxed_unsync()
}

/// An answer, in the types of http 0.2.
fn translate(answer: Response<Body>) -> HttpResponse {
    let (head, body) = answer.into_parts();
    let mut response = HttpResponse::new(status(head.status));
    let mut length = body.size_hint().exact();
    for (name, value) in &head.headers {
        if name == CONTENT_LENGTH {
            // The framework writes it itself; of the answer to a HEAD only the header knows it.
            length = value.to_str().ok().and_then(|it| it.parse().ok());
        } else {
            append(&mut response, name.as_str(), value.as_bytes());
        }
    }
    // HTTP/1 clients of this server get no trailers.
    let bytes = body.into_data_stream().map_err(io::Error::other);
    response.set_body(match length {
        _ if head.status == hyper::StatusCode::NOT_MODIFIED => BoxBody::new(()),
        Some(length) => SizedStream::new(length, bytes).boxed(),
        None => BodyStream::new(bytes).boxed(),
    })
}

/// From here on the payload and the body of the answer are the two directions of another protocol.
fn switch(answer: &Response<Body>, payload: web::Payload, socket: DuplexStream) -> HttpResponse {
    let mut response = HttpResponse::new(status(answer.status()));
    response
        .head_mut()
        .set_connection_type(ConnectionType::Upgrade);
    for (name, value) in answer.headers() {
        // The framework writes it itself.
        if name != CONNECTION {
            append(&mut response, name.as_str(), value.as_bytes());
        }
    }
    let (from_backend, mut to_backend) = tokio::io::split(socket);
    rt::spawn(async move {
        let mut payload = payload;
        while let Some(Ok(bytes)) = payload.next().await {
            if to_backend.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may have gone first.
        let _ = to_backend.shutdown().await;
    });
    let bytes = ReaderStream::new(from_backend);
    response.set_body(BodyStream::new(bytes).boxed())
}

async fn stats(asked: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let looks = Looks::of(asked.headers().get(ACCEPT).map(HeaderValue::as_bytes));
    let mut response = HttpResponse::Ok();
    for header in stats::headers(looks) {
        response.insert_header(header);
    }
    response.body(gateway.stats.show(looks))
}

fn status(status: hyper::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).expect("a status is one in both versions")
}

fn append(response: &mut HttpResponse, name: &str, value: &[u8]) {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a name is one in both versions");
    let value = HeaderValue::from_bytes(value).expect("a value is one in both versions");
    response.headers_mut().append(name, value);
}
