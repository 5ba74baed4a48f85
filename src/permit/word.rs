//! The permit word: ceiling, slots in use and who waits, in one `u64`.
//!
//! ```text
//!  63..61      60..32          31..0
//! [waiting][ ceiling (29) ][ in-flight (32) ]
//! ```
//!
//! `waiting` is 0 when nobody waits, else 1 + the class of the first in line. It lets a newcomer yield to those who
//! came before without looking at the queue, and tells whoever gives a slot back to look.

use crate::criticality::Criticality;

/// A value of the permit word. Pure: the atomic lives in the gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Word(u64);

const WAITING_SHIFT: u32 = 61;
const CEILING_SHIFT: u32 = 32;
const CEILING_MASK: u64 = (Word::MAX_CEILING as u64) << CEILING_SHIFT;

impl Word {
    /// The highest ceiling that fits.
    pub(crate) const MAX_CEILING: u32 = (1 << (WAITING_SHIFT - CEILING_SHIFT)) - 1;

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
        (self.0 >> CEILING_SHIFT) as u32 & Self::MAX_CEILING
    }

    #[inline]
    pub(crate) const fn in_flight(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) const fn has_waiters(self) -> bool {
        self.0 >> WAITING_SHIFT != 0
    }

    /// Whether somebody at least as critical waits, so that a newcomer of `class` is not next.
    #[inline]
    pub(crate) const fn is_behind_waiters(self, class: Criticality) -> bool {
        // Nobody is 0, which wraps around to behind every class.
        (self.0 >> WAITING_SHIFT).wrapping_sub(1) <= class.index() as u64
    }

    /// The same with `first` first in line.
    pub(crate) const fn with_first(self, first: Option<Criticality>) -> Self {
        let waiting = match first {
            Some(class) => 1 + class.index() as u64,
            None => 0,
        };
        Self(self.0 & (CEILING_MASK | u32::MAX as u64) | waiting << WAITING_SHIFT)
    }

    /// The same slots in use under another ceiling; a ceiling above [`Self::MAX_CEILING`] counts as that.
    pub(crate) const fn with_ceiling(self, ceiling: u32) -> Self {
        let ceiling = if ceiling > Self::MAX_CEILING {
            Self::MAX_CEILING
        } else {
            ceiling
        };
        Self(self.0 & !CEILING_MASK | (ceiling as u64) << CEILING_SHIFT)
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
        let marked = word
            .with_first(Some(Criticality::Bulk))
            .with_ceiling(u32::MAX);
        assert_eq!(marked.ceiling(), Word::MAX_CEILING);
        assert_eq!((marked.in_flight(), marked.has_waiters()), (2, true));
        assert_eq!(marked.with_ceiling(0).in_flight(), 2);
        assert_eq!(marked.with_ceiling(7).with_first(None), word);
    }

    #[test]
    fn a_newcomer_is_behind_everybody_at_least_as_critical() {
        for class in Criticality::ALL {
            assert!(!Word::idle(3).is_behind_waiters(class));
            for first in Criticality::ALL {
                let word = Word::idle(3).one_more().with_first(Some(first));
                assert_eq!(word.is_behind_waiters(class), first <= class);
            }
        }
    }
}
