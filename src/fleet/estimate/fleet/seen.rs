//! A reading as the controller calculates with it, and what two of them say of each other.

use crate::fleet::estimate::fleet::control::STRIDE;
use crate::fleet::estimate::fleet::memory::Point;
use crate::fleet::estimate::fleet::reading::Reading;
use std::time::Duration;

/// The queue to aim for, in square roots of what is in flight...
const QUEUE: f64 = 0.56;
/// ...and at most this part of it: a few slots are kept busy by less. Not where they are fewer than two for each node, and
/// on their way from one to another for part of the time.
const SMALL: f64 = 0.1;
/// ...and where slots are kept beyond their samples as much longer as if this part or more of their time were sampled.
const KEPT_QUEUE: f64 = 0.5;

/// What chance needs at nodes whose shares are small: so many square roots of what is in flight at each, and a limit of
/// at most so many times what is in flight.
const CHANCE: f64 = 5.5;
const IDLE: f64 = 4.2;

/// The queue to aim for grows by so many times the part of the limit that is not in use, beyond the part that chance
/// leaves idle at nodes that are alike, and up to a part.
const IDLE_QUEUE: f64 = 2.0;
const USUALLY_IDLE: f64 = 0.2;
const MOST_IDLE: f64 = 0.15;

/// An elasticity below this is none.
const ROSE: f64 = -0.2;

/// What became of a step is not looked for in one of less than this part.
const LEAST_STEP: f64 = 0.02;

/// A reading in numbers to calculate with.
pub(super) struct Seen {
    pub(super) samples: f64,
    pub(super) drops: f64,
    /// Microseconds.
    pub(super) latency: f64,
    /// The part of the time for which a slot is kept that is the latency: all of it, but where answers stream on after
    /// their heads.
    pub(super) sampled: f64,
    pub(super) in_flight: f64,
    pub(super) is_limited: bool,
    /// Nodes that refused for want of a share, and the part of all requests that they refused.
    pub(super) hungry: f64,
    pub(super) nodes: f64,
    pub(super) refusals: f64,
    /// How long the window has been.
    pub(super) age: Duration,
    /// The coefficient of variation of a latency.
    pub(super) spread: f64,
    /// The part of the limit that is not in use.
    pub(super) unused: f64,
}

impl Seen {
    pub(super) fn of(reading: &Reading, spread: f64, limit: u32) -> Self {
        let in_flight = (reading.milli as f64 / 1000.0).max(0.001);
        Self {
            unused: (1.0 - in_flight / f64::from(limit.max(1))).max(0.0),
            samples: reading.samples as f64,
            drops: reading.drops as f64,
            latency: reading.latency_us.max(1) as f64,
            sampled: reading.latency_us.max(1) as f64 / reading.hold_us.max(1) as f64,
            in_flight,
            is_limited: reading.hungry > 0,
            hungry: reading.hungry as f64,
            nodes: reading.nodes as f64,
            refusals: reading.sheds as f64 / (reading.sheds + reading.samples).max(1) as f64,
            age: reading.age,
            spread,
        }
    }

    pub(super) fn aim(&self) -> f64 {
        self.aim_at(self.in_flight)
    }

    /// The queue to aim for while so much is in flight. Of slots that are kept beyond their samples only a part is in it:
    /// it is longer for the sake of these.
    fn aim_at(&self, in_flight: f64) -> f64 {
        self.queue_of(in_flight, self.sampled.clamp(KEPT_QUEUE, 1.0))
    }

    /// The same if none were kept.
    pub(super) fn aim_for_unkept(&self) -> f64 {
        self.queue_of(self.in_flight, 1.0)
    }

    fn queue_of(&self, in_flight: f64, sampled: f64) -> f64 {
        let most = if in_flight < 2.0 * self.nodes {
            in_flight
        } else {
            SMALL * in_flight
        };
        (QUEUE * (in_flight / sampled).sqrt() * self.skew()).min(most)
    }

    /// So few are in flight that a queue by chance would be too large a part of them.
    pub(super) fn is_few(&self) -> bool {
        QUEUE * self.in_flight.sqrt() > SMALL * self.in_flight
    }

    /// No more of the limit lies idle than chance leaves.
    pub(super) fn is_in_use(&self) -> bool {
        self.unused < USUALLY_IDLE
    }

    /// How much longer the queue is to be where much of the limit lies idle though it is short: what is in flight then
    /// comes and goes with the load of those that have enough, instead of being held by shares that are always in use.
    fn skew(&self) -> f64 {
        1.0 + IDLE_QUEUE * (self.unused - USUALLY_IDLE).clamp(0.0, MOST_IDLE)
    }

    /// What is in flight now and then, when this is the mean.
    pub(super) fn reach(&self) -> f64 {
        self.in_flight + 2.0 * self.in_flight.sqrt()
    }

