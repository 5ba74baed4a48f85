//! Whose requests count together: keys made from what a request carries.
//!
//! A key is one of the functions here, or a tuple of them:
//!
//! ```
//! use tidegate_actix_web::key::{self, RequestKey};
//! use tidegate_actix_web::tidegate::Key;
//!
//! let per_tenant_and_method = RequestKey::from((key::header("x-tenant"), key::method()));
//! let of_my_own = RequestKey::from_fn(|request| Key::of(request.uri().host().unwrap_or("")));
//! ```
//!
//! What a key is made of is hashed at once and not kept, so API keys and cookies may be used as they are. Requests
//! that lack a part share one key for its absence.

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tidegate::key::{KeyBuilder, KeyPart, KeySecret, PeerKey, cookie_value};
use tidegate::{ClientIp, Key};

/// Makes a [`Key`] of a request. Cheap to clone; any rule is of this one type.
#[derive(Clone)]
pub struct RequestKey(Rule);

#[derive(Clone)]
enum Rule {
    /// Finds an address, the one part.
    Address(Arc<Address>),
    /// Adds parts, and may stand in a tuple with others.
    Parts(Arc<Parts>),
    /// Makes the whole key.
    Whole(Arc<dyn Fn(&ServiceRequest) -> Key + Send + Sync>),
}

type Address = dyn Fn(&ServiceRequest) -> Option<IpAddr> + Send + Sync;
type Parts = dyn Fn(&ServiceRequest, &mut KeyBuilder) + Send + Sync;

impl RequestKey {
    /// The key that `rule` makes.
    #[must_use]
    pub fn from_fn(rule: impl Fn(&ServiceRequest) -> Key + Send + Sync + 'static) -> Self {
        Self(Rule::Whole(Arc::new(rule)))
    }

    /// The key of the parts that `rule` adds.
    #[must_use]
    pub fn from_parts(
        rule: impl Fn(&ServiceRequest, &mut KeyBuilder) + Send + Sync + 'static,
    ) -> Self {
        Self(Rule::Parts(Arc::new(rule)))
    }

    /// The key of a request.
    #[inline]
    pub(crate) fn of(&self, request: &ServiceRequest, secret: Option<&KeySecret>) -> Key {
        match &self.0 {
            Rule::Whole(rule) => rule(request),
            Rule::Address(rule) => PeerKey(rule(request)).alone(secret),
            Rule::Parts(rule) => {
                let mut key = secret.map_or_else(Key::builder, KeySecret::builder);
                rule(request, &mut key);
                key.finish()
            }
        }
    }

    fn write(&self, request: &ServiceRequest, key: &mut KeyBuilder) {
        match &self.0 {
            Rule::Whole(rule) => rule(request).write(key),
            Rule::Address(rule) => PeerKey(rule(request)).write(key),
            Rule::Parts(rule) => rule(request, key),
        }
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey(..)")
    }
}

macro_rules! tuple_key {
    ($($part:ident)*) => {
        impl<$($part: Into<RequestKey>),*> From<($($part,)*)> for RequestKey {
            #[expect(non_snake_case, reason = "one name for the type and the value of a part")]
            fn from(($($part,)*): ($($part,)*)) -> Self {
                let parts = [$($part.into()),*];
                Self::from_parts(move |request, key| {
                    for part in &parts {
                        part.write(request, key);
                    }
                })
            }
        }
    };
}

tuple_key!(A B);
tuple_key!(A B C);
tuple_key!(A B C D);

/// The address of the other end of the connection. Behind a proxy that is the proxy's: see [`client`].
///
/// IPv6 counts by its first 64 bits, which one host commonly has to itself; an IPv4 address in an IPv6 one counts as
/// the IPv4 address it is. Connections without an address, as over Unix sockets, share one key.
#[must_use]
pub fn peer() -> RequestKey {
    client(ClientIp::peer())
}

/// The client's address as `client_ip` finds it: which proxies are trusted, which header they write, and how many
/// bits of an IPv6 address count.
#[must_use]
pub fn client(client_ip: ClientIp) -> RequestKey {
    let header = client_ip.header().map(HeaderName::from_static);
    RequestKey(Rule::Address(Arc::new(move |request| {
        let peer = request.peer_addr()?.ip();
        Some(match &header {
            None => client_ip.network(peer, [[]; 0]),
            Some(name) => client_ip.network(peer, request.headers().get_all(name)),
        })
    })))
}

/// The first value of the header called `name`, such as an API key. Only the hash of it is kept.
///
/// # Panics
/// If `name` cannot be the name of a header.
#[must_use]
pub fn header(name: &str) -> RequestKey {
    let name = HeaderName::from_bytes(name.as_bytes())
        .unwrap_or_else(|_| panic!("{name:?} cannot be the name of a header"));
    RequestKey::from_parts(move |request, key| {
        let value = request.headers().get(&name);
        value.map(HeaderValue::as_bytes).write(key);
    })
}

/// The value of the cookie called `name`, as it was sent.
#[must_use]
pub fn cookie(name: &str) -> RequestKey {
    let name = name.to_owned();
    RequestKey::from_parts(move |request, key| {
        let lines = request.headers().get_all(header::COOKIE);
        cookie_value(lines.map(HeaderValue::as_bytes), &name).write(key);
    })
}

/// The method.
#[must_use]
pub fn method() -> RequestKey {
    RequestKey::from_parts(|request, key| request.method().as_str().write(key))
}

/// The extension of type `T` that a middleware outside put into the request, such as a tenant found by
/// authentication.
#[must_use]
pub fn extension<T: KeyPart + 'static>() -> RequestKey {
    RequestKey::from_parts(|request, key| request.extensions().get::<T>().write(key))
}

/// The pattern of the resource (`/items/{id}`), which has one key for all its items. All requests without one share
/// the key of `<unmatched>`, so that made-up paths do not make keys.
///
/// Works around an app, a scope and a resource. actix-web makes the pattern anew for every request: two or more
/// allocations.
#[must_use]
pub fn match_pattern() -> RequestKey {
    RequestKey::from_parts(|request, key| match request.match_pattern() {
        Some(pattern) => pattern.write(key),
        None => "<unmatched>".write(key),
    })
}
