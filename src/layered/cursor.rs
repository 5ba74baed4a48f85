//! How far the global store was read, and whether it still knows what it knew then.

use crate::layered::exchange::ImportLine;

/// How far the global store was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// Drawn when the store is told something and knows nothing; 0 as long as it does not.
    pub(crate) epoch: u64,
    /// Which server answered, of each start and each replica another; 0 before the first answer.
    pub(crate) server: u64,
    /// Of the last change that was read.
    pub(crate) version: u64,
}

impl Cursor {
    /// Whether it is of a store that still knows what it knew at `before`.
    ///
    /// Not one that lost everything, which has another epoch, nor one that may have come back with older data: another
    /// server, or one that has seen fewer changes. The versions alone do not tell: since it came back others may have
    /// changed as much as was lost.
    pub(crate) const fn goes_on_from(self, before: Self) -> bool {
        self.epoch == before.epoch && self.server == before.server && self.version >= before.version
    }
}

/// What the global store answered.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    pub(crate) cursor: Cursor,
    pub(crate) lines: Vec<ImportLine>,
    /// There is more: ask again.
    pub(crate) more: bool,
}
