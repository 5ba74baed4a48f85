//! What may be committed and in flight, and whether it is (I1, I2, I3).

use crate::fleet::key_state::KeyState;
use std::fmt;

/// Follows the commits of one key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Ledger {
    /// What I3 allows in flight: the limit, or what was reserved when it fell.
    pub(crate) allowed: u64,
    /// The store was disturbed; claims may add up to more than the limit until it has planned again, in another epoch
    /// than this one.
    pub(crate) disturbed: Option<Option<u64>>,
    /// A commit reserved more than the limit and more than was reserved before it.
    rose: Option<(u64, u64)>,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Broken {
    /// I1: more is committed than allowed.
    Committed { shares: u64, allowed: u64 },
    /// I2: more is in flight than allowed.
    InFlight { running: u64, allowed: u64 },
    /// I2: more is in flight than the store reserves.
    Unreserved { running: u64, reserved: u64 },
    /// I3: a commit raised what is reserved, above the limit.
    Rose { before: u64, after: u64 },
}

impl Ledger {
    /// Of a key whose first limit is `limit`.
    pub(crate) const fn new(limit: u32) -> Self {
        Self {
            allowed: limit as u64,
            disturbed: None,
            rose: None,
        }
    }

    /// The store has lost its state, or has gone back to an older one: to this.
    pub(crate) fn disturb(&mut self, store: &KeyState) {
        self.disturbed = Some(store.time().map(|(epoch, _)| epoch));
    }

    /// A plan for `limit` was applied, which found `before` reserved and left `after`.
    pub(crate) fn apply(&mut self, limit: u32, before: u64, after: u64) {
        let limit = u64::from(limit);
        self.allowed = self.allowed.min(before).max(limit);
        if after > before.max(limit) {
            self.rose = Some((before, after));
        }
    }

    /// I1, I2 and I3, of `store` and of what runs at the backend, or what broke.
    pub(crate) fn check(&self, store: &KeyState, running: u32) -> Result<(), Broken> {
        let (running, allowed) = (u64::from(running), self.allowed);
        if running > allowed {
            return Err(Broken::InFlight { running, allowed });
        }
        if let Some((before, after)) = self.rose {
            return Err(Broken::Rose { before, after });
        }
        if self.disturbed.is_some() {
            return Ok(());
        }
        let (shares, reserved) = store.committed();
        if shares > allowed {
            return Err(Broken::Committed { shares, allowed });
        }
        if running > reserved {
            return Err(Broken::Unreserved { running, reserved });
        }
        Ok(())
    }

    /// Looks whether the store has planned again after it was disturbed.
    pub(crate) fn settle(&mut self, store: &KeyState) {
        if let (Some(lost), Some((epoch, _))) = (self.disturbed, store.time())
            && store.has_planned()
            && lost != Some(epoch)
        {
            self.disturbed = None;
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed { shares, allowed } => write!(f, "I1: {shares} committed on {allowed}"),
            Self::InFlight { running, allowed } => {
                write!(f, "I2: {running} in flight on {allowed}")
            }
            Self::Unreserved { running, reserved } => {
                write!(f, "I2: {running} in flight, {reserved} reserved")
            }
            Self::Rose { before, after } => write!(f, "I3: reserved rose from {before} to {after}"),
        }
    }
}
