//! What the owners of one lease share: the lease, and how many they are.

use crate::permit::{Lease, Outcome};
use crate::time::LocalTime;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A lease, and since when it has been kept beyond its sample; before its outcome, that it will have none.
#[derive(Debug)]
pub(super) struct Kept {
    lease: Lease,
    beyond: Option<LocalTime>,
}

impl Kept {
    #[inline]
    pub(super) const fn new(lease: Lease) -> Self {
        Self {
            lease,
            beyond: None,
        }
    }

    #[inline]
    pub(super) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The outcome, with a sample until now; also where none was expected any more.
    #[inline]
    pub(super) fn observe(&mut self, outcome: Outcome) {
        if let Some(since) = self.beyond
            && !self.lease.is_observed()
        {
            self.beyond = None;
            self.lease.retell(since);
        }
        self.lease.observe(outcome);
    }

    /// The outcome, with a sample until [the slot was only kept](Self::keep_unsampled).
    pub(super) fn observe_kept(&mut self, outcome: Outcome) {
        match self.beyond {
            Some(since) => self.lease.observe_at(outcome, since),
            None => self.lease.observe(outcome),
        }
    }

    /// The slot stays in use for a while: from now on that time is booked. Before the outcome there is nothing to
    /// book, since the sample still runs.
    pub(super) fn keep_beyond(&mut self) {
        if self.lease.is_observed() {
            self.keep_unsampled();
        }
    }

    /// The same also before the outcome: whatever it will be, the time from here on is no sample's, unless somebody who
    /// holds the slot tells one that ends later.
    pub(super) fn keep_unsampled(&mut self) {
        if self.beyond.is_none() {
            self.beyond = Some(self.now());
            self.lease.begin_lingering();
        }
    }

    pub(super) fn now(&self) -> LocalTime {
        self.lease.gate().clock().now()
    }
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        if let Some(since) = self.beyond {
            self.lease.linger(since);
            // Else its time until now would be told as that of a request.
            if !self.lease.is_observed() {
                self.lease.observe_at(Outcome::Ignore, since);
            }
        }
    }
}

/// A handle on what the owners share. Being a handle is not being an owner.
#[derive(Debug)]
pub(super) struct Shared(Option<Arc<State>>);

#[derive(Debug, Default)]
struct State {
    owned: Mutex<Owned>,
    /// The slot of the layer around, which a hold prolongs too.
    outer: Option<Shared>,
}

#[derive(Debug, Default)]
struct Owned {
    lease: Option<Kept>,
    owners: u32,
}

impl Shared {
    /// Puts a lease up for sharing; the caller is its first owner.
    pub(super) fn new(lease: Kept, outer: Option<Self>) -> Self {
        let mut state = spare::take();
        let fresh = Arc::get_mut(&mut state).expect("a spare state has one handle, this one");
        *fresh = State {
            owned: Mutex::new(Owned {
                lease: Some(lease),
                owners: 1,
            }),
            outer,
        };
        Self(Some(state))
    }

    pub(super) fn outer(&self) -> Option<&Self> {
        self.state().outer.as_ref()
    }

    /// One owner more, unless the lease is gone.
    pub(super) fn join(&self) -> bool {
        let mut owned = self.lock();
        let Some(lease) = &mut owned.lease else {
            return false;
        };
        lease.keep_beyond();
        owned.owners += 1;
        true
    }

    /// One owner fewer; the last gives the slot back. The caller must be an owner.
    pub(super) fn leave(&self) {
        let mut owned = self.lock();
        debug_assert!(owned.owners > 0, "an owner left twice");
        owned.owners = owned.owners.saturating_sub(1);
        let gone = if owned.owners == 0 {
            owned.lease.take()
        } else {
            None
        };
        // Giving back wakes whoever waits for a slot: not under the lock.
        drop(owned);
        drop(gone);
    }

    /// Whether somebody owns the lease besides the caller, who is an owner.
    pub(super) fn is_held(&self) -> bool {
        self.lock().owners > 1
    }

    /// Does `what` with the lease, unless it is gone.
    pub(super) fn with<T>(&self, what: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.lock().lease.as_mut().map(what)
    }

    fn state(&self) -> &State {
        self.0.as_ref().expect("taken only by the drop")
    }

    fn lock(&self) -> MutexGuard<'_, Owned> {
        // A limit algorithm of the user's may panic here; count and lease are consistent all the same.
        self.state()
            .owned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(mut state) = self.0.take() else {
            return;
        };
        // Two last handles that go at once may both miss this; the state is then simply freed.
        if Arc::strong_count(&state) == 1
            && let Some(last) = Arc::get_mut(&mut state)
        {
            *last = State::default();
            spare::put(state);
        }
    }
}

mod spare {
    //! States nobody uses, a few per thread, so that a shared lease costs no allocation.

    use super::{Arc, RefCell, State};

    const MOST: usize = 256;

    thread_local!(static SPARE: RefCell<Vec<Arc<State>>> = const { RefCell::new(Vec::new()) });

    pub(super) fn take() -> Arc<State> {
        SPARE
            .try_with(|spare| spare.borrow_mut().pop())
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    pub(super) fn put(state: Arc<State>) {
        // A thread that ends has no use for it.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST {
                spare.push(state);
            }
        });
    }
}
