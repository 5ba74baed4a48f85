//! Listens to a run, after the warm-up.

use super::judge::{HALF, admitted, cut_after, jain, mean, settled_after};
use super::{Bin, Metric, Run, Values};
use crate::engine::{MS, Nanos, SECOND, nanos, seconds};
use crate::limiter::Traffic;
use crate::scenario::Scenario;
use hdrhistogram::Histogram;
use tidegate::Criticality;

/// So long after a step of the backend the steady state is not judged; a cut is held against as long before it.
const SETTLING: Nanos = 5 * SECOND;
/// Fairness is judged over windows of this length.
const FAIRNESS: Nanos = 5 * SECOND;
/// The longest time in microseconds, and the highest thousandth, that is told apart: above an hour it is all one.
const MOST: u64 = 3_600_000_000;

/// Listens to a run.
#[derive(Debug)]
pub(crate) struct Meter {
    warmup: Nanos,
    duration: Nanos,
    slo: Nanos,
    /// Of the backend, and the end of the run.
    steps: Vec<Nanos>,
    /// Mean round trip to the store, at the start.
    round_trip: f64,
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
    /// Not a number until something was judged.
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
            round_trip: scenario.network.store.first(),
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
            most: f64::NAN,
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
        if now >= self.warmup && !self.is_settling(now) {
            self.most = self.most.max(self.ratio());
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
        let good = latency <= self.slo;
        self.bin_good += u32::from(good);
        if now >= self.warmup {
            self.good += u64::from(good);
            self.fair_served[node] += 1.0;
        }
        self.took(now, latency, unloaded);
    }

    /// The client of an admitted request has hung up: it took as long as it waited, and without load would not have taken
    /// longer either.
    pub(crate) fn given_up(&mut self, now: Nanos, latency: Nanos, unloaded: f64) {
        self.took(now, latency, unloaded.min(latency as f64));
    }

    fn took(&mut self, now: Nanos, latency: Nanos, unloaded: f64) {
        self.bin_latencies
            .push(u32::try_from(latency / 1000).unwrap_or(u32::MAX));
        if now >= self.warmup {
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

    /// In flight / capacity. Of a backend that does nothing each request in flight is one too many: against none it is
    /// counted as against one.
    fn ratio(&self) -> f64 {
        f64::from(self.in_flight) / self.knee.max(1.0)
    }

    fn pass(&mut self, now: Nanos) {
        let length = (now - self.since) as f64;
        self.bin_area += f64::from(self.in_flight) * length;
        if now > self.warmup {
            let judged = now - self.since.max(self.warmup);
            let ratio = self.ratio();
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
        let (cut, cut_time) = self.cut();
        let ramp = self.ramp.map_or(f64::NAN, |ramp| ramp as f64);
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
            (Metric::Cut, cut),
            (Metric::CutTime, cut_time),
            (Metric::Ramp, ramp / MS as f64),
            (Metric::RampPart, ramp / self.drain(7)),
            (Metric::Reclaim, traffic.reclaimed.map_or(f64::NAN, seconds)),
            (Metric::Starved, seconds(self.starved)),
            (Metric::Undealt, self.undealt()),
            (
                Metric::Wanted,
                traffic
                    .wanted
                    .map_or(f64::NAN, |wanted| wanted as f64 / self.drain(4)),
            ),
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

    /// How soon a slot can be another's, in nanoseconds: what runs in it ends, late for one, and it is told of in so many
    /// round trips.
    fn drain(&self, round_trips: u32) -> f64 {
        let running = self.unloaded.value_at_quantile(0.99) * 1000;
        running as f64 + f64::from(round_trips) * self.round_trip
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
        let settled = self.spans().map(|(step, next)| {
            let bins: Vec<&Bin> = self.between(step, next).collect();
            let slot = bins.last().map_or(0.0, |bin| 1.0 / bin.capacity.max(1.0));
            let ratio = |bin: &&Bin| bin.in_flight / bin.capacity.max(1.0);
            settled_after(&bins.iter().map(ratio).collect::<Vec<_>>(), slot)
        });
        settled.fold(f64::NAN, f64::max)
    }

    /// The deepest cut after a step, and the longest.
    fn cut(&self) -> (f64, f64) {
        let limits =
            |from, to| -> Vec<f64> { self.between(from, to).map(|bin| bin.limit).collect() };
        let cuts = self.spans().map(|(step, next)| {
            let before = limits(step.saturating_sub(SETTLING), step);
            cut_after(&before, &limits(step, next))
        });
        cuts.fold((f64::NAN, f64::NAN), |(deepest, longest), (cut, time)| {
            (deepest.max(cut), longest.max(time))
        })
    }

    /// Every step after the warm-up, and the next, or the end.
    fn spans(&self) -> impl Iterator<Item = (Nanos, Nanos)> {
        let pairs = self.steps.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|(step, _)| *step >= self.warmup)
    }

    /// The bins that end after `from`, until `to`.
    fn between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = &Bin> {
        let within = move |bin: &&Bin| (from + 1..=to).contains(&nanos(bin.time));
        self.bins.iter().filter(within)
    }
}
