//! Cuts and dips as experiments: what did less in flight do to latency, or to drops?

use crate::fleet::estimate::fleet::baseline::FEW;
use crate::fleet::estimate::fleet::control::{CLEAR, DEAD, FIRST_CUT, LONG};
use crate::fleet::estimate::fleet::memory::{Control, Point, Stage};
use crate::fleet::estimate::fleet::seen::{Seen, floor};
use crate::time::StoreTime;

/// A second cut goes by this.
const SECOND_CUT: f64 = 0.9;
/// What looks like another baseline is not cut below this part; of a few slots, where chance looks like one, below that.
const LOWEST: f64 = 0.8;
const LOWEST_OF_FEW: f64 = 0.7;
/// An experiment that is not clear goes on to this part of the limit; then it is another baseline if it looks like one...
const DEEP: f64 = 0.75;
/// ...and at this part a queue if it looks like that: where latency doubles a queue grows, too, so that the first steps
/// show both, and half of the limit is a high price for a guess.
const DEEPER: f64 = 0.62;
/// A cut that goes on to this part is an experiment of its own.
const FAR: f64 = 0.8;
/// And it goes no further than that where the elasticity that shows a queue has such an error, or shows that it has ended.
const VAGUE: f64 = 0.4;
/// Drops that follow what is in flight by less than this part do not come from a full backend.
const ELASTIC: f64 = 0.35;
/// More than this part is tolerated only after half of the limit has not helped.
const MANY: f64 = 0.1;
/// While hardly anything is answered the limit goes down to this part.
const PROBE: f64 = 1.0 / 16.0;
/// A dip goes to this part of what Little's law says, a search for the baseline goes on by it.
const DIP: f64 = 0.9;
const DESCENT: f64 = 0.75;
const DEEPEST: u64 = 8;

impl Control {
    /// After a cut for the sake of drops: were they refusals of a full backend?
    pub(super) fn judge_drops(
        &mut self,
        seen: &Seen,
        before: Point,
        uncut: u32,
        present: u32,
    ) -> Option<u32> {
        if seen.samples + seen.drops < 4.0 * FEW && seen.age < self.patience() {
            return None;
        }
        self.stage = Stage::Track;
        let less = 1.0 - seen.in_flight / before.in_flight();
        let expected = (before.drop_rate() * (seen.samples + seen.drops)).max(1e-6);
        let part = seen.drops / expected;
        let fewer = 1.0 - part;
        // What started this was partly chance: fewer drops say something only beyond it.
        let counted = before.drop_rate() * before.samples as f64;
        let variance = (seen.drops + 1.0) / expected.powi(2) + part.powi(2) / counted.max(1.0);
        let chance = variance.sqrt();
        let follow = less <= 0.05 || fewer - chance >= ELASTIC * less;
        let is_deep = before.drop_rate() < MANY || f64::from(present) <= f64::from(uncut) / 2.0;
        if !follow && !is_deep && present > 1 {
            // Slots beyond what a full backend can queue are refused at once and come back at once: the part that is
            // refused hardly falls before there are none left.
            self.stage = Stage::Refused {
                limit: uncut,
                before,
            };
            return Some(floor(f64::from(present) * FIRST_CUT));
        }
        if !follow && seen.drop_rate() > DEAD {
            // Hardly anything is answered. What is let in helps nobody, and may be all that the backend is still busy
            // with: by the time it gets there, the client has hung up. Enough is let in to see when that is over.
            self.stage = Stage::Refused {
                limit: uncut,
                before,
            };
            let probe = f64::from(uncut) * PROBE;
            let half = f64::from(present) / 2.0;
            return Some(floor(half.max(probe)).min(present));
        }
        if !follow {
            // They come whatever is in flight: time-outs of slow requests, not a full backend.
            self.tolerated_ppm = (seen.drop_rate().max(before.drop_rate()) * 1e6) as u64;
            return Some(uncut);
        }
        // More of them: cut again, and judge it together with this. Fewer: what is left may be no more than usual.
        let Some(limit) = self.refused(seen, present) else {
            // After an outage the way back is known to be free.
            self.climbs = before.drop_rate() > DEAD && present < uncut / 2;
            return Some(present);
        };
        self.stage = Stage::Refused {
            limit: uncut,
            before,
        };
        Some(limit)
    }

    /// What was tolerated once is not for ever.
    pub(super) fn forget_drops(&mut self, seen: &Seen) {
        let rate = (seen.drop_rate() * 1e6) as u64;
        let is_known = seen.samples + seen.drops >= 4.0 * FEW;
        if self.stage == Stage::Track && is_known && rate < self.tolerated_ppm {
            self.tolerated_ppm -= (self.tolerated_ppm - rate).div_ceil(8);
        }
    }

