//! The controller: from a reading to the next limit. Thousandths of a slot are written `milli`.

use crate::fleet::estimate::fleet::memory::{Control, Point, Stage};
use crate::fleet::estimate::fleet::reading::Reading;
use crate::fleet::estimate::fleet::seen::{QUEUE, Seen, floor};
use crate::time::StoreTime;
use std::time::Duration;

/// Between these parts of the queue that is aimed for the limit stays.
const SHORT: f64 = 0.8;
const LONG: f64 = 1.5;
/// A limit grows by so much while no queue has been met...
const CLIMB: f64 = 1.5;
/// ...or at most one of this part of what is in flight...
const CLEAR: f64 = 0.15;
/// ...later by half a square root, by more when that meets no queue for long, and by no more than this part.
const STRIDE: f64 = 0.3;
/// A first cut goes no deeper.
const FIRST_CUT: f64 = 0.85;
/// A second one goes by this: after an experiment that said a lot, or nothing, as when latency rose by more than this.
const SECOND_CUT: f64 = 0.9;
const ROSE: f64 = -0.2;
/// Drops that follow what is in flight by less than this part do not come from a full backend.
const ELASTIC: f64 = 0.35;
/// Drops in excess of this part cut the limit at once.
const DROPS: f64 = 0.02;
/// A limit of which less than this part is in use is not what holds the fleet back.
const SLACK: f64 = 0.6;
/// A backend is full when more than this part of what comes is refused.
const FULL: f64 = 0.03;
/// How often the baseline is looked for, while it is known and while it is not.
const DIPS: Duration = Duration::from_secs(15);
const FIRST_DIP: Duration = Duration::from_secs(1);
/// A dip goes to this part of what Little's law says, a search for the baseline goes on by it.
const DIP: f64 = 0.9;
const DESCENT: f64 = 0.75;
const DEEPEST: u64 = 8;
/// A window is no shorter than this...
const WINDOW: Duration = Duration::from_millis(200);
/// ...and no longer than this: what is not sure by then is decided as it looks.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The relative error of a mean that an experiment may be judged against.
const EXACT: f64 = 0.05;
/// Fewer samples are noise.
pub(super) const FEW: f64 = 50.0;

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
    fn refused(&mut self, seen: &Seen, present: u32) -> Option<u32> {
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

    /// After a cut for the sake of drops: were they refusals of a full backend?
    fn judge_drops(&mut self, seen: &Seen, before: Point, uncut: u32, present: u32) -> Option<u32> {
        if seen.samples + seen.drops < 4.0 * FEW && seen.age < PATIENCE {
            return None;
        }
        self.stage = Stage::Track;
        let less = 1.0 - seen.in_flight / before.in_flight();
        let fewer = 1.0 - seen.drop_rate() / before.drop_rate().max(1e-6);
        if less > 0.05 && fewer < ELASTIC * less {
            // They come whatever is in flight: time-outs of slow requests, not a full backend.
            self.tolerated_ppm = (seen.drop_rate().max(before.drop_rate()) * 1e6) as u64;
            return Some(uncut);
        }
        // More of them: cut again. Fewer: what is left may be no more than usual.
        self.refused(seen, present).or(Some(present))
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

    /// After a cut: was it a queue?
    fn judge(&mut self, seen: &Seen, before: Point, uncut: u32, present: u32) -> Option<u32> {
        let elastic = before.elasticity(seen);
        if seen.age < PATIENCE && elastic.is_none_or(|it| it.error > 0.3) {
            return None;
        }
        self.stage = Stage::Track;
        let (queue, aim) = (self.queue(seen), seen.aim());
        Some(match elastic {
            // It rose: the backend has changed meanwhile. Once more, against what is seen now.
            Some(elastic) if elastic.value < ROSE && queue > LONG * aim => {
                self.stage = Stage::Cut {
                    limit: uncut,
                    before: seen.point(),
                };
                floor(f64::from(present) * SECOND_CUT)
            }
            Some(elastic) if elastic.value < elastic.usual && queue > aim => {
                // Latency stayed while work went: the backend is slower, not fuller. That is a lot to believe on one
                // experiment, so the next one follows before the cut is taken back.
                self.rebase(seen);
                self.verified = false;
                self.stage = Stage::Dip {
                    before: seen.point(),
                    depth: 1,
                    resume: uncut,
                };
                floor(f64::from(present) * SECOND_CUT)
            }
            _ if queue > LONG * aim => {
                if elastic.is_none() {
                    // Too small a step to tell: judged together with the next one.
                    self.stage = Stage::Cut {
                        limit: uncut,
                        before,
                    };
                }
                let limit = seen.limit_for(aim - queue, present);
                floor(limit.max(f64::from(present) / 2.0).min(f64::from(present)))
            }
            _ => present,
        })
    }

    /// Goes where there can be no queue, if the baseline is right.
    fn dip(&mut self, seen: &Seen, present: u32, resume: u32, depth: u64) -> u32 {
        self.stage = Stage::Dip {
            before: seen.point(),
            depth: depth + 1,
            resume,
        };
        let limit = if depth == 0 && self.verified {
            seen.limit_for(-self.queue(seen).max(0.0), present) * DIP
        } else {
            f64::from(present).min(seen.reach()) * DESCENT
        };
        floor(limit).min(present.saturating_sub(1)).max(1)
    }

    /// In a dip: has the latency come down to the baseline, or below?
    fn look(
        &mut self,
        seen: &Seen,
        before: Point,
        depth: u64,
        resume: u32,
        present: u32,
        now: StoreTime,
    ) -> Option<u32> {
        if seen.in_flight * seen.error() > 0.5 * seen.aim() && seen.age < PATIENCE / 2 {
            return None;
        }
        let baseline = self.baseline();
        let elastic = before.elasticity(seen);
        let error = 3.0 * seen.error().max(0.01);
        let falls = elastic.is_some_and(|it| it.value > it.usual);
        let above = seen.latency > baseline * (1.0 + error);
        let below = seen.latency < baseline * (1.0 - error);
        let news = !self.verified || above || below;
        if news && falls && depth < DEEPEST && present > 1 {
            // Still a queue: the baseline is lower than this.
            if seen.latency < baseline {
                self.rebase(seen);
            }
            return Some(self.dip(seen, present, resume, depth));
        }
        self.stage = Stage::Track;
        self.dipped = now;
        (self.hot, self.growing) = (0, 0);
        if news {
            let first = !std::mem::replace(&mut self.met, true);
            self.rebase(seen);
            self.verified = true;
            if depth > 1 && before.in_flight() > seen.in_flight {
                // What was known of the limit came from a wrong baseline. The point before was the last with a
                // queue: by Little's law this much of it was work.
                let work = before.in_flight() * seen.latency / before.latency();
                let limit = floor(work.max(seen.in_flight));
                self.climbs = limit < resume / 2;
                return Some(limit.min(resume));
            }
            // What ended the climb may have been a queue over a baseline of a few short requests.
            let queue = 1.0 - seen.latency / before.latency();
            self.climbs |= first && queue < CLEAR;
        } else {
            self.refine(seen);
        }
        Some(resume)
    }

    /// Slots that are filled by a queue; below zero by chance.
    fn queue(&self, seen: &Seen) -> f64 {
        seen.in_flight * (1.0 - self.baseline() / seen.latency)
    }

    /// The error of the queue, in slots: from this mean, and from that of the baseline.
    fn noise(&self, seen: &Seen) -> f64 {
        let baseline = self.spread() / (self.weight.max(1) as f64).sqrt();
        seen.in_flight * (seen.error().powi(2) + baseline.powi(2)).sqrt()
    }

    /// How long a window has to be for the error of the queue to be less than the queue that is aimed for.
    fn window(&self, seen: &Seen) -> Duration {
        let micros = 2.0 * (self.spread() / QUEUE).powi(2) * seen.latency;
        Duration::from_micros(micros as u64).clamp(WINDOW, PATIENCE)
    }

    fn baseline(&self) -> f64 {
        self.baseline_us as f64
    }

    fn rebase(&mut self, seen: &Seen) {
        self.baseline_us = seen.latency_us();
        self.weight = seen.samples as u64;
    }

    /// Takes another look into account, as one more part of a mean over at most four like it.
    fn refine(&mut self, seen: &Seen) {
        let weight = (self.weight as f64).min(3.0 * seen.samples);
        let mean = (self.baseline() * weight + seen.latency * seen.samples)
            / (weight + seen.samples).max(1.0);
        self.baseline_us = (mean as u64).max(1);
        self.weight = (weight + seen.samples) as u64;
    }

    /// The coefficient of variation of a latency.
    fn spread(&self) -> f64 {
        match self.variance_milli {
            0 => 1.0,
            milli => (milli as f64 / 1000.0).sqrt(),
        }
    }

    /// Means of neighbouring windows under one limit differ by chance alone: by how much tells the variance.
    fn learn_spread(&mut self, seen: &Seen, same: bool) {
        if self.last_samples > 0 {
            let (last, count) = (self.last_latency_us as f64, self.last_samples as f64);
            let off = seen.latency / last - 1.0;
            let variance = off * off / (1.0 / count + 1.0 / seen.samples.max(1.0));
            let known = self.spread().powi(2);
            let mean = (known + 0.1 * (variance.min(4.0 * known) - known)).clamp(0.02, 9.0);
            self.variance_milli = (mean * 1000.0) as u64;
        }
        self.last_latency_us = seen.latency_us();
        self.last_samples = if same { seen.samples as u64 } else { 0 };
    }
}
