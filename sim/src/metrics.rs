//! What is measured in a run, after the warm-up, and what is made of it.

use crate::engine::{MS, Nanos, SECOND, nanos, seconds};
use crate::limiter::Traffic;
use crate::scenario::Scenario;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate::Criticality;

/// What is told over time is told in bins of this length.
pub(crate) const BIN: Nanos = 100 * MS;
/// So long after a step of the backend the steady state is not judged.
const SETTLING: Nanos = 5 * SECOND;
/// Fairness is judged over windows of this length.
const FAIRNESS: Nanos = 5 * SECOND;
/// The longest time in microseconds, and the highest thousandth, that is told apart: above an hour it is all one.
const MOST: u64 = 3_600_000_000;
/// Bins in half a second.
const HALF: usize = (SECOND / 2 / BIN) as usize;

/// A bin of time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Bin {
    /// Seconds, its end.
    pub(crate) time: f64,
    pub(crate) capacity: f64,
    pub(crate) limit: f64,
    pub(crate) shares: f64,
    /// Mean.
    pub(crate) in_flight: f64,
    pub(crate) in_flight_max: u32,
    pub(crate) at_backend: usize,
    /// Served within the SLO, a second.
    pub(crate) goodput: f64,
    pub(crate) p99_ms: f64,
    pub(crate) refused: u32,
}

/// The results of a run. Times and counts are relative where that lets runs be compared.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) values: Values,
    pub(crate) bins: Vec<Bin>,
    pub(crate) events: u64,
}

/// A number per metric; NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values([f64; Metric::ALL.len()]);

macro_rules! metrics {
    ($($variant:ident, $name:literal, $short:literal, $about:literal;)+) => {
        /// What is measured.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Metric { $(#[doc = $about] $variant,)+ }

        impl Metric {
            pub(crate) const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The head of its column.
            pub(crate) const fn short(self) -> &'static str {
                match self { $(Self::$variant => $short,)+ }
            }

            pub(crate) const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)+ }
            }
        }
    };
}

metrics! {
    Goodput, "goodput", "good/O", "Served within the SLO, divided by what the omniscient oracle serves of the same load";
    Rate, "rate", "good/s", "Served within the SLO, a second";
    P50, "p50", "p50/u", "Median latency of the admitted, divided by that of the same requests without load";
    P99, "p99", "p99/u", "The same at 99 %";
    P999, "p999", "p999/u", "The same at 99.9 %";
    InFlightMean, "in_flight_mean", "if mean", "Mean of in-flight / capacity";
    InFlightMax, "in_flight_max", "if max", "Maximum of in-flight / capacity, outside of 5 s after a step of the backend";
    InFlightP999, "in_flight_p999", "if p999", "In-flight / capacity that is exceeded 0.1 % of the time";
    Overshoot, "overshoot", "over s", "Integral of in-flight above capacity, in capacities times seconds, per minute";
    Settle, "settle", "settle", "Seconds after a step until in-flight / capacity stays within 10 % of where it ends; the worst step";
    FalseRejects, "false_rejects", "false", "Refused though there was room at the backend, divided by all who asked";
    Rejects, "rejects", "reject", "Refused, divided by all who asked";
    Jain, "jain", "jain", "Jain's index of served / max-min share over nodes";
    LimitMean, "limit_mean", "L mean", "Mean of limit / capacity";
    LimitCv, "limit_cv", "L cv", "Standard deviation of limit / capacity over its mean, outside of 5 s after a step";
    LimitLowest, "limit_lowest", "L low", "The lowest mean over a second of limit / capacity";
    Ramp, "ramp", "ramp ms", "Milliseconds until a node that came later has 90 % of the mean share; the slowest";
    Reclaim, "reclaim", "reclaim", "Seconds until the slots of a node that died may be another's; the slowest";
    Starved, "starved", "starve", "The longest that a node refused everybody, in seconds";
    Undealt, "undealt", "undealt", "The part of the limit that no node had, in bins of 0.1 s in which somebody was refused";
    Critical, "critical", "crit", "Admitted, of the critical who asked";
    Default, "default", "deflt", "Admitted, of the default class who asked";
    Sheddable, "sheddable", "shed", "Admitted, of the sheddable who asked";
    Bulk, "bulk", "bulk", "Admitted, of the bulk who asked";
    Messages, "messages", "msg/s", "Messages to and from the store, a second";
    Bytes, "bytes", "B/s", "Bytes of these, estimated, a second";
    Violations, "violations", "broken", "Promises broken";
}

