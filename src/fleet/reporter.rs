//! What a node tells its fleet of itself: the gate's counts, the demand and the brake behind them.

use crate::fleet::brake::Brake;
use crate::fleet::demand::Demand;
use crate::fleet::member::Sample;
use crate::fleet::message::{Pulse, Report};
use crate::permit::{Gate, Shed, Totals};
use crate::time::LocalTime;
use std::time::Duration;

/// When a node without work says so, and may lend its slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// After so long without work...
    pub(crate) long: Duration,
    /// ...where requests are few and far between after four times as long as they are apart, and at most so long.
    pub(crate) longest: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Reporter {
    weight: u32,
    pub(crate) demand: Demand,
    pub(crate) brake: Brake,
    /// What the fleet measured, by the last answer.
    pub(crate) fleet: Pulse,
    /// The most in flight since the last beat that was answered.
    peak: u32,
    /// Refused for want of a share by the last report.
    refused: u64,
    /// Of these, refused under the brake, which says nothing of the share.
    braked: u64,
}

impl Reporter {
    pub(crate) fn new(weight: u32) -> Self {
        Self {
            weight,
            ..Self::default()
        }
    }

    /// In-flight and what was counted until `now`. Without `idle` the node is waiting for something.
    pub(crate) fn sample(&mut self, gate: &Gate, idle: Option<Idle>, now: LocalTime) -> Sample {
        let totals = gate.totals();
        self.peak = gate.take_report_peak().max(self.peak);
        // Last, so that it is not older than the share the beat acknowledges.
        let (_, in_flight) = gate.sample();
        let sheds = self.sheds(&totals);
        let offered = self.demand.update(now, &totals, in_flight);
        let is_idle = idle.is_some_and(|idle| self.demand.is_idle(idle.long, idle.longest))
            && !gate.has_waiters();
        let has_samples = totals.successes + totals.overloads > 0;
        Sample {
            in_flight,
            report: Report {
                local_limit: if has_samples { gate.local_limit() } else { 0 },
                demand: if is_idle { 0 } else { offered },
                ranked: self.demand.ranked_slots(),
                peak: self.peak,
                weight: self.weight,
                baseline_us: gate.baseline().map_or(0, |baseline| {
                    u64::try_from(baseline.as_micros()).unwrap_or(u64::MAX)
                }),
                completions: totals.successes,
                latency_us: totals.success_us,
                held_us: totals.held_us(),
                arrivals: totals.completions() + u64::from(in_flight) + totals.shed_total(),
                // A wait is as much a sign of a share that is too small as a refusal is; it is an arrival once.
                sheds: sheds + totals.waits,
                other_sheds: totals.shed_total() - sheds,
                drops: totals.overloads,
                clock_us: now.as_nanos() / 1000,
            },
        }
    }

    /// A beat was answered: what was told until then is known, and this is what a fleet of `nodes` measured.
    pub(crate) fn handle_answer(&mut self, now: LocalTime, gate: &Gate, nodes: u32, fleet: Pulse) {
        self.peak = 0;
        self.fleet = fleet;
        // A fleet of one has nobody to compare with.
        let others = if nodes > 1 { fleet } else { Pulse::default() };
        self.brake.look(now, &gate.totals(), others);
    }

    /// What a larger share would have let in.
    fn sheds(&mut self, totals: &Totals) -> u64 {
        let refused = [Shed::Full, Shed::Class, Shed::Deadline];
        let refused = refused.map(|shed| totals.sheds[shed.index()]).iter().sum();
        if self.brake.is_on() {
            self.braked += refused - self.refused;
        }
        self.refused = refused;
        refused - self.braked
    }
}
