//! The clocks that guards and limiters have by default, or ones that stand still.

use tidegate::time::Clock;

/// A clock for each.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// Of concurrency guards.
    pub guards: Clock,
    /// Of rate limiters.
    pub limits: Clock,
}

impl Clocks {
    /// The defaults, once the counter's pace is known.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark may keep its thread waiting"
    )]
    pub fn ready() -> Self {
        let clocks = Self {
            guards: Clock::system(),
            limits: Clock::counter(),
        };
        // Measured in the background, in a fifth of a second at most.
        std::thread::sleep(std::time::Duration::from_millis(300));
        clocks
    }

    /// Clocks that stand still, for valgrind, which has no vDSO.
    #[must_use]
    pub fn standing() -> Self {
        let clock = Clock::manual().0;
        Self {
            guards: clock.clone(),
            limits: clock,
        }
    }
}
