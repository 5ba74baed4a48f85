//! One slot in use, and what became of it.

use crate::criticality::Criticality;
use crate::permit::core::Core;
use crate::permit::gate::Handle;
use crate::permit::waiters::Handed;
use crate::time::LocalTime;
use crossbeam_utils::CachePadded;
use std::fmt;
use std::sync::Arc;

/// What became of a request, as far as the limit cares.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Served: its latency is a sample.
    Success,
    /// An application error: counted; neither a latency sample nor a sign of overload. A bug at 5 % must not close
    /// the gate.
    Failure,
    /// The backend said no, or timed out: a sign of overload.
    Overload,
    /// Says nothing about the backend: client errors, cancellations, our own denials.
    Ignore,
}

/// A slot in use. It goes back exactly once: by an outcome method, or as [`Outcome::Ignore`] when dropped.
///
/// # Examples
/// ```
/// use tidegate::adaptive::LocalGuard;
/// use tidegate::{ConcurrencyGuard, Criticality};
///
/// let guard = LocalGuard::fixed(1);
/// let lease = guard.try_acquire(Criticality::Default)?;
/// assert!(guard.try_acquire(Criticality::Default).is_err());
/// lease.success();
/// assert!(guard.try_acquire(Criticality::Default).is_ok());
/// # Ok::<(), tidegate::Shed>(())
/// ```
#[must_use = "dropping a lease gives its slot back at once"]
pub struct Lease {
    handle: Arc<CachePadded<Handle>>,
    since: LocalTime,
    period: u32,
    class: Criticality,
    observed: bool,
}

impl Lease {
    /// Takes charge of a slot that the core of `handle` has just counted in.
    #[inline]
    pub(super) const fn new(handle: Arc<CachePadded<Handle>>, slot: Handed) -> Self {
        Self {
            handle,
            since: slot.since,
            period: slot.period,
            class: slot.class,
            observed: false,
        }
    }

    /// Served: gives the slot back, with a latency sample.
    #[inline]
    pub fn success(self) {
        self.finish(Outcome::Success);
    }

    /// An application error: gives the slot back.
    #[inline]
    pub fn failure(self) {
        self.finish(Outcome::Failure);
    }

    /// The backend said no or timed out: gives the slot back.
    #[inline]
    pub fn overload(self) {
        self.finish(Outcome::Overload);
    }

    /// Nothing was learnt: gives the slot back. The same as dropping it.
    #[inline]
    pub fn ignore(self) {
        self.finish(Outcome::Ignore);
    }

    /// Gives the slot back with `outcome`.
    #[inline]
    pub fn finish(mut self, outcome: Outcome) {
        self.observe(outcome);
    }

    /// Settles the outcome and its latency now and keeps the slot until the lease is dropped: a response head that
    /// is followed by a long body. The first outcome counts, later ones are ignored.
    #[inline]
    pub fn observe(&mut self, outcome: Outcome) {
        if !self.observed {
            self.observed = true;
            let stripe = self.handle.stripe;
            self.gate().settle(stripe, self.class, outcome, self.since);
        }
    }

    /// As [`Self::observe`], with a sample that ended at `at`: the head of an answer whose outcome came later.
    #[cfg(feature = "fleet")]
    pub(crate) fn observe_at(&mut self, outcome: Outcome, at: LocalTime) {
        if !self.observed {
            self.observed = true;
            self.gate()
                .settle_at(self.handle.stripe, self.class, outcome, self.since, at);
        }
    }

    /// Whether the outcome is settled.
    #[cfg(feature = "fleet")]
    pub(crate) const fn is_observed(&self) -> bool {
        self.observed
    }

    /// The slot outlives its sample, so that the fleet's measured concurrency is to include bodies that stream for long.
    /// To be followed by [`Self::linger`] or [`Self::retell`] before the drop.
    #[cfg(feature = "fleet")]
    pub(crate) fn begin_lingering(&self) {
        self.gate().tally.begin_lingering();
    }

    /// Takes back [`Self::begin_lingering`] since when: the slot is that of a request like others, whose sample ends now.
    #[cfg(feature = "fleet")]
    pub(crate) fn retell(&self, since: LocalTime) {
        self.gate().retell(since);
    }

    /// Books the time until now. Costs a clock reading.
    #[cfg(feature = "fleet")]
    pub(crate) fn linger(&self, since: LocalTime) {
        self.gate().linger(since);
    }

    /// When the slot was taken.
    #[must_use]
    pub const fn since(&self) -> LocalTime {
        self.since
    }

    /// A token that is cancelled when the lease of this process on its slots runs out (the fence): whoever still
    /// works then should stop. Guards without a fleet never cancel.
    #[cfg(feature = "fleet")]
    #[must_use]
    pub fn token(&self) -> crate::fence::FenceToken {
        self.gate().token(self.period)
    }

    #[inline]
    pub(crate) fn gate(&self) -> &Core {
        &self.handle.core
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        self.observe(Outcome::Ignore);
        self.gate().return_slot(self.period);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("since", &self.since)
            .field("period", &self.period)
            .field("observed", &self.observed)
            .finish_non_exhaustive()
    }
}
