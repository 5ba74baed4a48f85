//! How much a request matters: the four classes, and the part of a share that each may use.

/// How much a request matters, most first. The words are those of "The Site Reliability Workbook" and of
/// Netflix's service-level shedding.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Criticality {
    /// Users notice at once and cannot go on.
    Critical,
    /// Ordinary traffic.
    #[default]
    Default,
    /// Users notice, and a retry later is fine.
    Sheddable,
    /// Batch work that nobody waits for.
    Bulk,
}

impl Criticality {
    /// All classes, most critical first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Default, Self::Sheddable, Self::Bulk];

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The part of the ceiling that each class may use, in 1/256, so that classes yield to one another without a queue.
///
/// In a fleet they leave more to the more critical, as these need it: see [`Reserves`].
///
/// A class may use `ceil(ceiling * part / 256)` slots: rounding up, so that a ceiling of 1 serves every class.
///
/// # Defaults
/// `critical` and `default` the whole ceiling, `sheddable` 7/8 of it, `bulk` half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ClassParts([u16; 4]);

impl ClassParts {
    pub(crate) const DEFAULT: Self = Self([256, 256, 224, 128]);

    /// How many of `ceiling` slots `class` may use.
    #[inline]
    pub(crate) const fn cap(&self, ceiling: u32, class: Criticality) -> u32 {
        let part = self.0[class.index()];
        if part >= 256 {
            return ceiling;
        }
        ((ceiling as u64 * part as u64).div_ceil(256)) as u32
    }
}

/// Slots of a ceiling that each class leaves to the more critical ones, so that these find a free one when they come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Reserves(u64);

impl Reserves {
    /// By class, most critical first; rising.
    pub(crate) fn new(slots: [u32; Criticality::ALL.len()]) -> Self {
        Self(slots.iter().rev().fold(0, |bits, slots| {
            bits << 16 | u64::from((*slots).min(0xFFFF))
        }))
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[cfg(any(feature = "fleet", tidegate_loom))]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The cap of `class`, at most `most`, under `ceiling`; a ceiling of 1 serves every class.
    #[inline]
    pub(crate) const fn cap(self, most: u32, ceiling: u32, class: Criticality) -> u32 {
        let reserve = (self.0 >> (16 * class.index())) as u32 & 0xFFFF;
        let cap = ceiling.saturating_sub(reserve);
        let cap = if cap == 0 { 1 } else { cap };
        if cap < most { cap } else { most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_of_one_serves_every_class_and_of_zero_none() {
        for class in Criticality::ALL {
            assert_eq!(ClassParts::DEFAULT.cap(1, class), 1);
            assert_eq!(ClassParts::DEFAULT.cap(0, class), 0);
        }
    }

    #[test]
    fn a_less_critical_class_never_gets_more() {
        for ceiling in 0..1000 {
            let caps = Criticality::ALL.map(|class| ClassParts::DEFAULT.cap(ceiling, class));
            assert!(caps.is_sorted_by(|a, b| a >= b), "{caps:?}");
        }
    }

    #[test]
    fn i2_what_is_reserved_only_ever_lowers_a_cap() {
        for slots in [[0; 4], [0, 1, 2, 3], [9; 4], [u32::MAX; 4]] {
            let reserves = Reserves::new(slots);
            for ceiling in 0..200 {
                for class in Criticality::ALL {
                    let most = ClassParts::DEFAULT.cap(ceiling, class);
                    let cap = reserves.cap(most, ceiling, class);
                    assert!(cap <= most, "{slots:?}: {cap} of {most} for {class:?}");
                    assert!(cap >= 1 || ceiling == 0, "{slots:?}: none of {ceiling}");
                }
            }
        }
    }
}