    /// The largest limit that is of use: beyond what each node needs for chance, when this is the mean, no share is
    /// ever reached, and nothing would hold the fleet back when its backend fails. A stride is always in reach.
    pub(super) fn most(&self) -> f64 {
        let chance = CHANCE * (self.in_flight * self.nodes).sqrt() + 2.0 * self.nodes;
        let more = chance.max(STRIDE * self.in_flight);
        (self.in_flight + more).min(IDLE * self.in_flight) + self.hungry
    }

    /// The limit under which so much more is in flight: of a limit some part is never in use, where demand comes and
    /// goes at many nodes. Of slots that are kept beyond their samples, only that part is a queue that latency tells of:
    /// by Little's law as many as come in the time that it is too long.
    pub(super) fn limit_for(&self, more: f64, present: u32) -> f64 {
        f64::from(present) * (1.0 + more * self.sampled.min(1.0) / self.in_flight)
    }

    /// The relative error of the mean latency.
    pub(super) fn error(&self) -> f64 {
        self.spread / self.samples.max(1.0).sqrt()
    }

    /// What chance in the mean latency makes of a queue, in slots.
    pub(super) fn chance(&self) -> f64 {
        self.in_flight * self.error()
    }

    pub(super) fn drop_rate(&self) -> f64 {
        self.drops / (self.samples + self.drops).max(1.0)
    }

    pub(super) fn latency_us(&self) -> u64 {
        (self.latency as u64).max(1)
    }

    pub(super) fn point(&self) -> Point {
        Point {
            milli: (self.in_flight * 1000.0) as u64,
            latency_us: self.latency_us(),
            samples: self.samples as u64,
            drops_ppm: (self.drop_rate() * 1e6) as u64,
        }
    }
}

/// How far latency followed what is in flight: by all of it if that was a queue, else by no more than the queue that is
/// always there, the one that is aimed for.
#[derive(Clone, Copy)]
pub(super) struct Elasticity {
    pub(super) value: f64,
    pub(super) error: f64,
    /// Halfway between the two.
    pub(super) usual: f64,
}

impl Elasticity {
    /// Latency rose by more than chance although less was in flight: the backend has changed meanwhile.
    pub(super) fn is_void(&self) -> bool {
        self.value + self.error < ROSE
    }

    /// It is more likely on its side of `usual` than not: enough for what is looked at again before much hangs on it.
    pub(super) fn leans(&self) -> bool {
        (self.value - self.usual).abs() > 0.5 * self.error
    }

    /// There was less work: a queue has ended within the step, of which it was a part.
    pub(super) fn has_ended(&self) -> bool {
        self.value + 1.25 * self.error < 0.9
    }

    /// It may as well be on the other side of `usual`.
    pub(super) fn is_open(&self) -> bool {
        (self.value - self.usual).abs() < 0.35 * self.error
    }

    /// It is clear on which side of `usual` it is.
    pub(super) fn is_sure(&self) -> bool {
        (self.value - self.usual).abs() > 1.25 * self.error
    }
}

impl Point {
    pub(super) fn in_flight(self) -> f64 {
        (self.milli as f64 / 1000.0).max(0.001)
    }

    pub(super) fn latency(self) -> f64 {
        self.latency_us.max(1) as f64
    }

    pub(super) fn drop_rate(self) -> f64 {
        self.drops_ppm as f64 / 1e6
    }

    /// Of what is in flight more than here, the part that is at work and not in a queue, with its error: throughput rose by
    /// so much, whatever the baseline. `None` if that is too little to tell.
    pub(super) fn at_work(self, seen: &Seen) -> Option<(f64, f64)> {
        if self.milli == 0 {
            return None;
        }
        let more = seen.in_flight / self.in_flight() - 1.0;
        let faster = (seen.in_flight / seen.latency) / (self.in_flight() / self.latency()) - 1.0;
        (more > LEAST_STEP).then(|| (faster / more, self.error_with(seen) / more))
    }

    /// The relative error of the quotient of two latencies.
    fn error_with(self, seen: &Seen) -> f64 {
        let before = seen.spread / (self.samples.max(1) as f64).sqrt();
        before.hypot(seen.error())
    }

    /// `None` if what is in flight has not fallen enough to tell: by not much more than the queue that is always there.
    pub(super) fn elasticity(self, seen: &Seen) -> Option<Elasticity> {
        let less = 1.0 - seen.in_flight / self.in_flight();
        let standing = seen.aim_at(self.in_flight()) / self.in_flight() / less;
        (less > 0.05 && standing < 0.7).then(|| Elasticity {
            value: (1.0 - seen.latency / self.latency()) / less,
            error: self.error_with(seen) / less,
            usual: (0.5 + 0.5 * standing).min(0.8),
        })
    }
}

/// Whole slots, at least one.
pub(super) fn floor(limit: f64) -> u32 {
    limit.clamp(1.0, f64::from(u32::MAX)) as u32
}
