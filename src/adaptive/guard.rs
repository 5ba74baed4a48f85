//! The guard of one process.

use crate::adaptive::{Estimator, Fixed, LimitAlgorithm, WindowSetup};
use crate::criticality::Criticality;
use crate::permit::{ConcurrencyGuard, Gate, GateSetup, Lease, Shed, Status};
use crate::time::{Clock, LocalTime};
use std::sync::Arc;

/// Keeps the requests in flight of this process below a limit, found from latency or fixed.
///
/// Cloning is cheap; clones share the slots.
///
/// # Examples
/// ```
/// use tidegate::adaptive::LocalGuard;
/// use tidegate::{ConcurrencyGuard, Criticality};
///
/// let guard = LocalGuard::fixed(100);
/// let lease = guard.try_acquire(Criticality::Default)?;
/// // ... call the backend ...
/// lease.success();
/// # Ok::<(), tidegate::Shed>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalGuard {
    gate: Arc<Gate>,
}

impl LocalGuard {
    /// A guard whose limit `algorithm` finds.
    #[must_use]
    pub fn new(algorithm: impl LimitAlgorithm + 'static) -> Self {
        Self::with_clock(algorithm, Clock::system())
    }

    /// A guard with a limit of `limit` slots that never changes.
    #[must_use]
    pub fn fixed(limit: u32) -> Self {
        Self::new(Fixed::new(limit))
    }

    /// As [`Self::new`], on a clock of the caller's: for tests and simulations.
    #[must_use]
    pub fn with_clock(algorithm: impl LimitAlgorithm + 'static, clock: Clock) -> Self {
        let estimator = Estimator::new(algorithm);
        Self {
            gate: Arc::new(Gate::new(GateSetup {
                clock,
                ceiling: estimator.limit(),
                status: Status::Open,
                fence_at: LocalTime::NEVER,
                estimator,
                window: WindowSetup::default(),
                estimator_rules: true,
            })),
        }
    }

    /// The limit in force.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.gate.sample().0
    }

    #[cfg(all(test, feature = "fleet"))]
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Slots in use.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.gate.sample().1
    }

    /// Admits nothing more. What is in flight goes on; its slots come back as usual.
    pub fn close(&self) {
        self.gate.set_status(Status::Closed);
        self.gate.set_ceiling(0);
    }
}

impl ConcurrencyGuard for LocalGuard {
    #[inline]
    fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        self.gate.try_acquire(class)
    }

    #[cfg(feature = "fleet")]
    fn acquire(&self, class: Criticality, max_wait: std::time::Duration) -> crate::permit::Acquire {
        crate::permit::Acquire::new(Arc::clone(&self.gate), class, max_wait)
    }
}
