//! The entries of `X-Forwarded-For` and `Forwarded`, as addresses or as unreadable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Calls `entry` for each entry of an `X-Forwarded-For` value, from the left; `None` is one that is no address.
pub(super) fn x_forwarded_for(value: &[u8], mut entry: impl FnMut(Option<IpAddr>)) {
    for text in value.split(|&byte| byte == b',') {
        let text = text.trim_ascii();
        let bare = text
            .strip_prefix(b"\"")
            .and_then(|text| text.strip_suffix(b"\""));
        entry(address(bare.unwrap_or(text)));
    }
}

/// Calls `entry` for each element of a `Forwarded` value (RFC 7239 4), from the left; `None` is one without a
/// readable address.
///
/// Strict about quotes: a client may open one so that what a proxy appends ends up inside it, so an element with
/// anything out of place is unreadable as a whole.
pub(super) fn forwarded(value: &[u8], mut entry: impl FnMut(Option<IpAddr>)) {
    let mut rest = Some(value);
    while let Some(list) = rest {
        let (element, after) = split_outside_quotes(list, b',');
        entry(forwarded_for(element));
        rest = after;
    }
}

/// The address of the one `for=` pair of an element.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(pairs) = rest {
        let (pair, after) = split_outside_quotes(pairs, b';');
        rest = after;
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&pair[..equals], unquoted(&pair[equals + 1..])?);
        if name.trim_ascii().eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    address(found?)
}

/// What stands before the first `separator` outside quotes, and what stands after it.
fn split_outside_quotes(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else if byte == separator && !quoted {
            return (&text[..at], Some(&text[at + 1..]));
        }
    }
    (text, None)
}

/// A value without its quotes; `None` if a quote is out of place.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let Some(open) = value.strip_prefix(b"\"") else {
        return (!value.contains(&b'"')).then_some(value);
    };
    let inner = open.strip_suffix(b"\"")?;
    let mut escaped = false;
    for &byte in inner {
        if !escaped && byte == b'"' {
            return None;
        }
        escaped = !escaped && byte == b'\\';
    }
    // An escaped last quote would not have been the last. Escapes stay: no address needs one.
    (!escaped).then_some(inner)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`, with IPv4-mapped addresses as IPv4;
/// `None` for everything else: `unknown`, `_hidden`, zones, names.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        if !after.is_empty() {
            port(after.strip_prefix(':')?)?;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (address, after) = text.split_once(':')?;
        port(after)?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

/// A port, or a hidden one (RFC 7239 6).
fn port(text: &str) -> Option<()> {
    let hidden = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let valid = match text.strip_prefix('_') {
        Some(name) => hidden(name),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    };
    valid.then_some(())
}
