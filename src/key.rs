//! Who is limited: any number of parts, hashed once at the edge to 128 bits that are the same in every process.
//!
//! The hash is SipHash-1-3 with 128 bits of output (Aumasson and Bernstein, 2012). With a secret of one's own nobody
//! outside can find two identifiers that share a cell; without one the key is public and that costs an attacker
//! about 2^64 hashes.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

/// The identity of one limited thing: a client, a tenant and a route, an API key.
///
/// 16 bytes, copied, whatever the length of the identifier; what it was made from cannot be read from it.
///
/// # Guarantees
/// * The same parts give the same key in every process, on every machine and in every version of this crate.
/// * Different parts give different keys but for chance in 2^128: `("ab", "c")` is not `("a", "bc")`, an empty part
///   is not a missing one, and the text `"1"` is not the number 1.
///
/// # Examples
/// ```
/// use tidegate::Key;
///
/// let by_name = Key::of("alice");
/// let by_tenant_and_route = Key::of(&("acme", "/v1/items/{id}"));
/// assert_ne!(by_name, by_tenant_and_route);
/// assert_eq!(by_name, Key::builder().part("alice").finish());
/// ```
// Two numbers and no array: so it travels in two registers. Written as two words and read as one of 16 bytes, it would
// make each reader wait.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(u64, u64);

impl Key {
    /// One cell for all: a limit that does not tell clients apart. A limiter decides on it without a look-up.
    pub const EVERYONE: Self = Self(0, 0);

    /// The key of one part or of a tuple of parts, under the public hash.
    #[inline]
    #[must_use]
    pub fn of<P: KeyPart + ?Sized>(part: &P) -> Self {
        Self::builder().part(part).finish()
    }

    /// The key of `parts`, as bytes, under the public hash.
    #[must_use]
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        let mut builder = Self::builder();
        for part in parts {
            builder = builder.part(*part);
        }
        builder.finish()
    }

    /// Collects the parts one by one, under the public hash.
    #[inline]
    pub fn builder() -> KeyBuilder {
        KeyBuilder(SipHasher13::new_with_keys(PUBLIC[0], PUBLIC[1]))
    }

    /// The 128 bits, for a store.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }

    /// The key of [`Self::to_u128`], from a store.
    #[cfg(feature = "redis")]
    pub(crate) const fn from_u128(bits: u128) -> Self {
        Self((bits >> 64) as u64, bits as u64)
    }

    /// Both halves.
    #[inline]
    pub(crate) const fn halves(self) -> [u64; 2] {
        [self.0, self.1]
    }

    /// The key that [`Self::halves`] gave.
    #[inline]
    pub(crate) const fn from_halves([high, low]: [u64; 2]) -> Self {
        Self(high, low)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", self.to_u128())
    }
}

/// Makes keys under a secret, so that an attacker who knows this crate cannot choose two identifiers that share a
/// cell. Processes that share limits need the same secret.
///
/// # Examples
/// ```
/// use tidegate::Key;
/// use tidegate::key::KeySecret;
///
/// let secret = KeySecret::new([7; 16]);
/// assert_ne!(secret.key(&"alice"), Key::of("alice"));
/// ```
#[derive(Clone)]
pub struct KeySecret([u64; 2]);

impl KeySecret {
    /// The secret of these 16 bytes, which should be random.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
    }

    /// As [`Key::of`], under this secret.
    #[must_use]
    pub fn key<P: KeyPart + ?Sized>(&self, part: &P) -> Key {
        self.builder().part(part).finish()
    }

    /// As [`Key::builder`], under this secret.
    pub fn builder(&self) -> KeyBuilder {
        KeyBuilder(SipHasher13::new_with_keys(self.0[0], self.0[1]))
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

/// Collects the parts of a [`Key`] in order.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is finished"]
pub struct KeyBuilder(SipHasher13);

impl KeyBuilder {
    /// Adds a part, or each part of a tuple.
    #[inline]
    pub fn part<P: KeyPart + ?Sized>(mut self, part: &P) -> Self {
        part.write(&mut self);
        self
    }

    /// The key of the parts so far.
    #[inline]
    #[must_use]
    pub fn finish(self) -> Key {
        let hash = self.0.finish128();
        Key(hash.h1, hash.h2)
    }

    /// Adds `bytes` behind a word that holds their kind and length, so that no two lists of parts read the same.
    #[inline]
    fn write(&mut self, kind: Kind, bytes: &[u8]) {
        self.write_header(kind, bytes.len());
        self.0.write(bytes);
    }

    /// As [`Self::write`], with four bytes.
    #[inline]
    fn write_4(&mut self, kind: Kind, bytes: [u8; 4]) {
        self.write_header(kind, 4);
        self.0.write_u32(u32::from_ne_bytes(bytes));
    }

    /// As [`Self::write`], with eight bytes.
    #[inline]
    fn write_8(&mut self, kind: Kind, bytes: [u8; 8]) {
        self.write_header(kind, 8);
        self.0.write_u64(u64::from_ne_bytes(bytes));
    }

    // Words go in as their bytes in memory, without the loop that texts need.
    #[inline]
    fn write_header(&mut self, kind: Kind, length: usize) {
        let header = (kind as u64) << 56 | length as u64;
        self.0.write_u64(u64::from_ne_bytes(header.to_le_bytes()));
    }
}

impl fmt::Debug for KeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBuilder(..)")
    }
}