impl Metric {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::Goodput
                | Self::Rate
                | Self::Jain
                | Self::LimitLowest
                | Self::Critical
                | Self::Default
                | Self::Sheddable
                | Self::Bulk
        )
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

impl Values {
    pub(crate) const NONE: Self = Self([f64::NAN; Metric::ALL.len()]);

    pub(crate) const fn get(&self, metric: Metric) -> f64 {
        self.0[metric as usize]
    }

    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.0[metric as usize] = value;
    }
}

/// Listens to a run.
#[derive(Debug)]
pub(crate) struct Meter {
    warmup: Nanos,
    duration: Nanos,
    slo: Nanos,
    /// Of the backend, and the end of the run.
    steps: Vec<Nanos>,
    since: Nanos,
    knee: f64,
    in_flight: u32,
    /// In-flight times nanoseconds, in the bin and since the warm-up as capacities.
    bin_area: f64,
    bin_max: u32,
    bin_start: Nanos,
    bin_good: u32,
    bin_refused: u32,
    bin_latencies: Vec<u32>,
    ratio_area: f64,
    over_area: f64,
    most: f64,
    ratios: Histogram<u64>,
    latencies: Histogram<u64>,
    unloaded: Histogram<u64>,
    good: u64,
    asked: u64,
    refused: u64,
    false_refusals: u64,
    fair_asked: Vec<f64>,
    fair_served: Vec<f64>,
    fair_ends: Nanos,
    fairness: Vec<f64>,
    /// Since when a node has refused everybody.
    refusing: Vec<Option<Nanos>>,
    /// Asked and admitted.
    by_class: [(u64, u64); 4],
    starved: Nanos,
    ramp: Option<Nanos>,
    bins: Vec<Bin>,
}

