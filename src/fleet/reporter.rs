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
    /// Who found the share in use, by the last report.
    short: Short,
    /// Of these, those under the brake, which say nothing of the share.
    braked: Short,
    staying: Staying,
    /// The slot-time last told, which never becomes less.
    held_us: u64,
}

/// Slot-time that comes after the samples, as far as the looks at it so far tell: a slot is in use for long, and that is to
/// be known before it comes back.
#[derive(Clone, Copy, Debug, Default)]
struct Staying {
    last: Option<(LocalTime, u32)>,
    us: u64,
}

impl Staying {
    /// So many slots stay in use `now`.
    fn look(&mut self, now: LocalTime, slots: u32) -> u64 {
        let (before, were) = self.last.replace((now, slots)).unwrap_or((now, slots));
        let passed = now.since(before).as_micros();
        let more = passed * (u128::from(were) + u128::from(slots)) / 2;
        self.us = self
            .us
            .saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        self.us
    }
}

/// Requests that found the share in use.
#[derive(Clone, Copy, Debug, Default)]
struct Short {
    refused: u64,
    waited: u64,
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
        let short = self.short(&totals);
        let offered = self
            .demand
            .update(now, &totals, in_flight, self.fleet.latency_us);
        let is_idle = idle.is_some_and(|idle| self.demand.is_idle(idle.long, idle.longest))
            && !gate.has_waiters();
        let lingered_us = self.staying.look(now, gate.lingering());
        // What stayed in use counts while it does. Of what was told twice the second time may be counted a little later.
        let booked = totals.held_us() - totals.lingered_us;
        let held_us = (booked + lingered_us).saturating_sub(totals.retold_us);
        self.held_us = held_us.max(self.held_us);
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
                latency_us2: totals.success_us2,
                held_us: self.held_us,
                arrivals: totals.completions() + u64::from(in_flight) + totals.shed_total(),
                // A wait is as much a sign of a share that is too small as a refusal is; it is an arrival once.
                sheds: short.refused + short.waited,
                other_sheds: totals.shed_total() - short.refused,
                drops: totals.overloads,
                clock_us: now.as_nanos() / 1000,
                lingered_us,
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

