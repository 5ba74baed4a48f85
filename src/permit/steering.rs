//! What the driver of a fleet guard moves and hears: the fence, the lease period and the signals.

use crate::permit::core::Core;
use crate::sync::{Ordering, lock};

#[cfg(any(feature = "fleet", tidegate_loom))]
use {crate::criticality::Reserves, crate::time::LocalTime, std::task::Waker};

/// What the driver of a fleet guard wants to hear from the request path.
#[cfg(any(feature = "fleet", tidegate_loom))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Signals {
    /// A request was refused while the share is below the node's target.
    pub(crate) starved: bool,
    /// A slot came back while more were in use than the ceiling allows.
    pub(crate) drained: bool,
}

pub(super) const STARVED: u8 = 1;
pub(super) const DRAINED: u8 = 2;

impl Core {
    #[cold]
    pub(super) fn signal(&self, what: u8) {
        if self.signals.fetch_or(what, Ordering::AcqRel) & what == 0 {
            let listener = lock(&self.listener).take();
            if let Some(listener) = listener {
                listener.wake();
            }
        }
    }
}

#[cfg(any(feature = "fleet", tidegate_loom))]
impl Core {
    /// From `at` on nothing is admitted. Moved on, it serves those who waited behind it.
    pub(crate) fn set_fence_at(&self, at: LocalTime) {
        self.read.fence_at.store(at.as_nanos(), Ordering::Release);
        // A step on the word, not a load: whoever marks the word after it sees the new fence.
        if self.change(|word| word).has_waiters() {
            self.serve_waiters();
        }
    }

    /// Slots of the ceiling that each class leaves to the more critical.
    pub(crate) fn set_reserves(&self, reserves: Reserves) {
        let before = self.read.reserves.swap(reserves.bits(), Ordering::AcqRel);
        // As with the fence: a step on the word, so that nobody waits for what is free now.
        if before != reserves.bits() && self.change(|word| word).has_waiters() {
            self.serve_waiters();
        }
    }

    /// Whether nothing is admitted at this moment for the lease's sake.
    pub(crate) fn is_fenced(&self) -> bool {
        self.read.clock.now().as_nanos() >= self.read.fence_at.load(Ordering::Acquire)
    }

    /// Whether refusals are news to the driver (share below target).
    pub(crate) fn set_hungry(&self, hungry: bool) {
        self.hungry.store(hungry, Ordering::Relaxed);
    }

    /// What happened since the last call; else `waker` is woken when something does.
    pub(crate) fn poll_signals(&self, waker: &Waker) -> Option<Signals> {
        let stale = lock(&self.listener).replace(waker.clone());
        drop(stale);
        match self.signals.swap(0, Ordering::AcqRel) {
            0 => None,
            bits => Some(Signals {
                starved: bits & STARVED != 0,
                drained: bits & DRAINED != 0,
            }),
        }
    }

    /// Ends the lease period: tokens of leases admitted in it are cancelled, their slots come back with
    /// [`Self::end_grace`].
    pub(crate) fn end_period(&self) {
        lock(&self.parked).get_or_insert(0);
        self.read.period.fetch_add(1, Ordering::AcqRel);
        #[cfg(feature = "fleet")]
        self.fence.cancel();
    }

    /// The grace is over: what was cancelled has ended at the backend too.
    pub(crate) fn end_grace(&self) {
        let parked = lock(&self.parked).take();
        (0..parked.unwrap_or(0)).for_each(|_| self.give_back());
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn token(&self, period: u32) -> crate::fence::FenceToken {
        let token = self.fence.token();
        // The token first, then the period: a fence between the two is seen by one of them.
        if self.read.period.load(Ordering::Acquire) == period {
            token
        } else {
            crate::fence::FenceToken::cancelled_already()
        }
    }
}
