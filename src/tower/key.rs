//! Whose requests count together: keys made from what a request carries.
//!
//! A key is one of the functions here, or a tuple of them:
//!
//! ```
//! use tidegate::tower::key::{self, RequestKey};
//! use tidegate::Key;
//!
//! let per_tenant_and_method = RequestKey::from((key::header("x-tenant"), key::method()));
//! let of_my_own = RequestKey::from_fn(|request| Key::of(request.uri().host().unwrap_or("")));
//! ```
//!
//! What a key is made of is hashed at once and not kept, so API keys and cookies may be used as they are. Requests
//! that lack a part share one key for its absence.

use crate::client_ip::ClientIp;
use crate::key::{Key, KeyBuilder, KeyPart, KeySecret, PeerKey, cookie_value};
use crate::observe;
use crate::tower::RequestHead;
use http::{Extensions, HeaderName, HeaderValue, header};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    Whole(Arc<dyn Fn(&RequestHead<'_>) -> Key + Send + Sync>),
}

type Address = dyn Fn(&RequestHead<'_>) -> Option<IpAddr> + Send + Sync;
type Parts = dyn Fn(&RequestHead<'_>, &mut KeyBuilder) + Send + Sync;

impl RequestKey {
    /// The key that `rule` makes.
    #[must_use]
    pub fn from_fn(rule: impl Fn(&RequestHead<'_>) -> Key + Send + Sync + 'static) -> Self {
        Self(Rule::Whole(Arc::new(rule)))
    }

    /// The key of the parts that `rule` adds.
    pub fn from_parts(
        rule: impl Fn(&RequestHead<'_>, &mut KeyBuilder) + Send + Sync + 'static,
    ) -> Self {
        Self(Rule::Parts(Arc::new(rule)))
    }

    /// The key of a request.
    #[inline]
    pub(super) fn of(&self, request: &RequestHead<'_>, secret: Option<&KeySecret>) -> Key {
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

    fn write(&self, request: &RequestHead<'_>, key: &mut KeyBuilder) {
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

/// The address of the other end of the connection, from the [`PeerAddr`] that the server puts into each request's
/// extensions. Adapters offer the same from what their framework has.
///
/// IPv6 counts by its first 64 bits, as [`ClientIp`] says.
#[must_use]
pub fn peer() -> RequestKey {
    client(ClientIp::peer())
}

/// The address of the client behind proxies that are trusted, found from the [`PeerAddr`] and the header that the
/// proxies write. What a client writes itself is not believed.
#[must_use]
pub fn client(client_ip: ClientIp) -> RequestKey {
    client_by(
        client_ip,
        |extensions| extensions.get::<PeerAddr>().map(|peer| peer.0.ip()),
        "insert a `tidegate::tower::key::PeerAddr` into the extensions of every request, where the server accepts the \
         connection",
    )
}

/// The address of the peer, as a server that knows it says in the request's extensions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PeerAddr(pub SocketAddr);

/// As [`client`], with the peer's address that `find` finds in the extensions: for adapters.
///
/// If there is none the program lacks a line: `hint` says which, once, and all requests share one key until it is
/// written.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[must_use]
pub fn client_by(
    client_ip: ClientIp,
    find: fn(&Extensions) -> Option<IpAddr>,
    hint: &'static str,
) -> RequestKey {
    let header = client_ip.header().map(HeaderName::from_static);
    let told = AtomicBool::new(false);
    RequestKey(Rule::Address(Arc::new(move |request| {
        let Some(peer) = find(request.extensions()) else {
            if !told.swap(true, Ordering::Relaxed) {
                observe::unknown_peer(hint);
            }
            return None;
        };
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

/// The value of the cookie called `name`.
#[must_use]
pub fn cookie(name: &str) -> RequestKey {
    let name = name.to_owned();
    RequestKey::from_parts(move |request, key| {
        let lines = request.headers().get_all(header::COOKIE);
        cookie_value(lines.iter().map(HeaderValue::as_bytes), &name).write(key);
    })
}

/// The method.
#[must_use]
pub fn method() -> RequestKey {
    RequestKey::from_parts(|request, key| request.method().as_str().write(key))
}

/// The extension of type `T` that a layer outside put into the request, such as a tenant found by authentication.
#[must_use]
pub fn extension<T: KeyPart + Send + Sync + 'static>() -> RequestKey {
    RequestKey::from_parts(|request, key| request.extensions().get::<T>().write(key))
}

/// The template of the path (`/items/{id}`), as `read` finds it in the extensions. All requests without one share
/// the key of `<unmatched>`, so that made-up paths do not make keys. Adapters offer this ready for their router.
#[must_use]
pub fn path_template(read: fn(&Extensions) -> Option<&str>) -> RequestKey {
    RequestKey::from_parts(move |request, key| {
        read(request.extensions())
            .unwrap_or("<unmatched>")
            .write(key);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn of(key: &RequestKey, request: &Request<()>) -> Key {
        key.of(&RequestHead::of(request), None)
    }

    fn with(name: &str, value: &str) -> Request<()> {
        Request::get("/").header(name, value).body(()).unwrap()
    }

    #[test]
    fn a_part_counts_by_its_value_and_a_missing_one_by_its_absence() {
        let bare = Request::get("/").body(()).unwrap();
        for (key, name, one, other) in [
            (header("X-Api-Key"), "x-api-key", "secret", "other"),
            (cookie("sid"), "cookie", "a=1; sid=7;b=2", "a=1;sid=8; b=2"),
        ] {
            let (one, other) = (with(name, one), with(name, other));
            assert_eq!(of(&key, &one), of(&key, &one));
            let keys = [of(&key, &one), of(&key, &other), of(&key, &bare)];
            assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        }
        let other_cookie = with("cookie", "asid=7; sidx=7; sid");
        assert_eq!(of(&cookie("sid"), &other_cookie), of(&cookie("sid"), &bare));
    }

    #[test]
    fn tuples_keep_their_parts_apart() {
        let both = RequestKey::from((header("a"), header("b")));
        let only_a = with("a", "x");
        let only_b = with("b", "x");
        assert_ne!(of(&both, &only_a), of(&both, &only_b));
        let nested = RequestKey::from((method(), RequestKey::from_fn(|_| Key::of("all"))));
        assert_eq!(of(&nested, &only_a), of(&nested, &only_b));
        let post = Request::post("/").body(()).unwrap();
        assert_ne!(of(&nested, &only_a), of(&nested, &post));
    }

    #[test]
    fn a_whole_key_is_taken_as_it_is_and_a_secret_changes_the_others() {
        let request = with("a", "x");
        let head = RequestHead::of(&request);
        let secret = KeySecret::new([7; 16]);
        let whole = RequestKey::from_fn(|_| Key::EVERYONE);
        assert_eq!(whole.of(&head, Some(&secret)), Key::EVERYONE);
        let parts = header("a");
        assert_ne!(parts.of(&head, Some(&secret)), parts.of(&head, None));
    }

    #[test]
    fn extensions_and_templates_come_from_outside() {
        let tenant = |tenant: u64| {
            let mut request = Request::get("/").body(()).unwrap();
            request.extensions_mut().insert(tenant);
            request
        };
        let key = extension::<u64>();
        assert_ne!(of(&key, &tenant(1)), of(&key, &tenant(2)));

        let template = path_template(|extensions| extensions.get::<&str>().copied());
        let mut matched = Request::get("/items/7").body(()).unwrap();
        matched.extensions_mut().insert("/items/{id}");
        assert_ne!(of(&template, &matched), of(&template, &tenant(1)));
        assert_eq!(of(&template, &tenant(1)), Key::of("<unmatched>"));
    }

    #[test]
    fn peers_count_by_address_or_all_together() {
        let from = |address: &str| {
            let mut request = Request::get("/").body(()).unwrap();
            let at = PeerAddr(SocketAddr::new(address.parse().unwrap(), 4711));
            request.extensions_mut().insert(at);
            of(&peer(), &request)
        };
        assert_ne!(from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(from("192.0.2.1"), from("::ffff:192.0.2.1"));
        assert_eq!(from("2001:db8:0:1::1"), from("2001:db8:0:1:ffff::2"));
        assert_ne!(from("2001:db8:0:1::1"), from("2001:db8:0:2::1"));
        let unknown = Request::get("/").body(()).unwrap();
        assert_eq!(of(&peer(), &unknown), Key::of("<unknown peer>"));
    }

    #[test]
    fn clients_count_by_what_a_trusted_proxy_wrote() {
        let key = client(ClientIp::x_forwarded_for(["10.0.0.0/8"]).unwrap());
        let through = |peer: &str, header: &str| {
            let mut request = with("x-forwarded-for", header);
            let peer = SocketAddr::new(peer.parse().unwrap(), 443);
            request.extensions_mut().insert(PeerAddr(peer));
            of(&key, &request)
        };
        let client: IpAddr = "203.0.113.9".parse().unwrap();
        assert_eq!(
            through("10.0.0.1", "6.6.6.6, 203.0.113.9"),
            Key::of(&client)
        );
        assert_eq!(through("203.0.113.9", "6.6.6.6"), Key::of(&client));
    }

    #[test]
    #[should_panic(expected = "\"x tenant\" cannot be the name of a header")]
    fn a_name_that_is_no_headers_name_is_refused_at_once() {
        let _ = header("x tenant");
    }
}
