//! The gateway under axum.

use crate::proxy::{Socket, Upgrading};
use crate::stats::{self, Looks};
use crate::{BoxError, Gateway};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::header::ACCEPT;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tidegate::tower::RateLimitLayer;
use tidegate_axum::key;

/// Serves until the gateway stops; then until every client has its answer.
pub(crate) async fn serve(listener: TcpListener, gateway: Arc<Gateway>) -> io::Result<()> {
    let stop = gateway.stop.clone();
    let mut app = Router::new().fallback(forward);
    if let Some(limiter) = &gateway.limiter {
        let quota = RateLimitLayer::new(limiter.clone()).key(key::peer());
        app = app.layer(quota.clone());
        gateway.stats.count_denied_by(move || quota.denied());
    }
    let app = app
        // Below the layer, so outside of the quota.
        .route("/stats", get(stats))
        .with_state(gateway)
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn forward(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let upgrade = request.extensions_mut().remove().map(upgrading);
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let answer = gateway.proxy.forward(request, peer.ip(), upgrade).await;
    answer.map(Body::new)
}

fn upgrading(upgrade: OnUpgrade) -> Upgrading {
    Box::pin(async {
        let socket: Box<dyn Socket> = Box::new(TokioIo::new(upgrade.await?));
        Ok::<_, BoxError>(socket)
    })
}

async fn stats(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let looks = Looks::of(headers.get(ACCEPT).map(|accept| accept.as_bytes()));
    let mut response = Response::builder();
    for (name, value) in stats::headers(looks) {
        response = response.header(name, value);
    }
    response
        .body(gateway.stats.show(looks).into())
        .expect("the headers are fixed")
}
