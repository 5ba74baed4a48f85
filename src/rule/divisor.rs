//! Division by a number that stays the same, as a multiplication.
//!
//! A division of 64 bits takes a processor up to ten times as long as a multiplication, and would be a good part of a
//! decision. Granlund and Montgomery, "Division by invariant integers using multiplication" (1994), theorem 4.2: with
//! `2^(l-1) < d <= 2^l` and `m = ceil(2^(63+l) / d)`, which fits 64 bits, `floor(n / d)` is `floor(n * m / 2^(63+l))`
//! for every `n` below `2^63`.

/// A number to divide by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Divisor {
    multiplier: u64,
    shift: u32,
}

impl Divisor {
    /// What everything divided by is 0.
    pub(super) const NEVER: Self = Self {
        multiplier: 0,
        shift: 0,
    };

    /// Divides by `number`, which is below `2^63`; by 0 as if it were beyond all bounds.
    pub(super) const fn new(number: u64) -> Self {
        if number == 0 {
            return Self::NEVER;
        }
        debug_assert!(number <= i64::MAX as u64);
        let shift = u64::BITS - (number - 1).leading_zeros();
        let multiplier = (1u128 << (63 + shift)).div_ceil(number as u128);
        Self {
            multiplier: multiplier as u64,
            shift,
        }
    }

    /// `number` divided, rounded down.
    ///
    /// `number` is below `2^63`.
    #[inline]
    pub(super) const fn divide(self, number: u64) -> u64 {
        debug_assert!(number <= i64::MAX as u64);
        // One place to the left, so that the first 64 places fall away with the lower half of the product.
        let product = (number << 1) as u128 * self.multiplier as u128;
        ((product >> 64) as u64) >> self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAST: u64 = i64::MAX as u64;

    #[test]
    fn the_ends_are_exact() {
        for exponent in 0..63 {
            let power = 1u64 << exponent;
            for number in [power - 1, power, LAST.min(power + 1), LAST - power] {
                let divisor = Divisor::new(number);
                for product in
                    [0, 1, 2, LAST / number.max(1)].map(|times| times.saturating_mul(number))
                {
                    for dividend in [product.saturating_sub(1), product, product + 1, LAST] {
                        let dividend = dividend.min(LAST);
                        let exact = dividend.checked_div(number).unwrap_or(0);
                        assert_eq!(divisor.divide(dividend), exact, "{dividend} by {number}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_divides(number in 1..=LAST, narrower in 0u32..63, dividend in 0..=LAST, smaller in 0u32..63) {
            let (number, dividend) = ((number >> narrower).max(1), dividend >> smaller);
            let divisor = Divisor::new(number);
            prop_assert_eq!(divisor.divide(dividend), dividend / number);
            // Around a multiple, where rounding shows.
            let multiple = dividend - dividend % number;
            prop_assert_eq!(divisor.divide(multiple), multiple / number);
            let before = multiple.saturating_sub(1);
            prop_assert_eq!(divisor.divide(before), before / number);
        }
    }
}
