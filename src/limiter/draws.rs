//! Random numbers for rules that let a part of the requests pass.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where they come from.
#[derive(Debug)]
pub(super) enum Draws {
    /// Each thread's own generator.
    Thread,
    /// A sequence that a seed determines, whichever thread draws.
    Seeded(AtomicU64),
}

impl Draws {
    pub(super) fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::Thread, |seed| Self::Seeded(AtomicU64::new(seed)))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: rules take the number as an argument"
    )]
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Thread => fastrand::u64(..),
            Self::Seeded(state) => mix(state.fetch_add(GOLDEN, Ordering::Relaxed)),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
