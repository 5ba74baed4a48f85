//! Who the client is, behind proxies: the address that nobody but a trusted proxy could have written.
//!
//! Every proxy appends the address it was called from. So the list is read from the right, starting at the
//! connection's own peer, for as long as the writer is trusted:
//!
//! ```text
//! X-Forwarded-For: 6.6.6.6 , 203.0.113.9 , 10.0.0.2          peer 10.0.0.1
//!                  written   written by    written by   ◀──  trusted: its entry counts
//!                  by the    10.0.0.2:     10.0.0.1:
//!                  client    the client    trusted, go on
//! ```
//!
//! Whatever a client puts in front can only be read past its own true address, where reading has stopped.

mod node;
mod walk;

use self::walk::Walk;
use crate::error::{ConfigError, excerpt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// How the client's address is found: which proxies are trusted, and which header they write.
///
/// One header and never the other: a proxy that writes `X-Forwarded-For` passes a client's own `Forwarded` through.
///
/// # Guarantees
/// * An address that is not trusted ends the walk: nothing to its left is read, so a client cannot choose the answer.
/// * An entry that is no address (`unknown`, `_hidden`, an empty one, garbage) ends the walk at the proxy that wrote
///   it; it is never skipped.
/// * IPv4-mapped addresses count as IPv4, everywhere.
///
/// # Defaults
/// IPv6 clients are told apart by /64, since one home or server has at least that many addresses.
///
/// # Examples
/// ```
/// use tidegate::ClientIp;
///
/// let client_ip = ClientIp::x_forwarded_for(["10.0.0.0/8"])?;
/// let peer = "10.0.0.1".parse().unwrap();
/// let address = client_ip.address(peer, ["6.6.6.6, 203.0.113.9, 10.0.0.2"]);
/// assert_eq!(address.to_string(), "203.0.113.9");
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientIp {
    header: Header,
    trusted: Box<[IpNet]>,
    ipv6_prefix: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Header {
    None,
    XForwardedFor,
    Forwarded,
}

impl ClientIp {
    /// The connection's peer is the client: there is no proxy.
    #[must_use]
    pub fn peer() -> Self {
        Self {
            header: Header::None,
            trusted: Box::default(),
            ipv6_prefix: 64,
        }
    }

    /// Proxies in the networks `trusted` append to `X-Forwarded-For`.
    ///
    /// # Errors
    /// [`ConfigError::TrustedProxy`] for a text that is neither an address nor a range of them,
    /// [`ConfigError::TrustEverybody`] for a range of all addresses.
    pub fn x_forwarded_for<T: AsRef<str>>(
        trusted: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        Self::behind(Header::XForwardedFor, trusted)
    }

    /// Proxies in the networks `trusted` append to `Forwarded` (RFC 7239).
    ///
    /// # Errors
    /// As [`Self::x_forwarded_for`].
    pub fn forwarded<T: AsRef<str>>(
        trusted: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        Self::behind(Header::Forwarded, trusted)
    }

    /// Tells IPv6 clients apart by the first `prefix` bits. Default 64; 56 or 48 where customers get that much.
    ///
    /// # Errors
    /// [`ConfigError::Ipv6Prefix`] unless it is from 16 to 128.
    pub fn ipv6_prefix(mut self, prefix: u8) -> Result<Self, ConfigError> {
        if !(16..=128).contains(&prefix) {
            return Err(ConfigError::Ipv6Prefix { prefix });
        }
        self.ipv6_prefix = prefix;
        Ok(self)
    }

    /// The name of the header whose values [`Self::address`] needs, in lower case; `None` if it needs none.
    #[must_use]
    pub const fn header(&self) -> Option<&'static str> {
        match self.header {
            Header::None => None,
            Header::XForwardedFor => Some("x-forwarded-for"),
            Header::Forwarded => Some("forwarded"),
        }
    }

    /// The client's address, given the connection's peer and all values of the [`header`](Self::header) in the order
    /// in which they came. Never allocates; reads each value once.
    #[must_use]
    pub fn address<V: AsRef<[u8]>>(
        &self,
        peer: IpAddr,
        values: impl IntoIterator<Item = V>,
    ) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut walk = Walk::default();
        for value in values {
            match self.header {
                Header::None => {}
                Header::XForwardedFor => {
                    node::x_forwarded_for(value.as_ref(), |node| self.step(&mut walk, node));
                }
                Header::Forwarded => {
                    node::forwarded(value.as_ref(), |node| self.step(&mut walk, node));
                }
            }
        }
        walk.end().unwrap_or(peer)
    }

    /// The network by which the client is told apart, as its first address: [`Self::address`] with the host bits of
    /// an IPv6 address cleared. What a key is made of.
    #[inline]
    #[must_use]
    pub fn network<V: AsRef<[u8]>>(
        &self,
        peer: IpAddr,
        values: impl IntoIterator<Item = V>,
    ) -> IpAddr {
        // Nothing is asked of it then, and most are.
        if peer.is_ipv4() && self.trusted.is_empty() {
            return peer;
        }
        match self.address(peer, values) {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix));
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }

    fn step(&self, walk: &mut Walk, node: Option<IpAddr>) {
        match node {
            None => walk.unreadable(),
            Some(address) if self.trusts(address) => walk.proxy(address),
            Some(address) => walk.client(address),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    fn behind<T: AsRef<str>>(
        header: Header,
        trusted: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        let trusted: Result<Box<[IpNet]>, ConfigError> = trusted
            .into_iter()
            .map(|text| network(text.as_ref()))
            .collect();
        Ok(Self {
            header,
            trusted: trusted?,
            ..Self::peer()
        })
    }
}

/// Reads `10.0.0.0/8` or `10.0.0.1`; a network of IPv4-mapped addresses becomes the IPv4 one.
fn network(text: &str) -> Result<IpNet, ConfigError> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| ConfigError::TrustedProxy {
            text: excerpt(text),
        })?,
    };
    let network = unmapped(network);
    if network.prefix_len() == 0 {
        return Err(ConfigError::TrustEverybody);
    }
    Ok(network)
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let v4 = |v6: Ipv6Net| {
        let address = v6.addr().to_ipv4_mapped()?;
        Ipv4Net::new(address, v6.prefix_len().checked_sub(96)?).ok()
    };
    v4(v6).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests;
