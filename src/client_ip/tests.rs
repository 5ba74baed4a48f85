//! Proves that nobody but a trusted proxy has a say in the client's address.

use super::*;
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::quota::Quota;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const PROXIES: [&str; 3] = ["10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn x_forwarded_for(peer: &str, values: &[&str]) -> String {
    let client_ip = ClientIp::x_forwarded_for(PROXIES).unwrap();
    client_ip.address(ip(peer), values).to_string()
}

fn forwarded(peer: &str, values: &[&str]) -> String {
    let client_ip = ClientIp::forwarded(PROXIES).unwrap();
    client_ip.address(ip(peer), values).to_string()
}

#[test]
fn the_walk_stops_at_the_first_address_that_is_not_trusted() {
    for (peer, values, client) in [
        ("203.0.113.9", &["6.6.6.6"][..], "203.0.113.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[""], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
        (
            "10.0.0.1",
            &["6.6.6.6, 203.0.113.9, 10.0.0.2"],
            "203.0.113.9",
        ),
        (
            "10.0.0.1",
            &["6.6.6.6", "203.0.113.9", "10.0.0.2"],
            "203.0.113.9",
        ),
        ("10.0.0.1", &["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
        ("10.0.0.1", &["10.0.0.7, 6.6.6.6, 10.0.0.2"], "6.6.6.6"),
        ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
        ("172.16.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        (
            "10.0.0.1",
            &["203.0.113.9, ::ffff:172.31.0.1"],
            "203.0.113.9",
        ),
        ("172.32.0.1", &["203.0.113.9"], "172.32.0.1"),
    ] {
        assert_eq!(x_forwarded_for(peer, values), client, "{peer} {values:?}");
    }
}

#[test]
fn an_entry_that_is_no_address_ends_the_walk_and_is_never_skipped() {
    for hole in [
        "unknown",
        "_hidden",
        "",
        " ",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "256.0.0.1",
        "1.2.3.4/8",
        "fe80::1%eth0",
        "[::1",
        "::1]",
        "1.2.3.4:",
        "1.2.3.4:99999",
        "1.2.3.4:80:80",
        "1.2.3.4:+80",
        "\"",
        "\u{e9}",
        "for=1.2.3.4",
    ] {
        let value = format!("6.6.6.6, {hole}, 10.0.0.2");
        assert_eq!(
            x_forwarded_for("10.0.0.1", &[&value]),
            "10.0.0.2",
            "{hole:?}"
        );
        let last = format!("6.6.6.6, {hole}");
        assert_eq!(
            x_forwarded_for("10.0.0.1", &[&last]),
            "10.0.0.1",
            "{hole:?}"
        );
        let first = format!("{hole}, 203.0.113.9");
        assert_eq!(
            x_forwarded_for("10.0.0.1", &[&first]),
            "203.0.113.9",
            "{hole:?}"
        );
    }
    let client_ip = ClientIp::x_forwarded_for(PROXIES).unwrap();
    let bytes: &[u8] = b"6.6.6.6, \xff\xfe";
    assert_eq!(client_ip.address(ip("10.0.0.1"), [bytes]), ip("10.0.0.1"));
}

#[test]
fn every_way_to_write_an_address_is_read() {
    for (text, address) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("\"203.0.113.9:4711\"", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("\"[2001:db8::1]:_x9\"", "2001:db8::1"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
    ] {
        assert_eq!(x_forwarded_for("10.0.0.1", &[text]), address, "{text}");
        assert_eq!(
            forwarded("10.0.0.1", &[&format!("for={text}")]),
            address,
            "{text}"
        );
    }
}

#[test]
fn forwarded_is_read_pair_by_pair() {
    for (value, client) in [
        ("for=6.6.6.6, for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("proto=https ; FOR=\"203.0.113.9\"", "203.0.113.9"),
        ("for=203.0.113.9;host=\"a, b; for=6.6.6.6\"", "203.0.113.9"),
        ("for=203.0.113.9;host=\"a\\\", for=6.6.6.6\"", "203.0.113.9"),
        ("for=6.6.6.6, proto=https", "10.0.0.1"),
        ("for=6.6.6.6, for=unknown", "10.0.0.1"),
        ("for=6.6.6.6, for=_secret, for=10.0.0.9", "10.0.0.9"),
        ("for=6.6.6.6;for=7.7.7.7", "10.0.0.1"),
        ("for=6.6.6.6, 203.0.113.9", "10.0.0.1"),
        ("for=6.6.6.6;", "10.0.0.1"),
    ] {
        assert_eq!(forwarded("10.0.0.1", &[value]), client, "{value}");
    }
}

#[test]
fn a_quote_that_a_client_left_open_swallows_no_entry_but_its_own() {
    for open in [
        "for=6.6.6.6;x=\"",
        "for=\"6.6.6.6",
        "for=6.6.6.6;x=\"\\",
        "for=6.6.6.6, for=\"",
        "\"",
    ] {
        for appended in [
            "for=203.0.113.9",
            "for=\"203.0.113.9\"",
            "for=203.0.113.9;by=\"a\", for=\"10.0.0.2\"",
        ] {
            let client = forwarded("10.0.0.1", &[&format!("{open}, {appended}")]);
            assert!(
                ["203.0.113.9", "10.0.0.1", "10.0.0.2"].contains(&&*client),
                "{open} {appended}: {client}"
            );
        }
        assert_eq!(
            forwarded("10.0.0.1", &[open, "for=203.0.113.9"]),
            "203.0.113.9"
        );
    }
}

#[test]
fn ipv6_clients_are_told_apart_by_their_network() {
    let peer = ClientIp::peer();
    let none = || std::iter::empty::<&str>();
    assert_eq!(peer.header(), None);
    assert_eq!(
        peer.network(ip("2001:db8:1:2:3:4:5:6"), none()),
        ip("2001:db8:1:2::")
    );
    assert_eq!(
        peer.network(ip("::ffff:192.0.2.1"), none()),
        ip("192.0.2.1")
    );
    let wider = ClientIp::peer().ipv6_prefix(48).unwrap();
    assert_eq!(
        wider.network(ip("2001:db8:1:2::3"), none()),
        ip("2001:db8:1::")
    );
    let whole = ClientIp::peer().ipv6_prefix(128).unwrap();
    assert_eq!(whole.network(ip("2001:db8::3"), none()), ip("2001:db8::3"));
    assert_eq!(
        peer.address(ip("2001:db8:1:2::3"), none()),
        ip("2001:db8:1:2::3")
    );
    for prefix in [0, 15, 129] {
        let error = ClientIp::peer().ipv6_prefix(prefix).unwrap_err();
        assert_eq!(error, ConfigError::Ipv6Prefix { prefix });
    }
}

#[test]
fn proxies_that_cannot_be_trusted_are_errors_that_say_what_to_write() {
    for text in [
        "",
        "10.0.0.0/33",
        "10.0.0/8",
        "proxy.local",
        "10.0.0.1:80",
        "*",
    ] {
        let error = ClientIp::forwarded([text]).unwrap_err();
        assert!(
            matches!(error, ConfigError::TrustedProxy { .. }),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    }
    for text in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
        let error = ClientIp::x_forwarded_for(["10.0.0.0/8", text]).unwrap_err();
        assert_eq!(error, ConfigError::TrustEverybody, "{text}");
    }
}

#[test]
fn spoofed_headers_do_not_multiply_a_limit_of_one() {
    let proxied = ClientIp::x_forwarded_for(PROXIES).unwrap();
    for (peer, client_ip) in [
        ("203.0.113.9", ClientIp::peer()),
        ("203.0.113.9", proxied.clone()),
        ("10.0.0.1", proxied),
        ("10.0.0.1", ClientIp::forwarded(PROXIES).unwrap()),
    ] {
        let limiter = RateLimiter::new(Quota::per_hour(1));
        let pair = if client_ip.header() == Some("forwarded") {
            "for="
        } else {
            ""
        };
        let mut random = 1u64;
        let mut passed = 0;
        for _ in 0..1000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let spoofed = match (random >> 60) % 4 {
                0 => format!("{pair}{}", Ipv4Addr::from((random >> 8) as u32)),
                1 => format!("{pair}10.{}.0.1", (random >> 40) as u8),
                2 => String::from("unknown"),
                _ => format!("{pair}1.2.3.4, {pair}10.0.0.{}", (random >> 33) as u8),
            };
            // What the trusted proxy makes of it: it appends the true address.
            let value = format!("{spoofed}, {pair}203.0.113.9");
            let network = client_ip.network(ip(peer), [value]);
            passed += u32::from(limiter.check(&Key::of(&network), 1).is_allowed());
        }
        assert_eq!(passed, 1, "{client_ip:?}");
    }
}

/// The walk as the documentation tells it: from the right, over entries that need no quotes.
fn from_the_right(peer: &str, entries: &[String]) -> String {
    let trusted = |text: &str| text.starts_with("10.");
    let mut at = peer;
    for entry in entries.iter().rev() {
        if !trusted(at) || entry.parse::<IpAddr>().is_err() {
            break;
        }
        at = entry;
    }
    at.to_owned()
}

proptest! {
    #[test]
    fn one_pass_from_the_left_answers_as_the_walk_from_the_right(
        peer in "(10|203)\\.0\\.0\\.[1-3]",
        entries in prop::collection::vec("(10|203)\\.0\\.0\\.[1-3]|unknown|", 1..7),
        cuts in prop::collection::vec(any::<bool>(), 6),
    ) {
        let expected = from_the_right(&peer, &entries);
        let mut values = vec![String::new()];
        for (at, entry) in entries.iter().enumerate() {
            let cut = at > 0 && cuts[at - 1];
            if cut {
                values.push(String::new());
            }
            let value = values.last_mut().unwrap();
            if at > 0 && !cut {
                value.push(',');
            }
            value.push_str(entry);
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        prop_assert_eq!(x_forwarded_for(&peer, &values), expected);
    }

    #[test]
    fn no_prefix_of_a_clients_making_changes_the_answer(prefix in "[ -~]{0,40}") {
        prop_assert_eq!(x_forwarded_for("10.0.0.1", &[&format!("{prefix}, 203.0.113.9")]), "203.0.113.9");
        let client = forwarded("10.0.0.1", &[&format!("{prefix}, for=203.0.113.9")]);
        prop_assert!(["203.0.113.9", "10.0.0.1"].contains(&&*client), "{}", client);
        prop_assert_eq!(forwarded("10.0.0.1", &[&prefix, "for=203.0.113.9"]), "203.0.113.9");
    }
}
