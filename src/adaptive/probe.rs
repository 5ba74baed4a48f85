//! Is it a queue, or has the backend become slower? A short dip of the limit tells.
//!
//! Latency above the baseline has two explanations, and no passive limiter can tell them apart: requests queue, or
//! the unloaded latency has risen. The two differ when concurrency falls: a queue shrinks with it, a slow backend
//! stays slow. So now and then, under load, the limit dips to 7/10 and the elasticity
//! `ln(R1/R2) / ln(I1/I2)` is looked at (R latency, I in-flight, before and after).
//!
//! ```text
//!            due, under load                 a window has drained
//!   Watch ------------------> Drain(low) ------------------------> Measure(low)
//!     ^                          ^                                      |
//!     |                          '---- elastic: a queue; keep low, ----'|
//!     |                                dip again                        |
//!     '--- inelastic: no queue at low; learn its latency, go back up ---'
//! ```
//!
//! A limit that starts far above the capacity thus comes down by 7/10 a step, and the latency learnt is one measured
//! without a queue. The price is 30 % of the capacity for three windows, twice that if the first dip still sees a queue:
//! 1 % of the capacity with the 240 windows (a minute) between dips that the algorithms ask for.

use crate::adaptive::pool::Pool;
use crate::adaptive::{Limits, Window};

/// When to dip, and where in a dip we are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    /// Loaded windows between two dips; 0 never dips.
    every: u32,
    /// Loaded windows until the next dip.
    left: u32,
    /// The highest limit since the last dip.
    high: f64,
    /// Whether a dip, or the decision against one, has been made.
    warm: bool,
    /// The last loaded windows.
    recent: Pool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Watch,
    Drain { from: f64, before: Pool },
    Measure { from: f64, before: Pool, seen: Pool },
}

/// What the algorithm does with this window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Its own formula.
    Decide,
    /// Take this limit and learn nothing.
    Hold(f64),
    /// There was no queue at these samples: take the limit, and them as the baseline.
    Learn { limit: f64, unloaded: Pool },
}

const DEPTH: f64 = 0.7;
/// In-flight must fall at least to this part for the answer to mean anything.
const FALLEN: f64 = 0.85;
/// Latency that follows concurrency with less than this power does not come from our queue.
const ELASTIC: f64 = 0.4;
/// The first dip comes early: nothing is known of a backend that was met under load.
const FIRST: u32 = 2;
/// Windows until a dip that said nothing is tried again.
const SOON: u32 = 4;
const ENOUGH_SAMPLES: u64 = 50;
const ENOUGH_WINDOWS: u32 = 2;
/// Windows that `recent` pools, and more while they have too few samples.
const RECENT: u32 = 4;

impl Probe {
    /// Dips after each `every` windows under load; 0 never does.
    pub(super) const fn new(every: u32) -> Self {
        Self {
            every,
            left: if every < FIRST { every } else { FIRST },
            high: 0.0,
            warm: every == 0,
            recent: Pool::EMPTY,
            stage: Stage::Watch,
        }
    }

    /// A limit from elsewhere: as little is known of the backend under it as at the start.
    pub(super) const fn begin(&mut self) {
        *self = Self::new(self.every);
    }

    pub(super) fn step(&mut self, window: &Window, limit: f64, limits: &Limits) -> Step {
        if window.is_overloaded() {
            // The answer is in: there is too much. Look again when that is settled.
            self.rest(limit);
            return Step::Decide;
        }
        match self.stage {
            Stage::Watch => self.watch(window, limit, limits),
            Stage::Drain { from, before } => {
                self.stage = Stage::Measure {
                    from,
                    before,
                    seen: Pool::EMPTY,
                };
                Step::Hold(limit)
            }
            Stage::Measure {
                from,
                before,
                mut seen,
            } => {
                seen.add(window);
                if seen.windows() < ENOUGH_WINDOWS || seen.samples() < ENOUGH_SAMPLES {
                    self.stage = Stage::Measure { from, before, seen };
                    return Step::Hold(limit);
                }
                self.conclude(from, &before, seen, limit, limits)
            }
        }
    }