impl Meter {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let histogram = || Histogram::new_with_max(MOST, 3).expect("three digits are allowed");
        let mut steps = scenario.backend.steps();
        steps.push(scenario.duration);
        let nodes = scenario.all_nodes();
        Self {
            warmup: scenario.warmup,
            duration: scenario.duration,
            slo: scenario.slo,
            steps,
            since: 0,
            knee: 0.0,
            in_flight: 0,
            bin_area: 0.0,
            bin_max: 0,
            bin_start: 0,
            bin_good: 0,
            bin_refused: 0,
            bin_latencies: Vec::new(),
            ratio_area: 0.0,
            over_area: 0.0,
            most: 0.0,
            ratios: histogram(),
            latencies: histogram(),
            unloaded: histogram(),
            good: 0,
            asked: 0,
            refused: 0,
            false_refusals: 0,
            fair_asked: vec![0.0; nodes],
            fair_served: vec![0.0; nodes],
            fair_ends: scenario.warmup + FAIRNESS,
            fairness: Vec::new(),
            refusing: vec![None; nodes],
            by_class: [(0, 0); 4],
            starved: 0,
            ramp: None,
            bins: Vec::new(),
        }
    }

    /// The capacity is `knee` from now on.
    pub(crate) fn knee(&mut self, now: Nanos, knee: f64) {
        self.pass(now);
        self.knee = knee;
    }

    pub(crate) fn in_flight(&mut self, now: Nanos, in_flight: u32) {
        self.pass(now);
        self.in_flight = in_flight;
        self.bin_max = self.bin_max.max(in_flight);
        if now >= self.warmup && !self.is_settling(now) && self.knee > 0.0 {
            self.most = self.most.max(f64::from(in_flight) / self.knee);
        }
    }

    pub(crate) fn asked(&mut self, now: Nanos, node: usize, class: Criticality) {
        if now >= self.warmup {
            self.by_class[class as usize].0 += 1;
            self.asked += 1;
            self.fair_asked[node] += 1.0;
        }
    }

    pub(crate) fn admitted(&mut self, now: Nanos, node: usize, class: Criticality) {
        if now >= self.warmup {
            self.by_class[class as usize].1 += 1;
        }
        self.end_refusing(now, node);
    }

    /// The node came back, or went.
    pub(crate) fn changed(&mut self, now: Nanos, node: usize) {
        self.end_refusing(now, node);
    }

    /// A node that came later has its share, after so long; or not by the end.
    pub(crate) fn ramped(&mut self, after: Nanos) {
        self.ramp = self.ramp.max(Some(after));
    }

    fn end_refusing(&mut self, now: Nanos, node: usize) {
        if let Some(since) = self.refusing[node].take() {
            self.starved = self.starved.max(now - since.min(now));
        }
    }

    pub(crate) fn refused(&mut self, now: Nanos, node: usize, there_was_room: bool) {
        self.bin_refused += 1;
        if now >= self.warmup {
            self.refusing[node].get_or_insert(now);
            self.refused += 1;
            self.false_refusals += u64::from(there_was_room);
        }
    }

    pub(crate) fn served(&mut self, now: Nanos, node: usize, latency: Nanos, unloaded: f64) {
        self.bin_latencies
            .push(u32::try_from(latency / 1000).unwrap_or(u32::MAX));
        let good = latency <= self.slo;
        self.bin_good += u32::from(good);
        if now >= self.warmup {
            self.good += u64::from(good);
            self.fair_served[node] += 1.0;
            self.latencies.saturating_record((latency / 1000).max(1));
            self.unloaded
                .saturating_record(((unloaded / 1000.0) as u64).max(1));
        }
    }

    /// A bin is over.
    pub(crate) fn bin(&mut self, now: Nanos, limit: f64, shares: f64, at_backend: usize) {
        self.pass(now);
        let length = (now - self.bin_start).max(1) as f64;
        let p99_ms = match self.bin_latencies.len() {
            0 => f64::NAN,
            count => {
                let place = (count * 99 / 100).min(count - 1);
                f64::from(*self.bin_latencies.select_nth_unstable(place).1) / 1000.0
            }
        };
        self.bins.push(Bin {
            time: seconds(now),
            capacity: self.knee,
            limit,
            shares,
            in_flight: self.bin_area / length,
            in_flight_max: self.bin_max,
            at_backend,
            goodput: f64::from(self.bin_good) / seconds(now - self.bin_start),
            p99_ms,
            refused: self.bin_refused,
        });
        (self.bin_area, self.bin_max, self.bin_start) = (0.0, self.in_flight, now);
        (self.bin_good, self.bin_refused) = (0, 0);
        self.bin_latencies.clear();
        if now >= self.fair_ends {
            let (asked, served) = (&mut self.fair_asked, &mut self.fair_served);
            self.fairness.extend(jain(asked, served));
            asked.fill(0.0);
            served.fill(0.0);
            self.fair_ends = now + FAIRNESS;
        }
    }

    fn pass(&mut self, now: Nanos) {
        let length = (now - self.since) as f64;
        self.bin_area += f64::from(self.in_flight) * length;
        if now > self.warmup && self.knee > 0.0 {
            let judged = now - self.since.max(self.warmup);
            let ratio = f64::from(self.in_flight) / self.knee;
            self.ratio_area += ratio * judged as f64;
            self.over_area += (ratio - 1.0).max(0.0) * judged as f64;
            self.ratios
                .saturating_record_n((ratio * 1000.0) as u64, judged / 1000);
        }
        self.since = now;
    }

    fn is_settling(&self, now: Nanos) -> bool {
        self.steps
            .iter()
            .any(|step| (*step..*step + SETTLING).contains(&now))
    }

    pub(crate) fn finish(mut self, traffic: Traffic, events: u64) -> Run {
        self.pass(self.duration);
        (0..self.refusing.len()).for_each(|node| self.end_refusing(self.duration, node));
        let span = seconds(self.duration - self.warmup);
        let asked = self.asked.max(1) as f64;
        let quantile = |part| {
            let unloaded = self.unloaded.value_at_quantile(part);
            if self.latencies.is_empty() {
                f64::NAN
            } else {
                self.latencies.value_at_quantile(part) as f64 / unloaded.max(1) as f64
            }
        };
        let (limit_mean, limit_cv) = self.limit();
        let mut values = Values::NONE;
        for (metric, value) in [
            (Metric::Rate, self.good as f64 / span),
            (Metric::P50, quantile(0.5)),
            (Metric::P99, quantile(0.99)),
            (Metric::P999, quantile(0.999)),
            (Metric::InFlightMean, self.ratio_area / nanos(span) as f64),
            (Metric::InFlightMax, self.most),
            (
                Metric::InFlightP999,
                self.ratios.value_at_quantile(0.999) as f64 / 1000.0,
            ),
            (Metric::Overshoot, self.over_area / 1e9 / span * 60.0),
            (Metric::Settle, self.settle()),
            (Metric::FalseRejects, self.false_refusals as f64 / asked),
            (Metric::Rejects, self.refused as f64 / asked),
            (Metric::Jain, mean(&self.fairness)),
            (Metric::LimitMean, limit_mean),
            (Metric::LimitCv, limit_cv),
            (Metric::LimitLowest, self.lowest_limit()),
            (
                Metric::Ramp,
                self.ramp.map_or(f64::NAN, |ramp| ramp as f64 / MS as f64),
            ),
            (Metric::Reclaim, traffic.reclaimed.map_or(f64::NAN, seconds)),
            (Metric::Starved, seconds(self.starved)),
            (Metric::Undealt, self.undealt()),
            (Metric::Critical, admitted(self.by_class[0])),
            (Metric::Default, admitted(self.by_class[1])),
            (Metric::Sheddable, admitted(self.by_class[2])),
            (Metric::Bulk, admitted(self.by_class[3])),
            (
                Metric::Messages,
                traffic.messages as f64 / seconds(self.duration),
            ),
            (Metric::Bytes, traffic.bytes as f64 / seconds(self.duration)),
            (Metric::Violations, traffic.violations as f64),
        ] {
            values.set(metric, value);
        }
        Run {
            values,
            bins: self.bins,
            events,
        }
    }

    fn judged(&self) -> impl Iterator<Item = &Bin> {
        let warmup = seconds(self.warmup);
        self.bins
            .iter()
            .filter(move |bin| bin.time > warmup && bin.capacity > 0.0)
    }

    fn limit(&self) -> (f64, f64) {
        let all: Vec<f64> = self.judged().map(|bin| bin.limit / bin.capacity).collect();
        let steady: Vec<f64> = self
            .judged()
            .filter(|bin| !self.is_settling(nanos(bin.time)))
            .map(|bin| bin.limit / bin.capacity)
            .collect();
        let centre = mean(&steady);
        let squares: Vec<f64> = steady
            .iter()
            .map(|ratio| (ratio - centre).powi(2))
            .collect();
        (mean(&all), mean(&squares).sqrt() / centre)
    }

    fn undealt(&self) -> f64 {
        let shed = self
            .judged()
            .filter(|bin| bin.refused > 0 && bin.limit > 0.0);
        let parts: Vec<f64> = shed
            .map(|bin| (1.0 - bin.shares / bin.limit).max(0.0))
            .collect();
        mean(&parts)
    }

    fn lowest_limit(&self) -> f64 {
        let ratios: Vec<f64> = self.judged().map(|bin| bin.limit / bin.capacity).collect();
        ratios.windows(2 * HALF).map(mean).fold(f64::NAN, f64::min)
    }

    /// The worst step after the warm-up; infinite if one does not settle.
    fn settle(&self) -> f64 {
        let spans = self.steps.windows(2).filter(|pair| pair[0] >= self.warmup);
        let settled = spans.map(|pair| {
            let within = |bin: &&Bin| (pair[0] + 1..=pair[1]).contains(&nanos(bin.time));
            let ratios: Vec<f64> = self
                .bins
                .iter()
                .filter(within)
                .map(|bin| bin.in_flight / bin.capacity)
                .collect();
            settled_after(&ratios)
        });
        settled.fold(f64::NAN, f64::max)
    }
}

