//! The fleet's own estimator: one controller on what all nodes measured together.
//!
//! By Little's law, of the `I` requests in flight `I * (1 - B / R)` wait in a queue, where `R` is their mean latency
//! and `B` (the *baseline*) what it would be without a queue. The controller keeps that queue near `0.56 sqrt(I)`: what
//! chance needs to keep the backend busy, for the fleet and not for each node; of a few slots it is at most a tenth. A
//! queue much longer is cut to what Little's law says, `I * B / R`; without one the limit grows, as long as somebody is
//! refused for want of a share, by steps that double from one window to the next, at once where throughput follows: that
//! needs no baseline. What a long step brought and is not in the queue is at work, so that there may be more.
//!
//! The baseline is the hard part: nobody shows it, and it moves. It is never a minimum, which is biased, but a mean
//! over a time in which there can be no queue, the *dip*: a few rounds with nine tenths of the limit, every now and
//! then, more often and for longer while its error is a large part of the queue that is aimed for.
//!
//! And every cut is an experiment. If latency falls with what is in flight it was a queue. If it stays, it was not the
//! queue: the baseline has moved, and the cut is taken back. One rule, the *elasticity* `(dR / R) / (dI / I)`, decides
//! both. It may be both at once, since a queue grows where latency rises: a step that is not clear goes on, by
//! tenths, before the rest is called a queue, and a cut that goes on by a fifth is an experiment of its own. One after which
//! there is less work has ended the queue within its step: what is left is cut by a fifth at most. What looks like another
//! baseline is cut to four fifths and no further, of a few slots to seven tenths.
//!
//! A queue that is no longer than its own error may be chance, and is not cut: where a few requests take most of the time
//! no window is long enough to be sure, and who cuts by chance ends far below what the backend can take.
//!
//! What is measured is what came after the last change had reached everybody: windows begin some latencies later; where a
//! few requests take most of the time these are the latencies of those few, as in flight at any moment is what takes
//! long (the mean of what is left is half of the mean square over the mean). Nodes differ in their distance to the
//! backend, so each one's usual offset is taken off, and the fleet's latency is the mean of the middle third of 16 groups
//! of nodes, of which none weighs more than a third of the others. One liar among three nodes or more moves that latency
//! little; one of two, or one that has most of the work, does: it is then most of what is known, and the fleet's limit
//! follows its word within `min_limit` and `max_limit`. Refusals are believed: absurd ones of one among few let it grow.
//! What a node reports in flight counts as held for it, so who tells of more keeps slots from the others, and nobody is
//! admitted above the limit for it.
//!
//! Where answers stream on, a slot is kept for longer than its sample, which ends with the head; how many are is told
//! while they are. What is in flight is then what was seen so at each report, since who waits for a slot, for many times
//! what a sample takes otherwise, is told of only at its head; of what is in flight the part `sample / time kept` is what
//! latency tells of, and as many slots fewer are a queue; and a cut is given time until an eighth of what is kept has been
//! given back, of seconds at most. Where few wait for a slot beside those who have one a cut by as many shows nothing: a
//! baseline that is not sure, or was looked for long ago, is looked for first. Nobody who waits for a slot there proves
//! another baseline: they wait for longer and longer until enough has ended, whatever was cut. Streams of events have no
//! sample at all: beside other requests they are slots that are kept; where there is nothing else the limit stays the
//! initial one, drops cut it, and a minute without them lets it come back.
//!
//! Drops are answers too: they cut the limit as long as fewer slots mean fewer drops, and are put up with where they come
//! whatever is in flight, as time-outs of slow requests do. While hardly anything else comes, a sixteenth of the limit is
//! enough to see the end of that, and more would be let in only to be given up.

mod baseline;
mod control;
mod experiment;
mod memory;
mod reading;
mod seen;
#[cfg(test)]
mod tests;

pub(crate) use self::memory::Memory;

use self::memory::{Control, Stage};
use crate::fleet::message::{NodeView, Pulse};
use crate::time::StoreTime;
use std::ops::RangeInclusive;
use std::time::Duration;

impl Memory {
    /// The limit from now on. A record ends `lease` after its report. A limit that is not the `initial` one has been found
    /// before, even if what was known then is lost.
    pub(super) fn estimate(
        &mut self,
        present: u32,
        initial: u32,
        bounds: &RangeInclusive<u32>,
        now: StoreTime,
        lease: Duration,
        open: &[&NodeView],
    ) -> u32 {
        self.take_in(lease, open);
        if self.is_without_answers(now) {
            return self.unanswered(present, initial, now);
        }
        let Some(reading) = self.reading(now) else {
            return present;
        };
        self.control.learn_renewal(reading.renewal_milli, false);
        let is_beyond = reading.hold_us > reading.latency_us;
        self.control.hold_us = if is_beyond { reading.hold_us } else { 0 };
        let is_found = present != initial;
        let Some(limit) = self.control.decide(&reading, present, is_found, now) else {
            return present;
        };
        self.control.learn_renewal(reading.renewal_milli, true);
        let answers = (reading.samples + reading.drops).max(1);
        self.pulse = Pulse {
            number: self.pulse.number + 1,
            // A window of drops alone has none.
            latency_us: match reading.latency_us {
                0 => self.pulse.latency_us,
                measured => measured,
            },
            baseline_us: self.control.baseline_us,
            milli: reading.milli,
            drops_ppm: reading.drops.saturating_mul(1_000_000) / answers,
        };
        let limit = limit.clamp(*bounds.start(), *bounds.end());
        self.learn_offsets(reading.latency_us);
        self.begin_window(now, settles(&self.control, limit != present), &reading);
        limit
    }
}

impl Memory {
    /// The limit while nothing is answered, though somebody is refused. Where no answer has a sample, drops alone have cut
    /// it, and nothing would bring it back: once there are no more of them, it doubles until it is the `initial` one.
    fn unanswered(&mut self, present: u32, initial: u32, now: StoreTime) -> u32 {
        let has_been_looked_at = self.window > self.answered;
        self.begin_at(now);
        if present >= initial || !has_been_looked_at {
            return present;
        }
        self.control.stage = Stage::Track;
        present.saturating_mul(2).min(initial)
    }
}

/// For how many latencies what is measured is not to be trusted.
fn settles(control: &Control, changed: bool) -> u32 {
    match control.stage {
        _ if !changed => 0,
        Stage::Track if control.climbs => 2,
        Stage::Track => 3,
        Stage::Cut { .. } => 3,
        Stage::Refused { .. } | Stage::Dip { .. } => 4,
    }
}