    /// After a cut: was it a queue?
    pub(super) fn judge(
        &mut self,
        seen: &Seen,
        before: Point,
        uncut: u32,
        present: u32,
    ) -> Option<u32> {
        let elastic = before.elasticity(seen);
        let is_sure = elastic.is_some_and(|it| it.is_sure());
        let patience = match elastic {
            Some(_) => self.patience(),
            None => self.window(seen),
        };
        if !is_sure && seen.age < patience {
            return None;
        }
        self.stage = Stage::Track;
        let (queue, aim) = (self.queue(seen), seen.aim());
        let limit = f64::from(present);
        let is_deep = limit <= f64::from(uncut) * DEEP;
        let waits = self.waits_for_slots(seen);
        Some(match elastic {
            // It rose: the backend has changed meanwhile. Once more, from where it was.
            Some(elastic) if elastic.is_void() && queue > LONG * aim && !waits => {
                self.hot = 1;
                uncut
            }
            Some(elastic)
                if elastic.value < elastic.usual
                    && (is_sure || is_deep || elastic.leans())
                    && queue > aim
                    && !waits =>
            {
                // Latency stayed while work went: the backend is slower, not fuller. That is a lot to believe on one
                // experiment, so it is continued, further down or for longer, before the cut is taken back.
                self.rebase(seen);
                self.verified = false;
                self.stage = Stage::Dip {
                    before,
                    depth: 1,
                    resume: uncut,
                };
                let lowest = if seen.is_few() { LOWEST_OF_FEW } else { LOWEST };
                floor(
                    (limit * SECOND_CUT)
                        .max(f64::from(uncut) * lowest)
                        .min(limit),
                )
            }
            _ if queue > LONG * aim => {
                let is_doubtful = elastic.is_some_and(|it| it.error > VAGUE || it.has_ended());
                let mut least = limit * if is_doubtful { FAR } else { 0.5 };
                if elastic.is_none() || !is_sure && limit > f64::from(uncut) * DEEPER {
                    // Too small a step to tell: judged together with the next one.
                    self.stage = Stage::Cut {
                        limit: uncut,
                        before,
                    };
                    least = limit * SECOND_CUT;
                }
                let next = floor(seen.limit_for(aim - queue, present).max(least).min(limit));
                if self.stage == Stage::Track && f64::from(next) <= limit * FAR {
                    // That there was a queue is sure. That the rest of it is one, too, says only the baseline.
                    self.stage = Stage::Cut {
                        limit: present,
                        before: seen.point(),
                    };
                }
                next
            }
            _ => present,
        })
    }

    /// Goes where there can be no queue, if the baseline is right.
    pub(super) fn dip(&mut self, seen: &Seen, present: u32, resume: u32, depth: u64) -> u32 {
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
    pub(super) fn look(
        &mut self,
        seen: &Seen,
        before: Point,
        depth: u64,
        resume: u32,
        present: u32,
        now: StoreTime,
    ) -> Option<u32> {
        // What all cuts are held against is worth a second while it is vague, but where slots are few: there it stays so.
        let is_known = self.weight as f64 >= self.remembered(seen);
        let (vague, patience) = if is_known || seen.is_few() {
            (0.5, self.patience() / 2)
        } else {
            (0.25, self.patience())
        };
        if seen.chance() > vague * seen.aim() && seen.age < patience {
            return None;
        }
        let baseline = self.baseline();
        let elastic = before.elasticity(seen);
        let error = 3.0 * seen.error().max(0.01);
        let above = seen.latency > baseline * (1.0 + error);
        let below = seen.latency < baseline * (1.0 - error);
        // It rose while less was in flight; or hardly less was, and what is new may be a queue as well.
        let is_void = elastic.map_or(self.verified && above, |it| it.is_void());
        let waits = self.waits_for_slots(seen);
        if is_void && self.queue(seen) > LONG * seen.aim() && !waits {
            // Nothing was learnt: once more, from where it was.
            (self.stage, self.dipped, self.hot) = (Stage::Track, now, 1);
            return Some(resume);
        }
        if !self.verified && elastic.is_some_and(|it| !it.is_sure()) && seen.age < self.patience() {
            return None;
        }
        let falls = elastic.is_some_and(|it| it.value > it.usual) || waits;
        let news = !self.verified || above || below;
        if news && falls && depth < DEEPEST && present > 1 {
            // Still a queue: the baseline is lower than this.
            if seen.latency < baseline {
                self.rebase(seen);
            }
            let is_open = elastic.is_some_and(|it| it.is_open()) && !waits;
            if is_open && !self.verified && !seen.is_few() {
                // It may as well be the baseline: a little further, and judged together with this.
                self.stage = Stage::Dip {
                    before,
                    depth: depth + 1,
                    resume,
                };
                return Some(floor(f64::from(present) * SECOND_CUT));
            }
            return Some(self.dip(seen, present, resume, depth));
        }
        self.stage = Stage::Track;
        self.dipped = now;
        self.hot = 0;
        if news {
            self.growing = 0;
        }
        let topped = std::mem::take(&mut self.topped_us);
        if news {
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
            self.climbs |= seen.latency > (1.0 - CLEAR) * topped as f64 && topped > 0;
        } else {
            self.refine(seen);
        }
        Some(resume)
    }
}
