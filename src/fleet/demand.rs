//! Offered concurrency of one node: what its callers would use if nobody were refused.

use crate::Criticality;
use crate::permit::Totals;
use crate::time::LocalTime;
use std::time::Duration;

const CLASSES: usize = Criticality::ALL.len();
/// The residence is the mean of about so many requests, and so many arrivals make a demand that is known.
const SOME: u64 = 16;
/// For so long somebody has just come: longer, and of slow requests the first few would count for much.
const NEW: Duration = Duration::from_millis(125);

/// Arrivals times mean residence (Little's law). A demand that has doubled, by more arrivals than chance brings, counts at
/// once; otherwise it rises by a quarter a report, and falls by an eighth.
///
/// Of the few requests of a report each counts for much: taken at their word, nodes of one and the same load would have
/// shares of three and of twenty. Who has just come is believed sooner, but for a standard deviation of all that it was
/// asked so far: else it waits for its share for as many reports as that takes.
///
/// A mean and not a peak: what a node needs beyond it for chance, the allocator adds, and where slots are scarce a
/// peak would keep them from those who could use them all the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Demand {
    last: Totals,
    last_in_flight: u32,
    at: LocalTime,
    /// When this was first asked, and how many have arrived since, as long as these are few.
    began: Option<LocalTime>,
    few: u64,
    /// When something last arrived or was in flight, or this began.
    busy: Option<LocalTime>,
    /// Between two arrivals: at once when it has become longer, else by an eighth a report.
    gap: Duration,
    residence_us: u64,
    milli: u64,
    /// Of each class by its own residence: only their proportions are used.
    classes: [u64; CLASSES],
}

impl Demand {
    /// Whoever has not been asked yet could not be before `now`.
    pub(crate) const fn begin(&mut self, now: LocalTime) {
        self.busy = Some(now);
    }

    /// Takes in what was counted until `now`; answers the whole, in slots, rounded up, at least 1. Who has served nobody
    /// yet takes it that a request lasts as long as the fleet's do: `fleet_us` microseconds, 0 if unknown.
    pub(crate) fn update(
        &mut self,
        now: LocalTime,
        totals: &Totals,
        in_flight: u32,
        fleet_us: u64,
    ) -> u32 {
        let completions = totals.completions() - self.last.completions();
        if let Some(residence) = (totals.held_us() - self.last.held_us()).checked_div(completions) {
            self.residence_us = mean(self.residence_us, residence, completions);
        }
        let admitted =
            (completions + u64::from(in_flight)).saturating_sub(u64::from(self.last_in_flight));
        let arrivals = admitted + totals.shed_total() - self.last.shed_total();
        let busy = self.busy.get_or_insert(now);
        if arrivals > 0 {
            let gap = now.since(*busy) / u32::try_from(arrivals).unwrap_or(u32::MAX);
            let shorter = self.gap.saturating_sub(gap);
            self.gap = self.gap.max(gap) - shorter / 8;
        }
        if arrivals > 0 || in_flight > 0 {
            *busy = now;
        }
        let elapsed_us = micros(now.since(self.at));
        let reported = |milli, arrivals, residence_us| {
            let offered = concurrency(arrivals, residence_us, elapsed_us);
            let is_chance = arrivals <= by_chance(milli, residence_us, elapsed_us);
            follow(milli, offered, is_chance)
        };
        let residence_us = match self.residence_us {
            0 => fleet_us,
            known => known,
        };
        let known = reported(self.milli, arrivals, residence_us);
        let new = self.began.map(|began| now.since(began));
        self.milli = match new.filter(|since| *since <= NEW && self.few < SOME) {
            Some(since) => {
                self.few += arrivals;
                let likely = self.few.saturating_sub(self.few.isqrt());
                concurrency(likely, residence_us, micros(since)).max(known)
            }
            None => known,
        };
        self.began.get_or_insert(now);
        for (index, milli) in self.classes.iter_mut().enumerate() {
            let seen = totals.classes[index].since(&self.last.classes[index]);
            let mean_us = seen.success_us.checked_div(seen.successes);
            let residence_us = mean_us.unwrap_or(residence_us);
            *milli = reported(*milli, seen.successes + seen.sheds, residence_us);
        }
        (self.last, self.last_in_flight, self.at) = (*totals, in_flight, now);
        slots(self.milli).max(1)
    }

