//! The local brake: a node whose own latency or drops are far beyond the fleet's admits less of its share.
//!
//! What slows the whole fleet down is the estimator's to deal with; what slows one node down, its way to the backend or
//! the process itself, is not in the fleet's mean, and less in flight there is all that can be done. So a node compares
//! what it measured with what the fleet did in the same time, its usual distance taken off, whenever there is another
//! [`Pulse`] and it has served enough since the last look. The brake only ever lowers what is admitted: no promise
//! depends on it.
//!
//! Only [`Estimate::Fleet`](crate::fleet::Estimate::Fleet) measures what the fleet did: under the other estimates there
//! is no pulse, and no brake. What is withheld goes to nobody: it stays in the node's share, for when the brake lets go.
//! So what the brake turns away or lets wait is no want of a larger share (`fleet/reporter.rs`).

use crate::fleet::message::Pulse;
use crate::permit::Totals;
use crate::time::LocalTime;
use std::time::Duration;

/// Answers that a look takes.
const ENOUGH: u64 = 20;
/// Looks in a row that agree: the fleet's window is not quite the node's.
const AGREEING: u32 = 2;
/// Latency beyond this many times what it should be is far; of a few answers, whose mean is that now and then by
/// chance, so many times more for one of them, and its part for each.
const FAR: i64 = 2;
const FEW: i64 = 40;
/// So are this many drops among a million answers in excess of this many times the fleet's.
const DROPS_PPM: u64 = 100_000;
const DROPS: u64 = 2;
/// What is admitted of a share, in sixteenths: all of it, or at least half.
const ALL: u32 = 16;
const LEAST: u32 = 8;
const DOWN: u32 = 4;
const UP: u32 = 1;
/// Without a look for so long it lets go.
const STALE: Duration = Duration::from_secs(5);
/// In how many answers the usual distance follows what is seen, and in how many while that is far: who stays slow is so
/// one day.
const FOLLOW: i64 = 1_000;
const FOLLOW_FAR: i64 = 20_000;

/// A node's comparison of itself with its fleet.
#[derive(Clone, Debug)]
pub(crate) struct Brake {
    sixteenths: u32,
    /// The last pulse that was looked at, and what the node had counted then.
    pulse: u64,
    successes: u64,
    success_us: u64,
    overloads: u64,
    /// When that was.
    looked: LocalTime,
    /// How much longer this node's requests usually take than the fleet's, in nanoseconds, if they do; not known at
    /// first. Who is nearer than the rest may become as slow as them: that is not far beyond the fleet.
    usual: Option<i64>,
    /// Looks in a row that were far.
    far: u32,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            sixteenths: ALL,
            pulse: 0,
            successes: 0,
            success_us: 0,
            overloads: 0,
            looked: LocalTime::ZERO,
            usual: None,
            far: 0,
        }
    }
}

impl Brake {
    /// Compares `totals` until now with what the fleet measured.
    pub(crate) fn look(&mut self, now: LocalTime, totals: &Totals, fleet: Pulse) {
        if fleet.number == 0 {
            // Nobody measures: there is nothing to compare with.
            self.release(now, totals);
            return;
        }
        let successes = totals.successes - self.successes;
        let drops = totals.overloads - self.overloads;
        let answers = successes + drops;
        if fleet.number == self.pulse || answers < ENOUGH {
            if now.since(self.looked) >= STALE {
                // What was seen is not what is.
                self.release(now, totals);
            }
            return;
        }
        let own_us = (totals.success_us - self.success_us).checked_div(successes);
        self.pulse = fleet.number;
        self.count(now, totals);

        let refused = drops.saturating_mul(1_000_000) / answers
            > fleet.drops_ppm.saturating_mul(DROPS) + DROPS_PPM;
        let is_far = match own_us.filter(|_| fleet.latency_us > 0) {
            Some(own_us) => {
                let (own, fleet) = (nanos(own_us), nanos(fleet.latency_us));
                let away = (own - fleet).max(0);
                let usual = self.usual.get_or_insert(away);
                let is_far = refused || is_slow(own, fleet + *usual, successes);
                let follow = if is_far { FOLLOW_FAR } else { FOLLOW };
                *usual += (away - *usual) * successes.min(follow as u64) as i64 / follow;
                is_far
            }
            None => refused,
        };
        self.far = if is_far {
            self.far.saturating_add(1)
        } else {
            0
        };
        self.sixteenths = match self.far {
            0 => (self.sixteenths + UP).min(ALL),
            AGREEING.. => (self.sixteenths - DOWN).max(LEAST),
            _ => self.sixteenths,
        };
    }

