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
    Asked,
    /// Uncounted, at this moment.
    Passed(Moment),
    /// The store had booked it.
    Booked(Standing),
    /// It had passed at this moment, and so many units were not used.
    Settled(Moment, u32),
}

/// Where the units were counted that a request did not use.
#[derive(Debug)]
pub(super) enum Unused {
    InStore(Standing),
    /// Nowhere: it passed at this moment.
    Uncounted(Moment),
    /// It was settled before.
    Nowhere,
}

impl Passed {
    /// It passes at `moment`: `count` notes it among what is uncounted, unless the store is known by now to have booked it.
    pub(super) fn passes(&self, moment: Moment, count: impl FnOnce()) {
        let mut word = self.word();
        if let Word::Asked = *word {
            // Before whoever hears the store looks for it there.
            count();
            *word = Word::Passed(moment);
        }
    }

    /// The store says that it has booked it. Gives the moment at which it passed uncounted, if it did, and the standing back
    /// with the units that were not used, if it was settled before.
    pub(super) fn heard(&self, standing: Standing) -> (Option<Moment>, Option<(Standing, u32)>) {
        let mut word = self.word();
        let passed = match *word {
            Word::Settled(moment, unused) => return (Some(moment), Some((standing, unused))),
            Word::Passed(moment) => Some(moment),
            Word::Asked | Word::Booked(_) => None,
        };
        *word = Word::Booked(standing);
        (passed, None)
    }

    /// So many units were not used.
    pub(super) fn settled(&self, unused: u32) -> Unused {
        let mut word = self.word();
        match mem::take(&mut *word) {
            Word::Booked(standing) => Unused::InStore(standing),
            Word::Passed(moment) => {
                *word = Word::Settled(moment, unused);
                Unused::Uncounted(moment)
            }
            before @ (Word::Asked | Word::Settled(..)) => {
                *word = before;
                Unused::Nowhere
            }
        }
    }

    fn word(&self) -> MutexGuard<'_, Word> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