    /// Whether nothing has arrived and nothing was in flight for `long`, as of the last update; where requests are few and
    /// far between, for four times as long as they are apart, up to `longest`.
    pub(crate) fn is_idle(&self, long: Duration, longest: Duration) -> bool {
        let idle_for = self.busy.map_or(Duration::ZERO, |busy| self.at.since(busy));
        idle_for >= (4 * self.gap).min(longest).max(long)
    }

    /// What the class with each index and all more critical ones would use, in thousandths of a slot. Before anything
    /// is known of classes all is of the default one.
    pub(crate) fn ranked(&self) -> [u64; CLASSES] {
        let all: u128 = self.classes.iter().map(|milli| u128::from(*milli)).sum();
        let (classes, all) = if all == 0 {
            ([0, 1, 0, 0], 1)
        } else {
            (self.classes, all)
        };
        let mut sum = 0;
        classes.map(|milli| {
            sum += u128::from(milli);
            u64::try_from(u128::from(self.milli) * sum / all).unwrap_or(u64::MAX)
        })
    }

    /// The same in slots, as it is reported: the least critical and all others are the whole.
    pub(crate) fn ranked_slots(&self) -> [u32; CLASSES - 1] {
        let ranked @ [.., all] = self.ranked();
        // Who has nothing less critical reports the whole, which is at least one slot.
        let slots = |rank: usize| match ranked[rank] {
            0 if rank < Criticality::Default.index() => 0,
            part if part == all => slots(all).max(1),
            part => slots(part),
        };
        std::array::from_fn(slots)
    }
}