    fn release(&mut self, now: LocalTime, totals: &Totals) {
        (self.sixteenths, self.far) = (ALL, 0);
        self.count(now, totals);
    }

    fn count(&mut self, now: LocalTime, totals: &Totals) {
        self.looked = now;
        (self.successes, self.success_us, self.overloads) =
            (totals.successes, totals.success_us, totals.overloads);
    }

    /// What is admitted of `share`: at least half of it, and one slot.
    pub(crate) fn part_of(&self, share: u32) -> u32 {
        let part = u64::from(share) * u64::from(self.sixteenths);
        part.div_ceil(u64::from(ALL)) as u32
    }

    /// Whether anything is withheld.
    pub(crate) const fn is_on(&self) -> bool {
        self.sixteenths < ALL
    }

    /// The part of its share that the node admits, .5 to 1.
    pub(crate) fn part(&self) -> f64 {
        f64::from(self.sixteenths) / f64::from(ALL)
    }
}

fn is_slow(own: i64, expected: i64, answers: u64) -> bool {
    let few = i64::try_from(answers).unwrap_or(i64::MAX).max(1);
    own > FAR * expected.max(1) + FEW * expected / few
}

fn nanos(us: u64) -> i64 {
    // Up to hours, so that no product overflows.
    us.min(1 << 34) as i64 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node and its fleet, a window at a time.
    #[derive(Default)]
    struct Fleet {
        brake: Brake,
        totals: Totals,
        pulse: Pulse,
        /// Seconds.
        now: u64,
    }

    impl Fleet {
        /// In which the node serves so many in `own_us`, and drops some, and the fleet takes `fleet_us`.
        fn window(&mut self, served: u64, own_us: u64, drops: u64, fleet_us: u64) -> u32 {
            self.totals.successes += served;
            self.totals.success_us += served * own_us;
            self.totals.overloads += drops;
            self.pulse.number += 1;
            self.pulse.latency_us = fleet_us;
            self.now += 1;
            self.brake.look(self.now(), &self.totals, self.pulse);
            self.brake.part_of(32)
        }

        fn now(&self) -> LocalTime {
            LocalTime::from_nanos(self.now * 1_000_000_000)
        }

        fn settled(own_us: u64, fleet_us: u64) -> Self {
            let mut fleet = Self::default();
            for _ in 0..10 {
                assert_eq!(fleet.window(200, own_us, 0, fleet_us), 32);
            }
            fleet
        }
    }

    #[test]
    fn what_slows_one_node_down_brakes_it_to_a_half_and_lets_go_by_itself() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        assert_eq!(fleet.window(200, 150_000, 0, 55_000), 32, "once is chance");
        assert_eq!(fleet.window(200, 150_000, 0, 55_000), 24);
        assert_eq!(fleet.window(200, 150_000, 0, 55_000), 16);
        assert_eq!(fleet.window(200, 150_000, 0, 55_000), 16, "never below");
        for sixteenths in 9..=16 {
            assert!(fleet.brake.is_on());
            assert_eq!(fleet.window(200, 52_000, 0, 50_000), 2 * sixteenths);
        }
        assert!(!fleet.brake.is_on());
    }

    #[test]
    fn what_slows_the_whole_fleet_down_brakes_nobody() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        for us in [500_000, 5_000_000, 5_000] {
            for _ in 0..4 {
                assert_eq!(fleet.window(200, us, 0, us), 32);
            }
        }
    }

    #[test]
    fn who_is_far_away_is_as_far_as_usual() {
        let mut fleet = Fleet::settled(250_000, 50_000);
        for _ in 0..4 {
            assert_eq!(fleet.window(200, 350_000, 0, 50_000), 32);
        }
        for part in [32, 24, 16] {
            assert_eq!(fleet.window(200, 800_000, 0, 50_000), part);
        }
    }

    #[test]
    fn who_stays_slow_is_so_by_and_by() {
        for (own_us, fleet_us) in [(800_000, 50_000), (15_000, 5_000), (1_500, 500)] {
            let mut fleet = Fleet::settled(fleet_us, fleet_us);
            for _ in 0..5 {
                fleet.window(20, 2 * own_us, 0, fleet_us);
            }
            assert!(fleet.brake.is_on());
            for _ in 0..5_000 {
                fleet.window(20, own_us, 0, fleet_us);
            }
            assert!(!fleet.brake.is_on(), "{own_us} {fleet_us}");
        }
    }

    #[test]
    fn it_lets_go_when_nothing_is_seen_any_more_and_a_window_of_drops_is_no_latency() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        for _ in 0..4 {
            assert_eq!(fleet.window(200, 150_000, 0, 0), 32);
        }
        for _ in 0..4 {
            fleet.window(200, 500_000, 0, 50_000);
        }
        assert!(fleet.brake.is_on());
        for _ in 0..4 {
            assert_eq!(fleet.window(1, 50_000, 0, 50_000), 16);
        }
        assert_eq!(fleet.window(1, 50_000, 0, 50_000), 32);
    }

    #[test]
    fn who_is_nearer_than_the_rest_may_be_as_slow_as_them() {
        let mut fleet = Fleet::settled(5_000, 50_000);
        assert_eq!(fleet.window(200, 95_000, 0, 50_000), 32);
        assert_eq!(fleet.window(200, 150_000, 0, 50_000), 32);
        assert_eq!(fleet.window(200, 150_000, 0, 50_000), 24);
    }

    #[test]
    fn drops_count_in_excess_of_the_fleets() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        fleet.pulse.drops_ppm = 100_000;
        for _ in 0..4 {
            assert_eq!(fleet.window(150, 50_000, 50, 50_000), 32);
        }
        for part in [32, 24, 16] {
            assert_eq!(fleet.window(0, 0, 100, 50_000), part);
        }
    }

    #[test]
    fn a_few_answers_and_an_old_window_say_nothing() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        fleet.window(19, 500_000, 0, 50_000);
        assert_eq!(fleet.window(0, 0, 0, 50_000), 32);
        for _ in 0..4 {
            // Of twenty the mean is the threefold now and then.
            assert_eq!(fleet.window(20, 180_000, 0, 50_000), 32);
        }
        fleet.pulse.number -= 1;
        for _ in 0..5 {
            fleet.pulse.number -= 1;
            assert_eq!(fleet.window(200, 500_000, 0, 50_000), 32);
        }
        // Nobody measures any more.
        let mut fleet = Fleet::settled(50_000, 50_000);
        for _ in 0..3 {
            fleet.window(200, 500_000, 0, 50_000);
        }
        assert!(fleet.brake.is_on());
        fleet
            .brake
            .look(fleet.now(), &fleet.totals, Pulse::default());
        assert!(!fleet.brake.is_on());
    }

    #[test]
    fn a_single_slot_is_left() {
        let mut fleet = Fleet::settled(50_000, 50_000);
        for _ in 0..5 {
            fleet.window(200, 500_000, 0, 50_000);
        }
        let parts = [0, 1, 2, 3, u32::MAX].map(|share| fleet.brake.part_of(share));
        assert_eq!(parts, [0, 1, 1, 2, 1 << 31]);
        assert!((fleet.brake.part() - 0.5).abs() < 1e-9);
    }
}