    fn watch(&mut self, window: &Window, limit: f64, limits: &Limits) -> Step {
        self.high = self.high.max(limit);
        if self.every == 0 || window.is_idle() {
            return Step::Decide;
        }
        // Of few slots a window is ten samples: it takes more windows until they are enough.
        if self.recent.windows() >= RECENT && self.recent.samples() >= ENOUGH_SAMPLES {
            self.recent = Pool::EMPTY;
        }
        self.recent.add(window);
        self.left = self.left.saturating_sub(1);
        // A limit that lost half of itself stands on a baseline that deserves a second look.
        let due = self.left == 0 || 2.0 * limit <= self.high;
        if due && self.recent.samples() >= ENOUGH_SAMPLES {
            let before = self.recent;
            if let Some(low) = lower(limit, limits) {
                self.stage = Stage::Drain {
                    from: limit,
                    before,
                };
                return Step::Hold(low);
            }
            self.rest(limit);
        }
        if self.warm {
            Step::Decide
        } else {
            Step::Hold(limit)
        }
    }

    fn conclude(
        &mut self,
        from: f64,
        before: &Pool,
        seen: Pool,
        low: f64,
        limits: &Limits,
    ) -> Step {
        let fall = seen.peak_in_flight() / before.peak_in_flight();
        let (Some(then), Some(now)) = (before.mean_nanos(), seen.mean_nanos()) else {
            self.rest(from);
            return Step::Hold(from);
        };
        if !(0.0..=FALLEN).contains(&fall) {
            // Others move the ceiling, or somebody else's load: no answer.
            self.rest(from);
            return Step::Hold(from);
        }
        let elasticity = (then / now).ln() / (1.0 / fall).ln();
        if elasticity <= -ELASTIC {
            // Latency rose while concurrency fell: things are still moving. Look again soon.
            let warm = self.warm;
            self.rest(from);
            self.left = self.every.min(SOON);
            self.warm = warm;
            return Step::Hold(from);
        }
        if elasticity >= ELASTIC {
            if let Some(lower) = lower(low, limits) {
                self.stage = Stage::Drain {
                    from: low,
                    before: seen,
                };
                return Step::Hold(lower);
            }
            self.rest(low);
            return Step::Learn {
                limit: low,
                unloaded: seen,
            };
        }
        self.rest(from);
        Step::Learn {
            limit: from,
            unloaded: seen,
        }
    }

    fn rest(&mut self, limit: f64) {
        self.left = self.every;
        self.high = limit;
        self.warm = true;
        self.recent = Pool::EMPTY;
        self.stage = Stage::Watch;
    }
}

