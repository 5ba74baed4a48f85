//! Numbers of the protocol that only ever grow, and what of them matters: how they compare.
//!
//! A state of the model stands for all states that differ only in such numbers and in what the clocks show. They are
//! renamed after every step to the smallest numbers that compare alike, so that the model needs no bound on how
//! long a fleet lives.

use crate::time::StoreTime;
use std::time::Duration;

/// What every store's time is in a state of the model: far from zero, which is a time of its own.
pub(crate) const NOON: StoreTime = StoreTime::from_micros(1_000_000_000);

/// A kind of number. Compared only with others of the same kind.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Number {
    Epoch,
    Plan,
    /// Of an incarnation.
    Sequence(u64),
    /// Of an epoch, and of the grants of one incarnation.
    Generation(u64, u64),
}

/// What the store's own counters and clock were before they were renamed.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreNumbers {
    /// None if there is no epoch, or one that is over.
    pub(crate) epoch: Option<u64>,
    pub(crate) time: StoreTime,
    /// Stamps of the first answers of those records that share their name.
    pub(crate) births: Vec<u64>,
    pub(crate) stamp: u64,
    pub(crate) version: u64,
    pub(crate) token: u64,
    pub(crate) committed: u64,
}

impl StoreNumbers {
    /// `then` when it is noon; not further back than `at_most`.
    pub(crate) fn moment(&self, then: StoreTime, at_most: Duration) -> StoreTime {
        let (now, then) = (self.time.as_micros(), then.as_micros());
        let at_most = u64::try_from(at_most.as_micros()).unwrap_or(u64::MAX);
        let noon = NOON.as_micros();
        StoreTime::from_micros(match then.checked_sub(now) {
            Some(ahead) => noon + ahead,
            None => noon - (now - then).min(at_most),
        })
    }

    /// Stamps are compared with births, and with the present one: never above it.
    pub(crate) fn stamp(&self, stamp: u64) -> u64 {
        assert!(stamp <= self.stamp, "an echo of what was never said");
        self.births.iter().filter(|born| **born < stamp).count() as u64
    }

    /// Tokens are compared with the newest and with the last that was committed; others are as good as none.
    pub(crate) fn token(&self, token: u64) -> u64 {
        if token == 0 {
            0
        } else if token == self.committed {
            1
        } else if token == self.token {
            2
        } else {
            0
        }
    }
}
