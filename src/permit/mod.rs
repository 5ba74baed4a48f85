//! Slots: how one is taken, held and given back exactly once.
//!
//! One atomic word per guard, the permit word, holds `(ceiling, in-flight)`. Taking a slot is one compare-and-swap
//! on it, so the ceiling is exact under any interleaving; giving it back is one subtraction. There is no lock and no
//! I/O on the request path, and a denial costs less than an admission.
//!
//! # Guarantees
//! * **I4 Exactly once**: a [`Lease`] gives its slot back once, whatever happens to it: an outcome method, a drop, a
//!   panic, a cancelled future.
//! * The ceiling never admits above itself: lowering it below the slots in use admits nothing until they drain.
//! * After the fence (the end of a fleet guard's lease) nothing is admitted, also when the process slept through it:
//!   the clock is read after the slot was taken, and a late slot is given back and refused.

#[cfg(feature = "fleet")]
mod acquire;
mod books;
mod core;
mod gate;
mod lease;
mod line;
#[cfg(all(test, tidegate_loom))]
mod model;
mod queue;
mod steering;
mod stripe;
mod tally;
mod waiters;
mod word;

#[cfg(feature = "fleet")]
pub use self::acquire::{Acquire, Queueing};
pub(crate) use self::core::{GateSetup, Status};
pub(crate) use self::gate::Gate;
pub use self::lease::{Lease, Outcome};
#[cfg(any(feature = "sim", all(test, feature = "fleet")))]
pub(crate) use self::queue::Wait;
#[cfg(feature = "fleet")]
pub(crate) use self::steering::Signals;
#[cfg(test)]
pub(crate) use self::tally::ClassTotals;
pub(crate) use self::tally::Totals;
#[cfg(feature = "sim")]
pub(crate) use self::{
    acquire::{collect, refuse, take_turn},
    queue::{Place, Queued},
    waiters::Ticket,
};

use crate::criticality::Criticality;
use std::fmt;

/// Something that hands out slots: one process's [`LocalGuard`](crate::adaptive::LocalGuard) or a fleet's
/// `DistributedGuard`.
///
/// Layers and adapters take any of them. The trait is object safe.
pub trait ConcurrencyGuard: fmt::Debug + Send + Sync {
    /// Takes a slot now, or says why there is none. Never waits, locks or allocates. Each request costs one slot.
    ///
    /// # Errors
    /// [`Shed`], with the reason, when the request must not go on.
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed>;

    /// Takes a slot, waiting at most `max_wait` for one to come back.
    ///
    /// Waiters are served by class, the most critical first, and in order of arrival within a class. The future
    /// must be polled within a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue; a slot that was handed over but not yet taken is given back.
    #[cfg(feature = "fleet")]
    fn acquire(&self, class: Criticality, max_wait: std::time::Duration) -> Acquire;

    /// Takes a slot now, else a place in the **micro-queue**: a wait so short that callers do not notice it, for a
    /// slot that comes back in a moment. It wins back what small shares lose to chance: with a share of three and two
    /// in use on the mean, one request in five finds it full (Erlang's B formula) and most of those need to wait only
    /// a little.
    ///
    /// # Guarantees
    /// * Nobody waits longer than the least of `max_wait` and a quarter of the mean latency, which is measured anew
    ///   every window (250 ms, or longer with few samples) and bounds nothing before the first has ended. The refusal
    ///   may take a tick of the timer more, 1 ms.
    /// * At most as many wait in it as there are slots. Whoever finds no room takes that of the longest waiting of the
    ///   least critical class, unless all of them are more critical; whoever loses it gets [`Shed::Full`].
    /// * The most critical class goes first. Within a class it is first come, first served, and from when somebody
    ///   waits in vain until the micro-queue is empty again, newest first: then there is more to do than slots for it,
    ///   and the newest has a caller who still waits.
    /// * Nobody waits for what no other request can give back: a gate that is cold, fenced or closed refuses at once.
    ///
    /// The future must be polled within a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tidegate::Shed> {
    /// use std::time::Duration;
    /// use tidegate::adaptive::LocalGuard;
    /// use tidegate::{ConcurrencyGuard, Criticality};
    ///
    /// let guard = LocalGuard::fixed(1);
    /// let slot = guard.acquire_or_queue(Criticality::Default, Duration::from_millis(20));
    /// slot.lease().await?.success();
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "fleet")]
    fn acquire_or_queue(&self, class: Criticality, max_wait: std::time::Duration) -> Queueing;
}

impl<G: ConcurrencyGuard + ?Sized> ConcurrencyGuard for std::sync::Arc<G> {
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        (**self).try_acquire(class)
    }

    #[cfg(feature = "fleet")]
    fn acquire(&self, class: Criticality, max_wait: std::time::Duration) -> Acquire {
        (**self).acquire(class, max_wait)
    }

    #[cfg(feature = "fleet")]
    fn acquire_or_queue(&self, class: Criticality, max_wait: std::time::Duration) -> Queueing {
        (**self).acquire_or_queue(class, max_wait)
    }
}

/// Why there was no slot. A denial, not a failure: the request was not begun.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Shed {
    /// All slots are in use.
    Full,
    /// The part of the slots that this class may use is in use; a more critical request may still go on.
    Class,
    /// The fleet has not granted this process anything yet.
    Cold,
    /// The lease ran out without an answer from the store; the outage policy admits nothing.
    Fenced,
    /// The guard is closing or closed.
    Closed,
    /// No slot came back within the time the request was willing to wait.
    Deadline,
}

impl Shed {
    /// All reasons, in a fixed order.
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::Class,
        Self::Cold,
        Self::Fenced,
        Self::Closed,
        Self::Deadline,
    ];

    /// The reason in one lower-case word, as used in metrics and statistics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Class => "class",
            Self::Cold => "cold",
            Self::Fenced => "fenced",
            Self::Closed => "closed",
            Self::Deadline => "deadline",
        }
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "every slot is in use",
            Self::Class => "every slot that this class of request may use is in use",
            Self::Cold => "the fleet has not granted this process any slot yet",
            Self::Fenced => "the lease on this process's slots ran out",
            Self::Closed => "the guard is closed",
            Self::Deadline => "no slot came back in time",
        })
    }
}

impl std::error::Error for Shed {}

#[cfg(test)]
const fn _object_safe(_: &dyn ConcurrencyGuard) {}