/// At least one.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Whole slots, rounded up.
fn slots(milli: u64) -> u32 {
    u32::try_from(milli.div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Little's law, in thousandths of a slot.
fn concurrency(arrivals: u64, residence_us: u64, elapsed_us: u64) -> u64 {
    let milli = u128::from(arrivals) * u128::from(residence_us) * 1000 / u128::from(elapsed_us);
    u64::try_from(milli).unwrap_or(u64::MAX)
}

/// The mean of some requests, and of the `completions` whose mean is `latest`.
fn mean(known: u64, latest: u64, completions: u64) -> u64 {
    if known == 0 {
        return latest;
    }
    let weight = u128::from(SOME);
    let sum = u128::from(known) * weight + u128::from(latest) * u128::from(completions);
    u64::try_from(sum / (weight + u128::from(completions))).unwrap_or(u64::MAX)
}

/// The most arrivals that chance makes of a demand: three standard deviations of a Poisson process, and two.
fn by_chance(milli: u64, residence_us: u64, elapsed_us: u64) -> u64 {
    let mean = u128::from(milli) * u128::from(elapsed_us) / 1000 / u128::from(residence_us.max(1));
    u64::try_from(mean + (9 * mean).isqrt() + 2).unwrap_or(u64::MAX)
}

/// Fast up, slowly down.
fn follow(milli: u64, offered: u64, is_chance: bool) -> u64 {
    if offered >= milli.saturating_mul(2) && !is_chance {
        offered
    } else if offered >= milli {
        milli + (offered - milli) / 4
    } else {
        milli - (milli - offered) / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::{ClassTotals, Shed};

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
        demand.update(at(0), &Totals::default(), 0, 0);
        // 100 served of 20 ms each and 300 refused within 500 ms: 400 * 20 / 500 = 16.
        let mut totals = served(100, 20_000);
        totals.sheds[Shed::Full.index()] = 300;
        assert_eq!(demand.update(at(500), &totals, 0, 0), 16);
    }

    #[test]
    fn what_has_doubled_counts_at_once_and_what_falls_goes_slowly() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0, 0);
        assert_eq!(demand.update(at(500), &served(200, 100_000), 0, 0), 40);
        assert_eq!(demand.update(at(1000), &served(500, 100_000), 0, 0), 45);
        assert_eq!(demand.update(at(1500), &served(500, 100_000), 0, 0), 40);
        for n in 4..80 {
            demand.update(at(n * 500), &served(500, 100_000), 0, 0);
        }
        assert_eq!(demand.update(at(99_000), &served(500, 100_000), 0, 0), 1);
    }

    #[test]
    fn who_is_asked_seldom_is_idle_later() {
        let mut demand = Demand::default();
        let mut totals = Totals::default();
        let idle =
            |demand: &Demand| demand.is_idle(Duration::from_secs(2), Duration::from_secs(10));
        let mut beat = |demand: &mut Demand, ms, arrivals| {
            totals.sheds[Shed::Full.index()] += arrivals;
            demand.update(at(ms), &totals, 0, 0);
            idle(demand)
        };
        // Whoever begins is not idle yet, and whoever was asked often is so soon.
        assert!(!beat(&mut demand, 70_000, 0));
        assert!(!beat(&mut demand, 70_500, 50));
        assert!(!beat(&mut demand, 72_499, 0));
        assert!(beat(&mut demand, 72_500, 0));
        // Two seconds between requests: after eight.
        assert!(!beat(&mut demand, 72_600, 1));
        assert!(!beat(&mut demand, 80_900, 0));
        assert!(beat(&mut demand, 81_000, 0));
        // After the longest.
        assert!(!beat(&mut demand, 90_000, 1));
        assert!(!beat(&mut demand, 99_900, 0));
        assert!(beat(&mut demand, 100_000, 0));
    }

    #[test]
    fn classes_have_their_parts_of_the_demand_each_by_its_own_residence() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0, 0);
        // 100 short ones, and 200 of twice the length, half of which were refused: 5 and 20 slots, 22.5 by the mean.
        let mut totals = served(200, 37_500);
        totals.sheds[Shed::Class.index()] = 100;
        let class = |successes: u64, mean_us, sheds| ClassTotals {
            successes,
            success_us: successes * mean_us,
            sheds,
        };
        totals.classes[0] = class(100, 25_000, 0);
        totals.classes[3] = class(100, 50_000, 100);
        assert_eq!(demand.update(at(500), &totals, 0, 0), 23);
        assert_eq!(demand.ranked(), [4_500, 4_500, 4_500, 22_500]);
        assert_eq!(demand.ranked_slots(), [5; 3]);
    }

    #[test]
    fn chance_among_few_requests_moves_demand_little() {
        let mut demand = Demand::default();
        let mut totals = Totals::default();
        // Four a report of 125 ms that take 50 ms each: 1.6 slots.
        let mut report = |demand: &mut Demand, n: u64, count: u64, us: u64| {
            totals.successes += count;
            totals.success_us += count * us;
            demand.update(at(n * 125), &totals, 0, 0)
        };
        report(&mut demand, 0, 0, 0);
        for n in 1..80 {
            report(&mut demand, n, 4, 50_000);
        }
        // Twice as many by chance, of one and a half times the length; not another load.
        assert!(report(&mut demand, 80, 8, 75_000) <= 3);
        assert_eq!(report(&mut demand, 81, 4, 50_000), 3);
        // Ten times as many are.
        assert!(report(&mut demand, 82, 40, 50_000) >= 14);
    }

    #[test]
    fn who_has_just_come_is_believed_as_far_as_it_is_likely() {
        let two_in_20_ms = |before: &[u64]| {
            let mut demand = Demand::default();
            let mut totals = Totals::default();
            // What came before it was asked for the first time came in nobody knows how long a time.
            totals.sheds[Shed::Cold.index()] = 9;
            for ms in before {
                assert_eq!(demand.update(at(*ms), &totals, 0, 50_000), 1);
            }
            totals.sheds[Shed::Full.index()] = 2;
            let last = before.last().expect("the first");
            demand.update(at(last + 20), &totals, 0, 50_000)
        };
        // Of 50 ms each, five slots; two of them but for one that may be chance. Whoever had none for longer had none.
        assert_eq!(two_in_20_ms(&[5_000]), 3);
        assert_eq!(two_in_20_ms(&[5_000, 5_110]), 2);
    }

    #[test]
    fn who_has_served_nobody_yet_counts_with_the_fleets_latency() {
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0, 0);
        // 100 a second that will take two seconds each.
        assert_eq!(demand.update(at(100), &Totals::default(), 10, 0), 1);
        let mut demand = Demand::default();
        demand.update(at(0), &Totals::default(), 0, 2_000_000);
        let known = demand.update(at(100), &Totals::default(), 10, 2_000_000);
        assert_eq!(known, 200);
    }
}
