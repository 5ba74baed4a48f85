//! A fleet in a closed loop with a backend of so many servers, without chance: what is in flight beyond them waits.

use crate::fleet::estimate::fleet::Memory;
use crate::fleet::message::{NodeView, Report};
use crate::time::StoreTime;
use std::sync::Arc;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(4);
const STEP: Duration = Duration::from_millis(125);

/// A fleet that always wants more than it gets.
pub(super) struct Fleet {
    now: StoreTime,
    pub(super) memory: Memory,
    pub(super) limit: u32,
    initial: u32,
    reports: Vec<Report>,
    /// Completions and time held of each node, with fractions.
    done: f64,
    held: f64,
    lingered: f64,
    /// What the node of this place makes of its report.
    pub(super) lie: fn(Report) -> Report,
    pub(super) liars: usize,
    pub(super) capacity: f64,
    pub(super) service_us: f64,
    /// For so long a slot is kept after the sample: the body of an answer that streams on.
    pub(super) body_us: f64,
    /// The part of the limit that is taken up by streams of events, which have no sample.
    pub(super) events: f64,
    /// What is in flight besides; where it takes long it goes down no quicker than it ends.
    in_flight: f64,
    /// The part of the answers that have a sample: none of those that are event streams, or say that a client is wrong.
    pub(super) sampled: f64,
    /// The backend answers nothing: clients hang up after half a second.
    pub(super) hangs: bool,
    drops: f64,
    /// The mean square of a latency over the square of its mean.
    pub(super) squares: f64,
    /// Part of what is allowed that is wanted.
    pub(super) load: f64,
    /// No more is wanted than this.
    pub(super) wanted: f64,
    lowest: u32,
    highest: u32,
}

impl Fleet {
    pub(super) fn new(nodes: usize, capacity: f64) -> Self {
        Self {
            now: StoreTime::ZERO.saturating_add(2 * LEASE),
            memory: Memory::default(),
            limit: 20,
            initial: 20,
            reports: vec![Report::default(); nodes],
            done: 0.0,
            held: 0.0,
            lingered: 0.0,
            lie: |report| report,
            liars: 0,
            capacity,
            service_us: 50_000.0,
            body_us: 0.0,
            events: 0.0,
            in_flight: 0.0,
            sampled: 1.0,
            hangs: false,
            drops: 0.0,
            squares: 1.0,
            load: 1.0,
            wanted: f64::INFINITY,
            lowest: u32::MAX,
            highest: 0,
        }
    }

    /// Every node reports once.
    pub(super) fn step(&mut self) {
        self.now = self.now.saturating_add(STEP);
        let count = self.reports.len();
        let step_us = STEP.as_micros() as f64;
        let kept_us = self.service_us + self.body_us;
        let ends = self.in_flight.min(self.capacity) / kept_us * step_us;
        let left = if self.body_us > 0.0 {
            self.in_flight - ends
        } else {
            0.0
        };
        let events = f64::from(self.limit) * self.events;
        self.in_flight = ((f64::from(self.limit) - events) * self.load)
            .min(self.wanted)
            .max(left);
        let in_flight = self.in_flight;
        let rate = in_flight.min(self.capacity) / kept_us;
        let latency = in_flight / rate.max(1e-9) - self.body_us;
        let share = self.limit.div_ceil(count as u32);
        if self.hangs {
            self.drops += in_flight * step_us / 500_000.0 / count as f64;
        } else {
            self.done += self.sampled * rate * step_us / count as f64;
        }
        let drops = self.drops as u64;
        let slot_us = (in_flight + events) * step_us / count as f64;
        self.held += slot_us;
        let stays = events + in_flight * self.body_us / (latency + self.body_us);
        self.lingered += stays * step_us / count as f64;
        let (completions, held_us) = (self.done as u64, self.held as u64);
        let lingered_us = self.lingered as u64;
        let views: Vec<NodeView> = self
            .reports
            .iter_mut()
            .enumerate()
            .map(|(place, report)| {
                report.clock_us += step_us as u64;
                let more = completions - report.completions;
                report.latency_us += more * latency as u64;
                let squares = more as f64 * latency * latency * self.squares;
                report.latency_us2 = report.latency_us2.wrapping_add(squares as u64);
                (report.completions, report.held_us) = (completions, held_us);
                report.lingered_us = lingered_us;
                report.drops = drops;
                report.sheds += u64::from(self.load >= 1.0);
                NodeView {
                    incarnation: place as u64 + 1,
                    name: Arc::from("n"),
                    open: true,
                    starved: false,
                    deadline: self.now.saturating_add(LEASE),
                    share,
                    safe: 0,
                    since: StoreTime::ZERO,
                    target: share,
                    hold: share,
                    in_flight: ((in_flight + events) / count as f64) as u32,
                    report: if place < self.liars {
                        (self.lie)(*report)
                    } else {
                        *report
                    },
                }
            })
            .collect();
        let views: Vec<&NodeView> = views.iter().collect();
        let bounds = 1..=10_000;
        self.limit =
            self.memory
                .estimate(self.limit, self.initial, &bounds, self.now, LEASE, &views);
        self.lowest = self.lowest.min(self.limit);
        self.highest = self.highest.max(self.limit);
        // As the next planner gets it.
        let line = self.memory.to_string();
        self.memory = Memory::read(&line).expect("its own line");
    }

    /// Lets so many seconds pass; answers the lowest and the highest limit in them.
    pub(super) fn pass(&mut self, seconds: u32) -> (u32, u32) {
        (self.lowest, self.highest) = (u32::MAX, 0);
        for _ in 0..seconds * 8 {
            self.step();
        }
        (self.lowest, self.highest)
    }
}

/// Within a tenth of the capacity, and the queue to aim for.
pub(super) fn is_near(limit: u32, capacity: f64) -> bool {
    let limit = f64::from(limit);
    limit >= capacity * 0.9 && limit <= capacity * 1.1 + 1.2 * capacity.sqrt() + 1.0
}
