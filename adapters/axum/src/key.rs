//! Whose requests count together, from what axum knows of them. All other keys are in [`tidegate::tower::key`].

use axum::extract::{ConnectInfo, MatchedPath};
use http::Extensions;
use std::net::{IpAddr, SocketAddr};
use tidegate::ClientIp;
use tidegate::tower::key::RequestKey;

pub use tidegate::tower::key::{cookie, extension, header, method};

/// The address of the other end of the connection, from axum's [`ConnectInfo<SocketAddr>`](ConnectInfo).
///
/// IPv6 counts by its first 64 bits. Needs `into_make_service_with_connect_info::<SocketAddr>()`; without it all
/// clients share one key, and the first request says so.
#[must_use]
pub fn peer() -> RequestKey {
    client(ClientIp::peer())
}

/// The address of the client behind proxies that are trusted. What a client writes itself is not believed.
///
/// Needs connect info, as [`peer`] does.
///
/// # Examples
/// ```
/// use tidegate_axum::key;
/// use tidegate_axum::tidegate::ClientIp;
///
/// let by_client = key::client(ClientIp::x_forwarded_for(["10.0.0.0/8"])?);
/// # Ok::<(), tidegate_axum::tidegate::ConfigError>(())
/// ```
#[must_use]
pub fn client(client_ip: ClientIp) -> RequestKey {
    tidegate::tower::key::client_by(client_ip, peer_of, HINT)
}

/// The template of the route (`/items/{id}`), which has one key for all its items.
///
/// Works in `Router::layer`, `Router::route_layer` and `MethodRouter::layer`. A layer around the whole router runs
/// before routing: there, as for requests that match no route, the key is that of `<unmatched>`.
#[must_use]
pub fn matched_path() -> RequestKey {
    tidegate::tower::key::path_template(|extensions| extensions.get().map(MatchedPath::as_str))
}

fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}

const HINT: &str = "serve the router with `axum::serve(listener, \
                    app.into_make_service_with_connect_info::<SocketAddr>())`";
