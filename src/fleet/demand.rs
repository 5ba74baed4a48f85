//! Offered concurrency of one node: what its callers would use if nobody were refused.

use crate::permit::Totals;
use crate::time::LocalTime;

/// Arrivals times mean residence (Little's law), at least what was in use; up at once, down by a quarter a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    last: Totals,
    last_in_flight: u32,
    at: LocalTime,
    residence_us: u64,
    slots: u32,
}

impl Demand {
    /// Takes in what was counted until `now`; answers whole slots, rounded up, at least 1.
    pub(crate) fn update(
        &mut self,
        now: LocalTime,
        totals: &Totals,
        in_flight: u32,
        peak: u32,
    ) -> u32 {
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
            (u128::from(arrivals) * u128::from(self.residence_us)).div_ceil(u128::from(elapsed_us));
        let offered = u32::try_from(offered)
            .unwrap_or(u32::MAX)
            .max(peak)
            .max(in_flight)
            .max(1);
        self.slots = if offered >= self.slots {
            offered
        } else {
            self.slots - (self.slots - offered).div_ceil(4)
        };
        (self.last, self.last_in_flight, self.at) = (*totals, in_flight, now);
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::Shed;

    fn at(ms: u64) -> LocalTime {
        LocalTime::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn refused_requests_count_as_if_they_had_been_served() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0, 0);
        // 100 served of 20 ms each and 300 refused within 500 ms: 400 * 20 / 500 = 16.
        let mut totals = Totals {
            successes: 100,
            success_us: 100 * 20_000,
            ..Totals::default()
        };
        totals.sheds[Shed::Full.index()] = 300;
        assert_eq!(demand.update(at(500), &totals, 0, 4), 16);
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let mut demand = Demand::default();
        assert_eq!(demand.update(at(0), &Totals::default(), 40, 40), 40);
        assert_eq!(demand.update(at(500), &Totals::default(), 0, 0), 30);
        assert_eq!(demand.update(at(1000), &Totals::default(), 0, 0), 22);
        for n in 3..40 {
            demand.update(at(n * 500), &Totals::default(), 0, 0);
        }
        assert_eq!(demand.update(at(99_000), &Totals::default(), 0, 0), 1);
    }
}
