//! Real time: processes live in no other.

use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "real processes are measured by a real clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits. What is asserted afterwards must hold however much longer it took.
pub(crate) fn pause(time: Duration) {
    let started = now();
    while let Some(left) = time.checked_sub(started.elapsed()) {
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Asks every few milliseconds; whether it became so within `patience`.
pub(crate) fn eventually(patience: Duration, mut so: impl FnMut() -> bool) -> bool {
    let started = now();
    while !so() {
        if started.elapsed() >= patience {
            return false;
        }
        pause(Duration::from_millis(10));
    }
    true
}
