//! The walk from the right, done in one pass from the left.
//!
//! A list is easier to split from the left, because quotes open there. Each entry says what becomes of the answer
//! that the entries to its left would give:
//!
//! | entry | answer so far | afterwards |
//! |---|---|---|
//! | no address | any | none: the walk cannot get past it |
//! | not trusted | any | this entry: the walk stops here |
//! | trusted | none | this entry: the last that could be read |
//! | trusted | some | the same: the walk goes on to it |

use std::net::IpAddr;

/// What a walk over the entries so far would answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk(Option<IpAddr>);

impl Walk {
    /// The next entry is no address.
    pub(super) const fn unreadable(&mut self) {
        self.0 = None;
    }

    /// The next entry is an address that is not trusted.
    pub(super) const fn client(&mut self, address: IpAddr) {
        self.0 = Some(address);
    }

    /// The next entry is a trusted proxy.
    pub(super) fn proxy(&mut self, address: IpAddr) {
        self.0.get_or_insert(address);
    }

    /// The answer; `None` if the walk cannot read the right-most entry.
    pub(super) const fn end(self) -> Option<IpAddr> {
        self.0
    }
}