/// What the bytes of a part mean: part of what is hashed, so the numbers never change.
#[derive(Clone, Copy)]
enum Kind {
    Bytes = 1,
    Number = 2,
    V4 = 3,
    V6 = 4,
    Key = 5,
    Absent = 6,
}

/// Something that a [`Key`] can be made of.
///
/// Text and bytes are one kind; numbers and addresses are kinds of their own, so that a client who may choose a text
/// cannot make it read as somebody's address.
pub trait KeyPart {
    /// Adds this part, or its parts, to the key.
    fn write(&self, key: &mut KeyBuilder);
}

impl KeyPart for [u8] {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        key.write(Kind::Bytes, self);
    }
}

impl KeyPart for str {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        key.write(Kind::Bytes, self.as_bytes());
    }
}

/// The address of a peer, as far as it is known: of all of whom it is not there is one. Hashed where it is found, which takes
/// half of the steps of a hash whose parts come from elsewhere.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct PeerKey(pub Option<IpAddr>);

impl PeerKey {
    /// The key of this part alone.
    #[inline]
    #[must_use]
    pub fn alone(self, secret: Option<&KeySecret>) -> Key {
        match (self.0, secret) {
            (Some(address), None) => Key::of(&address),
            _ => self.unusual(secret),
        }
    }

    // Out of line, so that what is usual is short.
    #[inline(never)]
    fn unusual(self, secret: Option<&KeySecret>) -> Key {
        let key = secret.map_or_else(Key::builder, KeySecret::builder);
        key.part(&self).finish()
    }
}

impl KeyPart for PeerKey {
    fn write(&self, key: &mut KeyBuilder) {
        match self.0 {
            Some(address) => address.write(key),
            None => "<unknown peer>".write(key),
        }
    }
}

impl KeyPart for String {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        self.as_str().write(key);
    }
}

impl KeyPart for IpAddr {
    // Where it is the first part, all that does not depend on the address is done by the compiler.
    #[inline(always)]
    fn write(&self, key: &mut KeyBuilder) {
        match self {
            Self::V4(address) => key.write_4(Kind::V4, address.octets()),
            Self::V6(address) => key.write(Kind::V6, &address.octets()),
        }
    }
}

/// A key is a part of another one: keys nest.
impl KeyPart for Key {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        key.write(Kind::Key, &self.to_u128().to_le_bytes());
    }
}

/// `None` is a part of its own, different from every `Some`.
impl<P: KeyPart> KeyPart for Option<P> {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        match self {
            Some(part) => part.write(key),
            None => key.write(Kind::Absent, &[]),
        }
    }
}

impl<P: KeyPart + ?Sized> KeyPart for &P {
    #[inline]
    fn write(&self, key: &mut KeyBuilder) {
        (**self).write(key);
    }
}

/// All widths of a number are one part.
macro_rules! number_part {
    ($($number:ty)*) => {$(
        impl KeyPart for $number {
            #[inline]
            fn write(&self, key: &mut KeyBuilder) {
                key.write_8(Kind::Number, u64::from(*self).to_le_bytes());
            }
        }
    )*};
}
number_part!(u8 u16 u32 u64);

