//! The controller: from a reading to the next limit. Thousandths of a slot are written `milli`.

use crate::fleet::estimate::fleet::baseline::FEW;
use crate::fleet::estimate::fleet::memory::{Control, Stage};
use crate::fleet::estimate::fleet::reading::Reading;
use crate::fleet::estimate::fleet::seen::{Seen, floor};
use crate::time::StoreTime;
use std::time::Duration;

/// Between these parts of the queue that is aimed for the limit stays.
const SHORT: f64 = 0.8;
pub(super) const LONG: f64 = 1.5;
/// A limit grows by so much while no queue has been met, and to one slot for each node that refuses...
const CLIMB: f64 = 2.0;
/// ...or at most one of this part of what is in flight, or of that while single slots go round, which come back late...
pub(super) const CLEAR: f64 = 0.15;
const ROUND: f64 = 0.5;
/// ...later by half a square root, by more when that meets no queue for long, and by no more than this part.
pub(super) const STRIDE: f64 = 0.3;
/// A queue that is shorter than this part of the one that is aimed for, even by so many errors more, is gone: the first
/// step is then as long as a second one. Not of few slots, of which that is a large part.
const GONE: f64 = 0.5;
const GONE_ERRORS: f64 = 1.5;
/// A step of which more than this part is at work, even by so many errors less, is followed by the next one at once,
/// whatever there is of a queue that is not too long: one that comes from an error of the baseline is none.
const AT_WORK: f64 = 0.3;
const AT_WORK_ERRORS: f64 = 1.0;
/// Windows in a row after which a step is so long that work has followed it, if there is no more queue than is aimed for.
const LONG_STEP: u64 = 3;
/// A first cut goes no deeper.
pub(super) const FIRST_CUT: f64 = 0.8;
/// Drops in excess of this part cut the limit at once.
const DROPS: f64 = 0.02;
/// A limit of which less than this part is in use is not what holds the fleet back.
const SLACK: f64 = 0.6;
/// But for one that so many find in use: slots are elsewhere than the work.
const MOSTLY: f64 = 0.5;
/// Of a limit that brings work at least this part is in use.
const FOLLOWS: f64 = 0.5;
/// When more than this part is dropped, what is answered says nothing of the rest.
pub(super) const BLIND: f64 = 0.5;
/// When more than this part is dropped there is nothing to lose.
pub(super) const DEAD: f64 = 0.9;
/// A backend is full when more than this part of what comes is refused.
const FULL: f64 = 0.03;
/// How often the baseline is looked for, while it is known and while it is not; where latencies are long, so many of them.
const DIPS: Duration = Duration::from_secs(15);
const DIPS_APART: u32 = 60;
const FIRST_DIP: Duration = Duration::from_secs(1);
const FIRST_DIP_AFTER: u32 = 10;
/// And no more often than the slots have changed hands so many times, where they are kept beyond their samples.
const KEPT_DIPS: u32 = 8;
/// The relative error of a mean that an experiment may be judged against.
const EXACT: f64 = 0.05;
/// A first window is at least so many of its latencies long: what is done before is what takes a short time.
const FIRST: f64 = 4.0;

impl Control {
    /// The limit after `present`, of which `reading` tells; `None` to wait for more of it. One that is found was not set
    /// by chance.
    pub(super) fn decide(
        &mut self,
        reading: &Reading,
        present: u32,
        is_found: bool,
        now: StoreTime,
    ) -> Option<u32> {
        let seen = Seen::of(reading, self.spread(), present);
        if self.baseline_us == 0 {
            if reading.samples == 0 {
                return self.refused(&seen, present);
            }
            let is_short = seen.age.as_secs_f64() < FIRST * seen.latency / 1e6;
            if is_short || seen.samples < 4.0 * FEW && seen.age < self.patience() / 2 {
                return None;
            }
            self.rebase(&seen);
            // Twice a limit that was found is not tried: it may be all the backend can take, and this latency one with
            // a queue.
            (self.climbs, self.dipped) = (!is_found, now);
        }
        let is_blind = seen.drop_rate() > BLIND && self.usual_drops() < BLIND;
        let limit = match self.stage {
            Stage::Refused { limit, before } => self.judge_drops(&seen, before, limit, present),
            _ if is_blind || reading.samples == 0 => {
                // An experiment under way tells nothing.
                self.stage = Stage::Track;
                self.last_samples = 0;
                return self.refused(&seen, present).or(Some(present));
            }
            Stage::Track => match self.refused(&seen, present) {
                Some(limit) => Some(limit),
                None => self.track(&seen, present, now),
            },
            Stage::Cut { limit, before } => self.judge(&seen, before, limit, present),
            Stage::Dip {
                before,
                depth,
                resume,
            } => self.look(&seen, before, depth, resume, present, now),
        };
        if let Some(limit) = limit {
            self.forget_drops(&seen);
            self.learn_spread(&seen, limit == present);
        }
        limit
    }

