//! Windows of samples, as Netflix's `WindowedLimit` closes them.

use super::Sample;
use crate::engine::{MS, Nanos, SECOND};

/// The published length; it is between 1 s and 1 s.
const LENGTH: Nanos = SECOND;
const MIN_SAMPLES: u32 = 10;
/// Faster ones are no work of the backend.
const MIN_LATENCY: Nanos = MS / 10;

/// A closed window: the mean latency in nanoseconds, the most in flight, and whether anything was dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) latency: f64,
    pub(super) in_flight: u32,
    pub(super) dropped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    ends: Nanos,
    sum: f64,
    count: u32,
    in_flight: u32,
    dropped: bool,
}

impl Window {
    /// Takes in `sample`; the window that it closes, if that is full enough.
    pub(super) fn add(&mut self, sample: Sample) -> Option<Closed> {
        if sample.latency < MIN_LATENCY {
            return None;
        }
        self.sum += sample.latency as f64;
        self.count += 1;
        self.in_flight = self.in_flight.max(sample.in_flight);
        self.dropped |= sample.dropped;
        if sample.now <= self.ends {
            return None;
        }
        let window = std::mem::take(self);
        self.ends = sample.now + LENGTH;
        (window.count >= MIN_SAMPLES).then(|| Closed {
            latency: window.sum / f64::from(window.count),
            in_flight: window.in_flight,
            dropped: window.dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_lasts_a_second_and_needs_ten_samples() {
        let mut window = Window::default();
        let mut add = |at: Nanos, ms: Nanos, in_flight, dropped| {
            window.add(Sample {
                now: at * MS,
                latency: ms * MS,
                in_flight,
                dropped,
            })
        };
        // The first sample closes the window that never began.
        assert_eq!(add(1, 50, 1, false), None);
        for n in 0..9 {
            assert_eq!(add(10 + n, 10, 3, n == 4), None);
        }
        let closed = Closed {
            latency: 20e6,
            in_flight: 9,
            dropped: true,
        };
        assert_eq!(add(1002, 110, 9, false), Some(closed));
        assert_eq!(add(2003, 10, 1, false), None, "one sample is no window");
    }
}