/// A whole slot lower at least, unless the limit is at its lowest.
fn lower(limit: f64, limits: &Limits) -> Option<f64> {
    let low = limits.clamp((limit * DEPTH).floor());
    (low <= limit.floor() - 1.0).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A backend of `capacity` slots and 20 ms, with as much in flight as the limit allows.
    fn window(limit: f64, capacity: f64, unloaded_ms: f64) -> Window {
        let rtt = unloaded_ms / 1e3 * (limit / capacity).max(1.0);
        Window::new(500, Duration::from_secs_f64(rtt)).with_in_flight(limit as u32, limit as u32)
    }

    /// Runs until something is learnt; answers it and the windows that took.
    fn learn(probe: &mut Probe, mut limit: f64, capacity: f64, ms: f64) -> (f64, f64, u32) {
        for windows in 1..1000 {
            match probe.step(&window(limit, capacity, ms), limit, &Limits::default()) {
                Step::Decide => {}
                Step::Hold(held) => limit = held,
                Step::Learn { limit, unloaded } => {
                    return (limit, unloaded.mean_nanos().unwrap() / 1e6, windows);
                }
            }
        }
        panic!("nothing was learnt");
    }

    #[test]
    fn a_limit_far_above_the_capacity_comes_down_to_it_and_learns_the_latency_without_a_queue() {
        let (limit, ms, windows) = learn(&mut Probe::new(120), 400.0, 50.0, 20.0);
        assert!((35.0..72.0).contains(&limit), "{limit}");
        assert!((ms - 20.0).abs() < 0.1, "{ms}");
        assert!(windows < 30, "{windows}");
    }

    #[test]
    fn below_the_capacity_one_dip_restores_the_limit() {
        let (limit, ms, windows) = learn(&mut Probe::new(120), 20.0, 50.0, 20.0);
        assert_eq!((limit, windows), (20.0, FIRST + 3));
        assert!((ms - 20.0).abs() < 0.1);
    }

    #[test]
    fn the_second_dip_comes_after_the_interval_or_when_half_of_the_limit_is_lost() {
        let mut probe = Probe::new(120);
        learn(&mut probe, 40.0, 50.0, 20.0);
        for _ in 0..119 {
            assert_eq!(
                probe.step(&window(40.0, 50.0, 20.0), 40.0, &Limits::default()),
                Step::Decide
            );
        }
        assert_eq!(
            probe.step(&window(40.0, 50.0, 20.0), 40.0, &Limits::default()),
            Step::Hold(28.0)
        );

        let mut probe = Probe::new(120);
        learn(&mut probe, 40.0, 50.0, 20.0);
        assert_eq!(
            probe.step(&window(40.0, 50.0, 20.0), 40.0, &Limits::default()),
            Step::Decide
        );
        assert_eq!(
            probe.step(&window(20.0, 50.0, 40.0), 20.0, &Limits::default()),
            Step::Hold(14.0)
        );
    }

    #[test]
    fn without_a_fall_of_in_flight_nothing_is_learnt() {
        let mut probe = Probe::new(120);
        let shared = || Window::new(500, Duration::from_millis(80)).with_in_flight(10, 10);
        let mut limit = 40.0;
        for _ in 0..FIRST + 3 {
            match probe.step(&shared(), limit, &Limits::default()) {
                Step::Hold(held) => limit = held,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(limit, 40.0);
        assert_eq!(
            probe.step(&shared(), limit, &Limits::default()),
            Step::Decide
        );
    }

    #[test]
    fn idle_windows_do_not_bring_a_dip_nearer() {
        let mut probe = Probe::new(120);
        let idle = Window::new(500, Duration::from_millis(20)).with_in_flight(4, 20);
        for _ in 0..1000 {
            assert_eq!(probe.step(&idle, 20.0, &Limits::default()), Step::Decide);
        }
    }

    /// A node with a single slot of a fleet's limit, as under the median: what it has in flight cannot fall.
    #[test]
    fn windows_of_few_samples_do_not_hold_the_limit_for_ever() {
        let mut probe = Probe::new(120);
        let single = Window::new(10, Duration::from_millis(20)).with_in_flight(1, 1);
        let limits = Limits::default();
        let decided = |probe: &mut Probe, windows| {
            let step = |_: &u32| probe.step(&single, 20.0, &limits) == Step::Decide;
            (0..windows).filter(step).count()
        };
        decided(&mut probe, 20);
        assert_eq!(decided(&mut probe, 100), 100);
        // And the next dip comes when it is due.
        assert!(decided(&mut probe, 30) < 30);
    }

    #[test]
    fn a_limit_of_one_does_not_dip() {
        let mut probe = Probe::new(2);
        for _ in 0..10 {
            let step = probe.step(&window(1.0, 50.0, 20.0), 1.0, &Limits::default());
            assert!(matches!(step, Step::Decide | Step::Hold(1.0)), "{step:?}");
        }
    }
}
