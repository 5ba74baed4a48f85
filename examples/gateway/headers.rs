//! What may not pass a proxy, and what a proxy adds.

use hyper::header::{
    CONNECTION, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use std::net::IpAddr;

/// Whether the next connection is to be upgraded as this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Passing {
    /// `Upgrade` goes along, and a `Connection` that names it alone.
    Upgrade,
    /// Nothing of this connection goes along.
    Nothing,
}

/// Removes what is meant for this connection alone (RFC 9110 7.6.1): `Connection` and what it names, and what is so
/// even without being named.
pub(crate) fn strip(headers: &mut HeaderMap, passing: Passing) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let upgrade = headers
        .remove(UPGRADE)
        .filter(|_| passing == Passing::Upgrade);
    for name in named.iter().chain(&ALWAYS) {
        headers.remove(name);
    }
    let proxy: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in &proxy {
        headers.remove(name);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Whether the request asks to speak another protocol on this connection.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// Tells the backend who asked, and for which host. To be called after [`strip`], which a client could otherwise
/// tell to remove this again.
pub(crate) fn introduce(headers: &mut HeaderMap, peer: IpAddr, authority: Option<&str>) {
    // The server has said 100 by itself as soon as the body is read.
    headers.remove(EXPECT);
    let host = headers
        .remove(HOST)
        .or_else(|| HeaderValue::try_from(authority?).ok());
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    // Behind what proxies in front said; whoever reads it decides how many of them to believe.
    let peer = HeaderValue::try_from(peer.to_canonical().to_string())
        .expect("an address is visible ASCII");
    match headers.entry(X_FORWARDED_FOR) {
        Entry::Occupied(mut earlier) => earlier.append(peer),
        Entry::Vacant(first) => drop(first.insert(peer)),
    }
}

const ALWAYS: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
