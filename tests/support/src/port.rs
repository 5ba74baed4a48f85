//! Ports for servers that cannot be told to choose one themselves.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// A loopback port that was free a moment ago: whoever binds it must be ready to find it taken, and try another.
///
/// It lies below the ranges from which systems give ports to outgoing connections, so that a server can be
/// restarted on its port.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> u16 {
    let random = RandomState::new();
    (0..1000u32)
        .map(|attempt| 10_000 + (random.hash_one(attempt) % 20_000) as u16)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("one of a thousand random ports is free")
}