    /// What a larger share would have let in, or let in at once.
    fn short(&mut self, totals: &Totals) -> Short {
        let refused = [Shed::Full, Shed::Class, Shed::Deadline];
        let now = Short {
            refused: refused.map(|shed| totals.sheds[shed.index()]).iter().sum(),
            waited: totals.waits,
        };
        if self.brake.is_on() {
            self.braked.refused += now.refused - self.short.refused;
            self.braked.waited += now.waited - self.short.waited;
        }
        self.short = now;
        Short {
            refused: now.refused - self.braked.refused,
            waited: now.waited - self.braked.waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Criticality;
    use crate::adaptive::{Estimator, Fixed, LimitAlgorithm, WindowSetup};
    use crate::permit::{GateSetup, Status, Wait};
    use crate::time::Clock;
    use std::sync::Arc;
    use std::task::Waker;

    fn gate(clock: Clock) -> Gate {
        Gate::new(GateSetup {
            name: Arc::from("key"),
            clock,
            ceiling: 1,
            status: Status::Open,
            fence_at: LocalTime::NEVER,
            estimator: Estimator::from(Box::new(Fixed::new(1)) as Box<dyn LimitAlgorithm>),
            window: WindowSetup::default(),
            estimator_rules: false,
        })
    }

    /// A fleet that takes a millisecond, and a node that takes `own_us`, for `windows`.
    fn look(brake: &mut Brake, seen: &mut (Totals, Pulse), own_us: u64, windows: u32) {
        for _ in 0..windows {
            let (totals, pulse) = seen;
            totals.successes += 200;
            totals.success_us += 200 * own_us;
            pulse.number += 1;
            pulse.latency_us = 1_000;
            brake.look(LocalTime::ZERO, totals, *pulse);
        }
    }

    #[test]
    fn neither_refusals_nor_waits_under_the_brake_are_for_want_of_a_share() {
        let (clock, _) = Clock::manual();
        let gate = gate(clock);
        let mut reporter = Reporter::new(1);
        let mut seen = Default::default();
        // One is refused, and one waits and is served.
        let mut round = |brake: &mut dyn FnMut(&mut Brake)| {
            brake(&mut reporter.brake);
            let lease = gate.try_acquire(Criticality::Default).expect("a slot");
            let refused = gate.try_acquire(Criticality::Default);
            assert_eq!(refused.unwrap_err(), Shed::Full);
            let wait = Wait::Briefly(Duration::from_millis(20));
            gate.enqueue(Criticality::Default, wait, Waker::noop().clone());
            lease.success();
            // The slot is the waiter's from now on, and another one takes its place.
            let (ceiling, in_flight) = gate.sample();
            assert!(!gate.has_waiters() && in_flight == ceiling);
            gate.set_ceiling(ceiling + 1);
            let report = reporter.sample(&gate, None, LocalTime::ZERO).report;
            (report.sheds, report.other_sheds)
        };
        assert_eq!(
            round(&mut |brake| look(brake, &mut seen, 1_000, 10)),
            (2, 0)
        );
        assert_eq!(round(&mut |brake| look(brake, &mut seen, 9_000, 4)), (2, 1));
        assert_eq!(round(&mut |brake| look(brake, &mut seen, 9_000, 1)), (2, 2));
        assert_eq!(round(&mut |brake| look(brake, &mut seen, 1_000, 9)), (4, 2));
    }

    #[test]
    fn slots_that_are_kept_are_told_while_they_are() {
        let mut staying = Staying::default();
        let at = |millis: u64| LocalTime::from_nanos(millis * 1_000_000);
        let looks = [(1_000, 4), (1_200, 4), (1_400, 2), (1_500, 0), (9_000, 0)];
        let told = looks.map(|(millis, slots)| staying.look(at(millis), slots) / 1_000);
        assert_eq!(told, [0, 800, 1_400, 1_500, 1_500]);

        let (clock, lever) = Clock::manual();
        let gate = gate(clock);
        let mut reporter = Reporter::new(1);
        let mut lease = gate.try_acquire(Criticality::Default).expect("a slot");
        lever.advance(Duration::from_millis(50));
        lease.observe(crate::permit::Outcome::Success);
        lease.begin_lingering();
        let since = gate.clock().now();
        let mut report = || {
            let report = reporter.sample(&gate, None, gate.clock().now()).report;
            (report.latency_us, report.held_us, report.lingered_us)
        };
        assert_eq!(report(), (50_000, 50_000, 0));
        lever.advance(Duration::from_secs(10));
        assert_eq!(report(), (50_000, 10_050_000, 10_000_000));
        lease.linger(since);
        drop(lease);
        assert_eq!(report(), (50_000, 10_050_000, 10_000_000), "and once");
    }

    /// A socket of which somebody tells at its end that it was a request like others.
    #[test]
    fn what_was_told_of_a_slot_that_was_kept_is_not_told_again_of_its_sample() {
        let (clock, lever) = Clock::manual();
        let gate = gate(clock);
        let mut reporter = Reporter::new(1);
        let mut lease = gate.try_acquire(Criticality::Default).expect("a slot");
        lease.begin_lingering();
        let since = gate.clock().now();
        let mut report = || {
            let report = reporter.sample(&gate, None, gate.clock().now()).report;
            (report.latency_us, report.held_us)
        };
        assert_eq!(report(), (0, 0));
        lever.advance(Duration::from_secs(3600));
        assert_eq!(report(), (0, 3_600_000_000));
        lease.retell(since);
        assert_eq!(report(), (0, 3_600_000_000), "in the middle of it");
        lease.observe(crate::permit::Outcome::Success);
        drop(lease);
        assert_eq!(report(), (3_600_000_000, 3_600_000_000));
    }
}
