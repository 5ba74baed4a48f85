//! Offered concurrency of one node: what its callers would use if nobody were refused.

use crate::permit::Totals;
use crate::time::LocalTime;

/// Arrivals times mean residence (Little's law). A demand that has doubled counts at once; otherwise it
/// rises by a quarter a report, and falls by an eighth.
///
/// A mean and not a peak: what a node needs beyond it for chance, the allocator adds, and where slots are scarce a
/// peak would keep them from those who could use them all the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    last: Totals,
    last_in_flight: u32,
    at: LocalTime,
    residence_us: u64,
    milli: u64,
}

impl Demand {
    /// Takes in what was counted until `now`; answers whole slots, rounded up, at least 1.
    pub(crate) fn update(&mut self, now: LocalTime, totals: &Totals, in_flight: u32) -> u32 {
        let completions = totals.completions() - self.last.completions();
        if let Some(residence) = (totals.held_us() - self.last.held_us()).checked_div(completions) {
            self.residence_us = residence;
        }
        let admitted =
            (completions + u64::from(in_flight)).saturating_sub(u64::from(self.last_in_flight));
        let arrivals = admitted + totals.shed_total() - self.last.shed_total();
        let elapsed_us = u64::try_from(now.since(self.at).as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let offered =
            u128::from(arrivals) * u128::from(self.residence_us) * 1000 / u128::from(elapsed_us);
        let offered = u64::try_from(offered).unwrap_or(u64::MAX);
        self.milli = if offered >= self.milli.saturating_mul(2) {
            offered
        } else if offered >= self.milli {
            self.milli + (offered - self.milli) / 4
        } else {
            self.milli - (self.milli - offered) / 8
        };
        (self.last, self.last_in_flight, self.at) = (*totals, in_flight, now);
        u32::try_from(self.milli.div_ceil(1000))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::Shed;

    fn at(ms: u64) -> LocalTime {
        LocalTime::from_nanos(ms * 1_000_000)
    }

    fn served(count: u64, us: u64) -> Totals {
        Totals {
            successes: count,
            success_us: count * us,
            ..Totals::default()
        }
    }

    #[test]
    fn refused_requests_count_as_if_they_had_been_served() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0);
        // 100 served of 20 ms each and 300 refused within 500 ms: 400 * 20 / 500 = 16.
        let mut totals = served(100, 20_000);
        totals.sheds[Shed::Full.index()] = 300;
        assert_eq!(demand.update(at(500), &totals, 0), 16);
    }

    #[test]
    fn what_has_doubled_counts_at_once_and_what_falls_goes_slowly() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0);
        assert_eq!(demand.update(at(500), &served(200, 100_000), 0), 40);
        assert_eq!(demand.update(at(1000), &served(500, 100_000), 0), 45);
        assert_eq!(demand.update(at(1500), &served(500, 100_000), 0), 40);
        for n in 4..80 {
            demand.update(at(n * 500), &served(500, 100_000), 0);
        }
        assert_eq!(demand.update(at(99_000), &served(500, 100_000), 0), 1);
    }
}
