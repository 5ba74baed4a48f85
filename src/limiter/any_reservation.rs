//! A reservation of any of the limiters.

use crate::decision::{Decision, Decisions};
#[cfg(feature = "redis")]
use crate::layered::LayeredReservation;
#[cfg(feature = "redis")]
use crate::leased::LeasedReservation;
use crate::limiter::Reservation;
#[cfg(feature = "redis")]
use crate::strict::StrictReservation;

/// Units that are booked until it is known what they come to. Made by
/// [`AnyLimiter::reserve`](crate::limiter::AnyLimiter::reserve).
///
/// Dropping it cancels it. What is guaranteed is what the limiter's own reservation says.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping a reservation cancels it"]
pub enum AnyReservation {
    /// Of a [`RateLimiter`](crate::RateLimiter).
    Local(Reservation),
    /// Of a [`StrictLimiter`](crate::strict::StrictLimiter).
    #[cfg(feature = "redis")]
    Strict(Box<StrictReservation>),
    /// Of a [`LayeredLimiter`](crate::layered::LayeredLimiter).
    #[cfg(feature = "redis")]
    Layered(Box<LayeredReservation>),
    /// Of a [`LeasedLimiter`](crate::leased::LeasedLimiter).
    #[cfg(feature = "redis")]
    Leased(Box<LeasedReservation>),
}

impl AnyReservation {
    /// What was said when it was booked.
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Local(reservation) => reservation.decision(),
            #[cfg(feature = "redis")]
            Self::Strict(reservation) => reservation.decision(),
            #[cfg(feature = "redis")]
            Self::Layered(reservation) => reservation.decision(),
            #[cfg(feature = "redis")]
            Self::Leased(reservation) => reservation.decision(),
        }
    }

    /// Units that are booked.
    #[must_use]
    pub fn cost(&self) -> u32 {
        match self {
            Self::Local(reservation) => reservation.cost(),
            #[cfg(feature = "redis")]
            Self::Strict(reservation) => reservation.cost(),
            #[cfg(feature = "redis")]
            Self::Layered(reservation) => reservation.cost(),
            #[cfg(feature = "redis")]
            Self::Leased(reservation) => reservation.cost(),
        }
    }

    /// It came to `actual` units. What was reserved and not used is given back; what was used and not reserved is booked
    /// on top, beyond the limit if need be. Ready at once unless the limiter is a strict one.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may have done so or not.
    pub async fn commit(self, actual: u32) {
        match self {
            Self::Local(reservation) => reservation.commit(actual),
            #[cfg(feature = "redis")]
            Self::Strict(reservation) => reservation.commit(actual).await,
            #[cfg(feature = "redis")]
            Self::Layered(reservation) => reservation.commit(actual),
            #[cfg(feature = "redis")]
            Self::Leased(reservation) => reservation.commit(actual),
        }
    }

    /// It came to nothing: gives everything back, as dropping it does.
    pub async fn cancel(self) {
        self.commit(0).await;
    }

    /// It came to what was reserved.
    pub(super) fn keep(self) {
        match self {
            Self::Local(reservation) => reservation.keep(),
            #[cfg(feature = "redis")]
            Self::Strict(reservation) => reservation.keep(),
            #[cfg(feature = "redis")]
            Self::Layered(reservation) => reservation.keep(),
            #[cfg(feature = "redis")]
            Self::Leased(reservation) => reservation.keep(),
        }
    }

    /// It came to what was reserved, or to nothing, of which a store is told in the background. Says how the key stands
    /// then, where that is known here, and else how it stood when it was booked.
    pub(super) fn answered(self, keeps: bool) -> Decisions {
        match self {
            Self::Local(reservation) => reservation.answered(keeps),
            #[cfg(feature = "redis")]
            Self::Strict(reservation) => reservation.answered(keeps),
            #[cfg(feature = "redis")]
            Self::Layered(reservation) => reservation.answered(keeps),
            #[cfg(feature = "redis")]
            Self::Leased(reservation) => reservation.answered(keeps),
        }
    }
}

impl From<Reservation> for AnyReservation {
    fn from(reservation: Reservation) -> Self {
        Self::Local(reservation)
    }
}

#[cfg(feature = "redis")]
impl From<StrictReservation> for AnyReservation {
    fn from(reservation: StrictReservation) -> Self {
        Self::Strict(Box::new(reservation))
    }
}

#[cfg(feature = "redis")]
impl From<LayeredReservation> for AnyReservation {
    fn from(reservation: LayeredReservation) -> Self {
        Self::Layered(Box::new(reservation))
    }
}

#[cfg(feature = "redis")]
impl From<LeasedReservation> for AnyReservation {
    fn from(reservation: LeasedReservation) -> Self {
        Self::Leased(Box::new(reservation))
    }
}
