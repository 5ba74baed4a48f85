//! How much was in flight when, and not only the most there ever was.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most in flight at once, for each tenth of a second in which something began.
#[derive(Debug, Default)]
pub(crate) struct Peaks(Mutex<Vec<(Instant, usize)>>);

/// How far apart they are at the least.
const TENTH: Duration = Duration::from_millis(100);

impl Peaks {
    /// One more has begun `now`, which makes so many.
    pub(crate) fn note(&self, now: Instant, in_flight: usize) {
        let mut peaks = self.lock();
        match peaks.last_mut() {
            Some((since, most)) if now.saturating_duration_since(*since) < TENTH => {
                *most = in_flight.max(*most);
            }
            _ => peaks.push((now, in_flight)),
        }
    }

    /// When each of them begins, and its peak.
    pub(crate) fn all(&self) -> Vec<(Instant, usize)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is in flight in a real backend has a real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_has_its_own_peak_and_one_without_a_beginning_has_none() {
        let peaks = Peaks::default();
        let begin = now();
        let at = |ms| begin + Duration::from_millis(ms);
        for (ms, in_flight) in [(0, 1), (50, 3), (99, 2), (100, 2), (340, 1), (390, 4)] {
            peaks.note(at(ms), in_flight);
        }
        assert_eq!(peaks.all(), [(at(0), 3), (at(100), 2), (at(340), 4)]);
    }
}
