//! The permit word: ceiling, slots in use and the waiters' mark in one `u64`.
//!
//! ```text
//!  63        62..32          31..0
//! [waiters][ ceiling (31) ][ in-flight (32) ]
//! ```

/// A value of the permit word. Pure: the atomic lives in the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Word(u64);

/// Somebody waits for a slot; whoever gives one back must look.
pub(crate) const WAITERS: u64 = 1 << 63;

impl Word {
    /// The highest ceiling that fits.
    pub(crate) const MAX_CEILING: u32 = i32::MAX as u32;

    pub(crate) const fn idle(ceiling: u32) -> Self {
        Self(0).with_ceiling(ceiling)
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn ceiling(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_CEILING
    }

    #[inline]
    pub(crate) const fn in_flight(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) const fn has_waiters(self) -> bool {
        self.0 & WAITERS != 0
    }

    /// The same slots in use under another ceiling; a ceiling above [`Self::MAX_CEILING`] counts as that.
    pub(crate) const fn with_ceiling(self, ceiling: u32) -> Self {
        let ceiling = if ceiling > Self::MAX_CEILING {
            Self::MAX_CEILING
        } else {
            ceiling
        };
        Self((self.0 & (WAITERS | u32::MAX as u64)) | ((ceiling as u64) << 32))
    }

    /// One slot more in use. The caller has seen `in_flight < cap <= ceiling`, so the count cannot overflow.
    #[inline]
    pub(crate) const fn one_more(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_do_not_touch_one_another() {
        let word = Word::idle(7).one_more().one_more();
        assert_eq!(
            (word.ceiling(), word.in_flight(), word.has_waiters()),
            (7, 2, false)
        );
        let marked = Word::from_bits(word.bits() | WAITERS).with_ceiling(u32::MAX);
        assert_eq!(marked.ceiling(), Word::MAX_CEILING);
        assert_eq!((marked.in_flight(), marked.has_waiters()), (2, true));
        assert_eq!(marked.with_ceiling(0).in_flight(), 2);
    }
}
