//! A limit somebody configured.

use crate::adaptive::{LimitAlgorithm, Window};

/// Always the same limit.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fixed(u32);

impl Fixed {
    /// A limit of `limit` slots; zero admits nothing.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self(limit)
    }
}

impl LimitAlgorithm for Fixed {
    fn limit(&self) -> u32 {
        self.0
    }

    fn update(&mut self, _: &Window) -> u32 {
        self.0
    }
}