/// The admitted part of (asked, admitted); a request that waits across the end of the warm-up may make it more than 1.
fn admitted((asked, admitted): (u64, u64)) -> f64 {
    if asked == 0 {
        f64::NAN
    } else {
        admitted as f64 / asked as f64
    }
}

/// Seconds until half a second's mean, and the two after it, are within 10 % of the mean of the last third.
fn settled_after(ratios: &[f64]) -> f64 {
    let end = mean(&ratios[ratios.len() - ratios.len() / 3..]);
    let near = |window: &[f64]| (mean(window) - end).abs() <= 0.1 * end;
    let settled = ratios
        .windows(3 * HALF)
        .position(|bins| bins.chunks(HALF).all(near));
    settled.map_or(f64::INFINITY, |bins| bins as f64 * seconds(BIN))
}

/// Jain's index of what each node was served, divided by its max-min share of all that was served.
fn jain(asked: &[f64], served: &[f64]) -> Option<f64> {
    let total: f64 = served.iter().sum();
    let level = water_level(asked, total);
    let parts: Vec<f64> = asked
        .iter()
        .zip(served)
        .filter(|(asked, _)| **asked > 0.0)
        .map(|(asked, served)| served / asked.min(level))
        .collect();
    let (sum, squares) = parts.iter().fold((0.0, 0.0), |(sum, squares), part| {
        (sum + part, squares + part * part)
    });
    (squares > 0.0).then(|| sum * sum / (parts.len() as f64 * squares))
}

