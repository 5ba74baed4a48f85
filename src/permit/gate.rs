//! The gate: the core and the handles through which slots of it are held.
//!
//! Both guards are a gate with somebody who moves its ceiling: the local estimator, or the fleet.

use crate::criticality::Criticality;
use crate::permit::core::{Asking, Core, GateSetup};
use crate::permit::stripe;
use crate::permit::waiters::Handed;
use crate::permit::{Lease, Shed};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Hands out slots of its core.
///
/// A lease keeps the core alive, so each one counts a reference up and down. All threads counting on one `Arc` would
/// cost as much as the permit word itself; each thread counts on a handle of its own instead, of which there are as
/// many as stripes.
pub(crate) struct Gate {
    core: Arc<Core>,
    handles: Box<[Arc<CachePadded<Handle>>]>,
}

/// One thread's way to the core.
pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    pub(super) stripe: usize,
}

impl Gate {
    pub(crate) fn new(setup: GateSetup) -> Self {
        let core = Arc::new(Core::new(setup));
        let handle = |stripe| {
            let core = Arc::clone(&core);
            Arc::new(CachePadded::new(Handle { core, stripe }))
        };
        let handles = (0..stripe::count()).map(handle).collect();
        Self { core, handles }
    }

    /// Takes a slot for `class`.
    #[inline]
    pub(crate) fn try_acquire(&self, class: Criticality) -> Result<Lease, Shed> {
        match self.core.admit(class, Asking::Newcomer) {
            Ok(slot) => Ok(self.lease(slot)),
            Err(shed) => {
                self.core.refused(class, shed);
                Err(shed)
            }
        }
    }

    /// The lease of a slot that was counted in.
    #[inline]
    pub(crate) fn lease(&self, slot: Handed) -> Lease {
        // The count is a power of two.
        let mine = stripe::of_this_thread() & (self.handles.len() - 1);
        Lease::new(Arc::clone(&self.handles[mine]), slot)
    }
}

impl Deref for Gate {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
