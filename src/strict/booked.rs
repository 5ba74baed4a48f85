//! Where a request that passed is counted: who settles it later has to know what there is to give back, and where.

use crate::rule::Moment;
use crate::store::redis::rates::Standing;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(crate) enum Booked {
    /// By the store, on a key that stood so.
    InStore(Standing),
    /// By this process's share, at a moment on the store's clock as it is known here.
    InShare(Moment),
    /// Nowhere, since everything passes; unless the store says later that it has booked it.
    Passed(Passed),
    /// Nothing was booked, nor let pass.
    Nothing,
}

/// A request that was let pass after the store had been asked about it, of whose answer more may be heard: it comes, and
/// the request is settled, in either order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passed(Arc<Mutex<Word>>);

#[derive(Debug, Default)]
enum Word {
    #[default]
    Unheard,
    /// The store had booked it.
    Booked(Standing),
    /// So many units were not used.
    Settled(u32),
}

impl Passed {
    /// The store says that it has booked it. Gives the standing back with the units that were not used, if the request was
    /// settled before.
    pub(super) fn heard(&self, standing: Standing) -> Option<(Standing, u32)> {
        let mut word = self.word();
        match *word {
            Word::Settled(unused) => Some((standing, unused)),
            Word::Unheard | Word::Booked(_) => {
                *word = Word::Booked(standing);
                None
            }
        }
    }

    /// So many units were not used. If the store is known to have booked them: on a key that stood so.
    pub(super) fn settled(&self, unused: u32) -> Option<Standing> {
        match mem::replace(&mut *self.word(), Word::Settled(unused)) {
            Word::Booked(standing) => Some(standing),
            Word::Unheard | Word::Settled(_) => None,
        }
    }

    fn word(&self) -> MutexGuard<'_, Word> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
