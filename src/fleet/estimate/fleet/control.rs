//! The controller: from a reading to the next limit. Thousandths of a slot are written `milli`.

use crate::fleet::estimate::fleet::baseline::{FEW, PATIENCE};
use crate::fleet::estimate::fleet::memory::{Control, Stage};
use crate::fleet::estimate::fleet::reading::Reading;
use crate::fleet::estimate::fleet::seen::{Seen, floor};
use crate::time::StoreTime;
use std::time::Duration;

/// Between these parts of the queue that is aimed for the limit stays.
const SHORT: f64 = 0.8;
pub(super) const LONG: f64 = 1.5;
/// A limit grows by so much while no queue has been met...
const CLIMB: f64 = 1.5;
/// ...or at most one of this part of what is in flight...
pub(super) const CLEAR: f64 = 0.15;
/// ...later by half a square root, by more when that meets no queue for long, and by no more than this part.
const STRIDE: f64 = 0.3;
/// A first cut goes no deeper.
const FIRST_CUT: f64 = 0.85;
/// Drops in excess of this part cut the limit at once.
const DROPS: f64 = 0.02;
/// A limit of which less than this part is in use is not what holds the fleet back.
const SLACK: f64 = 0.6;
/// A backend is full when more than this part of what comes is refused.
const FULL: f64 = 0.03;
/// How often the baseline is looked for, while it is known and while it is not.
const DIPS: Duration = Duration::from_secs(15);
const FIRST_DIP: Duration = Duration::from_secs(1);
/// The relative error of a mean that an experiment may be judged against.
const EXACT: f64 = 0.05;

impl Control {
    /// The limit after `present`, of which `reading` tells; `None` to wait for more of it.
    pub(super) fn decide(
        &mut self,
        reading: &Reading,
        present: u32,
        now: StoreTime,
    ) -> Option<u32> {
        let seen = Seen::of(reading, self.spread());
        if self.baseline_us == 0 {
            if reading.samples == 0 {
                return self.refused(&seen, present);
            }
            // Those that are done first are the short ones.
            if seen.samples < 4.0 * FEW && seen.age < PATIENCE / 2 {
                return None;
            }
            self.rebase(&seen);
            (self.climbs, self.dipped) = (true, now);
        }
        let limit = match self.stage {
            Stage::Track => match self.refused(&seen, present) {
                Some(limit) => Some(limit),
                None => self.track(&seen, present, now),
            },
            Stage::Cut { limit, before } => self.judge(&seen, before, limit, present),
            Stage::Refused { limit, before } => self.judge_drops(&seen, before, limit, present),
            Stage::Dip {
                before,
                depth,
                resume,
            } => self.look(&seen, before, depth, resume, present, now),
        };
        if let Some(limit) = limit {
            self.learn_spread(&seen, limit == present);
        }
        limit
    }

    /// A backend that says no is full, whatever its latency.
    pub(super) fn refused(&mut self, seen: &Seen, present: u32) -> Option<u32> {
        let asked = seen.samples + seen.drops;
        let usual = DROPS.max(1.5 * self.tolerated_ppm as f64 / 1e6) * asked;
        if seen.drops <= usual + 2.0 * usual.sqrt() + 1.0 {
            return None;
        }
        self.stage = Stage::Refused {
            limit: present,
            before: seen.point(),
        };
        (self.climbs, self.growing, self.hot) = (false, 0, 0);
        Some(floor(f64::from(present).min(seen.reach()) * FIRST_CUT))
    }

    fn track(&mut self, seen: &Seen, present: u32, now: StoreTime) -> Option<u32> {
        // Far below the baseline, and not for the short requests that are done first after a limit was raised: the
        // baseline was one with a queue.
        if self.growing == 0 && seen.latency < self.baseline() * (0.9 - 3.0 * seen.error()) {
            self.rebase(seen);
        }
        let (queue, aim, noise) = (self.queue(seen), seen.aim(), self.noise(seen));
        // Whoever looks again and again and acts on the first surprise is surprised by chance alone: a window has its
        // time. Only what is beyond chance counts before.
        let is_over = seen.age >= self.window(seen);
        // A limit half as large again shows a queue of a third.
        let clear = if self.climbs {
            CLEAR * seen.in_flight
        } else {
            0.0
        };
        let (short, long) = ((SHORT * aim).max(clear), (LONG * aim).max(clear));
        let is_sure = queue - 3.0 * noise > long && (self.hot == 0 || seen.error() < EXACT);
        if queue > long && (is_over || is_sure) {
            self.growing = 0;
            self.hot += 1;
            // Once may be a stall.
            if self.hot < 2 {
                return Some(present);
            }
            self.climbs = false;
            if !self.verified && seen.refusals > FULL && queue < CLEAR * seen.in_flight {
                // Before a small queue is cut for a baseline that nobody has looked for, it is looked for.
                return Some(self.dip(seen, present, present, 0));
            }
            let base = f64::from(present).min(seen.reach());
            if base < SLACK * f64::from(present) {
                // Nothing can be learnt from a limit that nothing reaches.
                return Some(floor(base));
            }
            let limit = floor(
                seen.limit_for(aim - queue, present)
                    .max(base * FIRST_CUT)
                    .min(base),
            );
            if limit < present {
                self.stage = Stage::Cut {
                    limit: present,
                    before: seen.point(),
                };
            }
            return Some(limit.min(present));
        }
        let may_climb = self.climbs && queue < short;
        if !is_over && !may_climb {
            return None;
        }
        self.hot = 0;
        let often = if self.verified { DIPS } else { FIRST_DIP };
        let has_room = seen.in_flight < SLACK * f64::from(present);
        let is_full = seen.refusals > FULL && !has_room;
        if is_full && !self.climbs && now.since(self.dipped) >= often {
            return Some(self.dip(seen, present, present, 0));
        }
        if has_room && queue < SHORT * aim {
            // There is room: what is seen is the baseline.
            self.refine(seen);
        }
        if queue >= short {
            // By chance there is now and then a queue among a few requests.
            self.climbs &= queue - 2.0 * noise < short;
        } else if seen.is_limited {
            return Some(self.grow(seen, present));
        }
        self.growing = 0;
        Some(present)
    }

    fn grow(&mut self, seen: &Seen, present: u32) -> u32 {
        self.growing += 1;
        let limit = f64::from(present);
        let grown = if self.climbs {
            limit * CLIMB
        } else {
            let step = (limit.sqrt() / 2.0).max(1.0);
            let steps = 1_u64 << self.growing.saturating_sub(2).min(10);
            limit + (step * steps as f64).min(limit * STRIDE)
        };
        // What nobody uses cannot be judged; but whoever refuses can use one more.
        let most = 2.0 * seen.in_flight + seen.hungry;
        floor(grown.min(most).max(limit))
    }
}
