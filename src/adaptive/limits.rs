//! The bounds of a limit, and where it starts.

use crate::error::ConfigError;
use std::time::Duration;

/// Between which bounds a limit moves, and where it starts.
///
/// # Defaults
/// From 1 to 1000, starting at 20: as Netflix's `VegasLimit`. The other limits published there start at 20 and stop
/// at 200 with a least limit of 20, which cannot protect a backend that serves fewer at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Limits {
    min: u32,
    initial: u32,
    max: u32,
}

impl Limits {
    /// A limit from `min` to `max` that starts at `initial`.
    ///
    /// # Errors
    /// [`ConfigError::LimitBounds`] unless `1 <= min <= initial <= max`.
    pub const fn new(min: u32, initial: u32, max: u32) -> Result<Self, ConfigError> {
        if min == 0 || min > initial || initial > max {
            return Err(ConfigError::LimitBounds { min, initial, max });
        }
        Ok(Self { min, initial, max })
    }

    /// The lowest limit.
    #[must_use]
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The first limit.
    #[must_use]
    pub const fn initial(&self) -> u32 {
        self.initial
    }

    /// The highest limit.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// `limit` within the bounds; the lowest if it is not a number.
    pub(super) fn clamp(&self, limit: f64) -> f64 {
        // `max` answers the other operand for a NaN.
        limit.max(f64::from(self.min)).min(f64::from(self.max))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min: 1,
            initial: 20,
            max: 1000,
        }
    }
}

/// `value` if it is a number from `least` to `most`.
pub(super) fn factor(
    what: &'static str,
    value: f64,
    least: f64,
    most: f64,
) -> Result<f64, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::Factor {
        what,
        value: value.to_string().into(),
        least: least.to_string().into(),
        most: most.to_string().into(),
    })
}

/// `value` if it is from `least` to `most`.
pub(super) fn span(
    what: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::Span {
        what,
        value,
        least,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_out_of_order_are_refused_with_what_to_write() {
        for (min, initial, max) in [(0, 1, 2), (3, 2, 4), (1, 5, 4), (5, 5, 4)] {
            let refusal = Limits::new(min, initial, max).unwrap_err();
            assert!(refusal.to_string().contains("1 <= min <= initial <= max"));
        }
        assert!(Limits::new(1, 1, 1).is_ok());
    }

    #[test]
    fn what_is_not_a_number_becomes_the_lowest_limit() {
        let limits = Limits::default();
        assert_eq!(limits.clamp(f64::NAN), 1.0);
        assert_eq!(limits.clamp(f64::INFINITY), 1000.0);
        assert_eq!(limits.clamp(-5.0), 1.0);
    }

    #[test]
    fn a_factor_that_is_not_a_number_is_refused() {
        for value in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert!(factor("smoothing", value, 0.0, 1.0).is_err());
        }
        assert_eq!(factor("smoothing", 0.2, 0.0, 1.0), Ok(0.2));
    }
}