/// The level at which the demands, cut to it, add up to `total`.
pub(crate) fn water_level(demands: &[f64], total: f64) -> f64 {
    let mut sorted: Vec<f64> = demands.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut left = total;
    for (index, demand) in sorted.iter().enumerate() {
        let level = left / (sorted.len() - index) as f64;
        if *demand >= level {
            return level;
        }
        left -= demand;
    }
    f64::INFINITY
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn water_is_filled_from_below() {
        // 5 + 21 + 24 leaves 50 for two.
        assert_eq!(water_level(&[27.0, 5.0, 100.0, 24.0, 21.0], 100.0), 25.0);
        assert_eq!(water_level(&[1.0, 2.0], 9.0), f64::INFINITY);
    }

    #[test]
    fn serving_by_max_min_is_fair_and_by_demand_is_not() {
        assert_eq!(jain(&[90.0, 10.0], &[40.0, 10.0]), Some(1.0));
        assert!(jain(&[90.0, 10.0], &[45.0, 5.0]).unwrap() < 0.95);
        assert_eq!(jain(&[0.0, 0.0], &[0.0, 0.0]), None);
    }

    #[test]
    fn it_has_settled_when_it_stays() {
        let mut ratios = vec![2.0; 20];
        ratios.extend([1.0; 5]);
        ratios.extend([2.0; 5]);
        ratios.extend([1.0; 60]);
        assert_eq!(settled_after(&ratios), 3.0);
        let never: Vec<f64> = (0..90)
            .map(|n| if n / 20 % 2 == 0 { 1.0 } else { 2.0 })
            .collect();
        assert_eq!(settled_after(&never), f64::INFINITY);
    }
}
