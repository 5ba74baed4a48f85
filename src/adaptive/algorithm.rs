//! The algorithms by name, as one value.

use crate::adaptive::{Aimd, Fixed, Gradient2, LimitAlgorithm, Vegas, Window};
use std::time::Duration;

/// One of the limit algorithms, where a configuration has to name one.
///
/// [`LocalGuard::new`](crate::adaptive::LocalGuard::new) takes any [`LimitAlgorithm`]; this is the choice of a
/// fleet guard's configuration, which every node makes alike.
///
/// # Defaults
/// [`Gradient2`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Follows the ratio of long-term to present latency.
    Gradient2(Gradient2),
    /// Keeps a few requests queued.
    Vegas(Vegas),
    /// One more while it goes well, a tenth less when it does not.
    Aimd(Aimd),
    /// A limit somebody configured.
    Fixed(Fixed),
}

impl Algorithm {
    /// Its name in one lower-case word, as used in statistics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Gradient2(_) => "gradient2",
            Self::Vegas(_) => "vegas",
            Self::Aimd(_) => "aimd",
            Self::Fixed(_) => "fixed",
        }
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::Gradient2(Gradient2::default())
    }
}

impl LimitAlgorithm for Algorithm {
    fn limit(&self) -> u32 {
        match self {
            Self::Gradient2(algorithm) => algorithm.limit(),
            Self::Vegas(algorithm) => algorithm.limit(),
            Self::Aimd(algorithm) => algorithm.limit(),
            Self::Fixed(algorithm) => algorithm.limit(),
        }
    }

    fn baseline(&self) -> Option<Duration> {
        match self {
            Self::Gradient2(algorithm) => algorithm.baseline(),
            Self::Vegas(algorithm) => algorithm.baseline(),
            Self::Aimd(algorithm) => algorithm.baseline(),
            Self::Fixed(algorithm) => algorithm.baseline(),
        }
    }

    fn update(&mut self, window: &Window) -> u32 {
        match self {
            Self::Gradient2(algorithm) => algorithm.update(window),
            Self::Vegas(algorithm) => algorithm.update(window),
            Self::Aimd(algorithm) => algorithm.update(window),
            Self::Fixed(algorithm) => algorithm.update(window),
        }
    }

    fn begin_at(&mut self, limit: u32) {
        match self {
            Self::Gradient2(algorithm) => algorithm.begin_at(limit),
            Self::Vegas(algorithm) => algorithm.begin_at(limit),
            Self::Aimd(algorithm) => algorithm.begin_at(limit),
            Self::Fixed(algorithm) => algorithm.begin_at(limit),
        }
    }
}

impl From<Gradient2> for Algorithm {
    fn from(algorithm: Gradient2) -> Self {
        Self::Gradient2(algorithm)
    }
}

impl From<Vegas> for Algorithm {
    fn from(algorithm: Vegas) -> Self {
        Self::Vegas(algorithm)
    }
}

impl From<Aimd> for Algorithm {
    fn from(algorithm: Aimd) -> Self {
        Self::Aimd(algorithm)
    }
}

impl From<Fixed> for Algorithm {
    fn from(algorithm: Fixed) -> Self {
        Self::Fixed(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adaptive::Limits;
    use proptest::prelude::*;
    use std::time::Duration;

    fn windows() -> impl Strategy<Value = Window> {
        let counts = || prop_oneof![Just(0), Just(1), 0..1000_u64, Just(u64::MAX)];
        let nanos = prop_oneof![Just(0), Just(1), 0..10_000_000_000_u64, Just(u64::MAX)];
        let slots = || prop_oneof![Just(0), 0..2000_u32, Just(u32::MAX)];
        (counts(), nanos, counts(), slots(), slots()).prop_map(
            |(served, nanos, overloads, peak, ceiling)| {
                Window::new(served, Duration::from_nanos(nanos))
                    .with_overloads(overloads)
                    .with_in_flight(peak, ceiling)
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_limit_stays_within_its_bounds(
            seen in prop::collection::vec(windows(), 1..200),
            min in 1..50_u32, more in 0..50_u32, most in 0..5000_u32, dealt in any::<u32>(),
        ) {
            let limits = Limits::new(min, min + more, min + more + most).unwrap();
            for mut algorithm in [
                Algorithm::from(Gradient2::new(limits)),
                Vegas::new(limits).into(),
                Aimd::new(limits).into(),
            ] {
                for window in &seen {
                    let limit = algorithm.update(window);
                    prop_assert!((limits.min()..=limits.max()).contains(&limit));
                    prop_assert_eq!(limit, algorithm.limit());
                }
                algorithm.begin_at(dealt);
                prop_assert_eq!(algorithm.limit(), dealt.clamp(limits.min(), limits.max()));
            }
        }
    }
}