macro_rules! tuple_part {
    ($($part:ident)*) => {
        impl<$($part: KeyPart),*> KeyPart for ($($part,)*) {
            #[inline]
            #[expect(non_snake_case, reason = "one name for the type and the value of a part")]
            fn write(&self, key: &mut KeyBuilder) {
                let ($($part,)*) = self;
                $($part.write(key);)*
            }
        }
    };
}
tuple_part!(A);
tuple_part!(A B);
tuple_part!(A B C);
tuple_part!(A B C D);
tuple_part!(A B C D E);

/// The value of the cookie called `name` in the lines of a `Cookie` header (RFC 6265 4.2.1), the first if there are
/// several.
// For adapters alone: it may change in any release.
#[doc(hidden)]
#[must_use]
pub fn cookie_value<'a>(lines: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter_map(|pair| pair.strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))
}

/// The key of the public hash: "tidegate key v1", so that keys differ from other programs' SipHash.
const PUBLIC: [u64; 2] = [
    u64::from_le_bytes(*b"tidegate"),
    u64::from_le_bytes(*b" key  v1"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// The numbers come from another implementation of SipHash-1-3-128, over bytes put together by hand.
    #[test]
    fn keys_are_the_same_in_every_process_and_version() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for (key, bits) in [
            (Key::of("alice"), 0xee1e4193974f1b90_2039e57e54a3f54f),
            (
                Key::of(&("acme", 42u32, address)),
                0x0bafdc52acd1ea98_9dda9730e761d986,
            ),
            (Key::from_parts(&[]), 0x5bc145c34249f24a_d9c25b6e0d31df14),
            (
                KeySecret::new([7; 16]).key("alice"),
                0xd86d4d51a7e93fc0_325aab69eaca7461,
            ),
        ] {
            assert_eq!(key.to_u128(), bits, "{key:?}");
        }
    }

    #[test]
    fn parts_cannot_be_taken_for_one_another() {
        let address: IpAddr = "49.49.49.49".parse().unwrap();
        let mapped: IpAddr = "::ffff:49.49.49.49".parse().unwrap();
        let keys = [
            Key::of(""),
            Key::from_parts(&[]),
            Key::of(&("", "")),
            Key::of(&("ab", "c")),
            Key::of(&("a", "bc")),
            Key::of("abc"),
            Key::of("1111"),
            Key::of(&address),
            Key::of(&mapped),
            Key::of(&0x3131_3131u32),
            Key::of(&None::<&str>),
            Key::of(&(None::<&str>, "abc")),
            Key::of(&("abc", None::<&str>)),
            Key::of(&Key::of("abc")),
            Key::of("abc\0"),
            Key::of("\x01\0\0\0\0\0\0\x03abc"),
            Key::EVERYONE,
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "number {at} is not new");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let lines = [&b"a=1; sid=7;b=2"[..], b"sidx=8;xsid=9; sid ;sid=5"];
        assert_eq!(cookie_value(lines, "sid"), Some(&b"7"[..]));
        assert_eq!(cookie_value(lines, "b"), Some(&b"2"[..]));
        assert_eq!(cookie_value(lines, "id"), None);
        assert_eq!(cookie_value([&b"sid="[..]], "sid"), Some(&b""[..]));
        assert_eq!(cookie_value([], "sid"), None);
    }

    #[test]
    fn a_megabyte_is_a_key_like_any_other() {
        let mut long = vec![b'x'; 1 << 20];
        let key = Key::of(long.as_slice());
        long[1 << 19] = b'y';
        assert_ne!(key, Key::of(long.as_slice()));
    }

    #[test]
    fn every_way_to_say_the_same_parts_gives_the_same_key() {
        let key = Key::of(&("acme", "alice"));
        assert_eq!(key, Key::from_parts(&[b"acme", b"alice"]));
        assert_eq!(key, Key::builder().part("acme").part("alice").finish());
        assert_eq!(key, Key::of(&(("acme",), Some(String::from("alice")))));
        assert_eq!(Key::of(&7u8), Key::of(&7u64));
    }

    proptest! {
        #[test]
        fn different_lists_of_parts_give_different_keys(
            lists in prop::collection::vec(prop::collection::vec("[ab\0]{0,4}", 0..4), 2..40),
        ) {
            let mut seen = HashMap::new();
            for list in &lists {
                let parts: Vec<&[u8]> = list.iter().map(String::as_bytes).collect();
                let before = seen.insert(Key::from_parts(&parts), list);
                prop_assert!(before.is_none_or(|before| before == list));
            }
        }
    }
}