    /// The part of the answers that may be drops without anything being wrong.
    fn usual_drops(&self) -> f64 {
        let tolerated = self.tolerated_ppm as f64 / 1e6;
        DROPS.max((1.5 * tolerated).min((1.0 + tolerated) / 2.0))
    }

    /// A backend that says no is full, whatever its latency.
    pub(super) fn refused(&mut self, seen: &Seen, present: u32) -> Option<u32> {
        let asked = seen.samples + seen.drops;
        let usual = self.usual_drops() * asked;
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

    pub(super) fn track(&mut self, seen: &Seen, present: u32, now: StoreTime) -> Option<u32> {
        // Far below the baseline, and not for the short requests that are done first after a limit was raised: the
        // baseline was one with a queue.
        let is_settled = self.growing == 0;
        if is_settled && seen.latency < self.baseline() * (0.9 - 3.0 * seen.error()) {
            self.rebase(seen);
        } else if self.queue(seen)
            < if self.climbs {
                0.0
            } else {
                -2.5 * self.noise(seen)
            }
            && seen.age >= self.least()
        {
            // Below it by more than chance, or while no queue can be there: it was too high.
            self.refine(seen);
        }
        let (queue, aim, noise) = (self.queue(seen), seen.aim(), self.noise(seen));
        // Who refuses most of what comes has none, even if little is in use, as when single slots go round.
        let has_room = seen.in_flight < SLACK * f64::from(present) && seen.refusals < MOSTLY;
        // Whoever looks again and again and acts on the first surprise is surprised by chance alone: a window has its
        // time. Only what is beyond chance counts before.
        let is_over = seen.age >= self.window(seen);
        // A limit twice as large shows a queue of half; and by chance there is now and then one among a few requests.
        let clear = if self.climbs {
            let goes_round = seen.hungry >= f64::from(present);
            let part = if goes_round { ROUND } else { CLEAR };
            (part * seen.in_flight).max(2.0 * noise)
        } else {
            0.0
        };
        let (short, long) = ((SHORT * aim).max(clear), (LONG * aim).max(clear));
        let is_sure = queue - 2.0 * noise > long && (self.hot == 0 || seen.error() < EXACT);
        if queue > long && (is_over && !has_room && queue > noise || is_sure) {
            self.growing = 0;
            self.hot += 1;
            // Once may be a stall; but a climb has come from where there was no queue.
            if self.hot < 2 && !self.climbs {
                return Some(present);
            }
            let climbed = self.climbs;
            self.end_climb(seen);
            let is_of_heads = self.is_of_heads(seen);
            let is_small = queue < CLEAR * seen.in_flight || is_of_heads;
            // What a cut shows nothing of is not cut again and again for a baseline that may be too low.
            let is_due = is_of_heads && now.since(self.dipped) >= self.dips(seen);
            if (!self.verified || is_due) && seen.refusals > FULL && is_small {
                // Before a small queue is cut for a baseline that nobody has looked for, it is looked for.
                return Some(self.dip(seen, present, present, 0));
            }
            let limit = f64::from(present);
            if seen.reach() < SLACK * limit && seen.refusals < MOSTLY {
                // Nothing can be learnt from a limit that nothing reaches. One that most requests find in use is reached
                // where the work is.
                return Some(floor(seen.reach()));
            }
            // Where a climb came from there was no queue: so far down what Little's law says needs no proof.
            let deepest = if climbed { 1.0 / CLIMB } else { FIRST_CUT };
            let limit = floor(seen.limit_for(aim - queue, present).max(limit * deepest));
            if limit < present {
                self.stage = Stage::Cut {
                    limit: present,
                    before: seen.point(),
                };
            }
            return Some(limit.min(present));
        }
        // Where the limit has just grown without a queue, there is likely to be more.
        let doubt = if self.growing > 1 { 0.75 } else { 1.5 };
        let has_brought = queue < long && self.has_brought_work(seen);
        let is_early = has_brought || queue + doubt * seen.chance() < short;
        let may_grow = self.climbs && queue < short || is_early && seen.age >= self.least();
        if !(is_over || seen.is_limited && may_grow) {
            return None;
        }
        self.hot = 0;
        let is_full = seen.refusals > FULL && !has_room;
        if is_full && !self.climbs && self.growing < 2 && now.since(self.dipped) >= self.dips(seen)
        {
            return Some(self.dip(seen, present, present, 0));
        }
        if has_room {
            // There is room: what is seen is the baseline.
            self.refine(seen);
        }
        if queue >= short {
            self.end_climb(seen);
        }
        if seen.is_limited && (queue < short || has_brought) {
            return Some(self.grow(seen, present));
        }
        if seen.is_limited && queue < aim && self.growing >= LONG_STEP {
            // Of a step far longer than this queue most is in use: there may be more, and the next one is half as long.
            self.growing -= 2;
            return Some(self.grow(seen, present));
        }
        self.growing = 0;
        Some(present)
    }

    /// How often the baseline is looked for.
    fn dips(&self, seen: &Seen) -> Duration {
        let often = match self.verified {
            false => FIRST_DIP.max(self.latencies(FIRST_DIP_AFTER)),
            true if (self.weight as f64) < self.remembered(seen) => {
                DIPS.max(self.latencies(DIPS_APART)) / 3
            }
            true => DIPS.max(self.latencies(DIPS_APART)),
        };
        // Slots that are kept for long come back as late.
        often.max(KEPT_DIPS * Duration::from_micros(self.hold_us))
    }

    fn end_climb(&mut self, seen: &Seen) {
        if std::mem::take(&mut self.climbs) {
            self.topped_us = seen.latency_us();
        }
    }

    /// Whether most of the last step is seen at work.
    fn has_brought_work(&self, seen: &Seen) -> bool {
        let at_work = self.grown.at_work(seen);
        self.growing > 0
            && !seen.is_few()
            && at_work.is_some_and(|(part, error)| part - AT_WORK_ERRORS * error > AT_WORK)
    }

    fn grow(&mut self, seen: &Seen, present: u32) -> u32 {
        self.growing += 1;
        self.grown = seen.point();
        let least = self.queue(seen) + GONE_ERRORS * self.noise(seen);
        if self.growing == 1 && seen.is_in_use() && !seen.is_few() && least < GONE * seen.aim() {
            self.growing = 2;
        }
        let limit = f64::from(present);
        let grown = if self.climbs {
            (limit * CLIMB).max(seen.hungry)
        } else {
            if seen.in_flight < FOLLOWS * limit && seen.refusals < MOSTLY {
                // More of the limit brought no more work: that there was no queue either says little of what the
                // backend can take. But where most is refused, it is those with little work that hold what is not in use.
                self.growing = 1;
            }
            let step = (limit.sqrt() / 3.0).max(1.0);
            let steps = 1_u64 << self.growing.saturating_sub(1).min(10);
            limit + (step * steps as f64).min(limit * STRIDE)
        };
        // What nobody uses cannot be judged; but whoever refuses can use one more. Where single slots go round they are
        // mostly somewhere else than the work: that little is used says nothing until everybody has one.
        let most = if limit < seen.nodes {
            seen.most().max(seen.nodes)
        } else {
            seen.most()
        };
        floor(grown.min(most).max(limit))
    }
}
