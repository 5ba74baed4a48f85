//! The latency without a queue, what is above it, and how sure that is.

use crate::fleet::estimate::fleet::control::LONG;
use crate::fleet::estimate::fleet::memory::Control;
use crate::fleet::estimate::fleet::seen::Seen;
use std::time::Duration;

/// A window is no shorter than this, and than a latency...
const WINDOW: Duration = Duration::from_millis(200);
/// ...and no longer than this, and so many latencies: what is not sure by then is decided as it looks, but that a queue is
/// not cut that is no longer than its error.
const PATIENCE: Duration = Duration::from_secs(1);
const LATENCIES: u32 = 4;
/// Slots that are kept beyond their samples are given back bit by bit: a cut is seen to work after this part of the time.
pub(super) const DRAINED: u64 = 8;
/// No latency makes anybody wait for more than this.
const LONGEST: Duration = Duration::from_secs(15);
/// Nobody makes it longer by more than this, in thousandths.
const MOST_RENEWALS: u64 = 50_000;
/// Less is one latency, by chance somewhat more: of exponential ones it is one.
const FEW_LONG: u64 = 2_000;
/// So many samples of a baseline count as much as new ones; where many slots are in use as many as keep its error below
/// this part of the queue that is aimed for, which is then a small part of what is in flight.
const REMEMBERED: f64 = 2000.0;
const VAGUE: f64 = 0.4;
/// Fewer samples are noise.
pub(super) const FEW: f64 = 50.0;

impl Control {
    /// Slots that are filled by a queue; below zero by chance.
    pub(super) fn queue(&self, seen: &Seen) -> f64 {
        seen.in_flight * (1.0 - self.baseline() / seen.latency)
    }

    /// Slots are kept beyond their samples, and those who wait are many beside them: by Little's law as many as come in the
    /// time that is too long. No other baseline is that long; and until enough slots have been given back they wait for
    /// longer and longer, whatever is let in.
    pub(super) fn waits_for_slots(&self, seen: &Seen) -> bool {
        self.hold_us > 0 && self.queue(seen) * seen.sampled > LONG * seen.aim_for_unkept()
    }

    /// Slots are kept beyond their samples, and those who wait for one are few beside them: a cut by as many shows nothing.
    pub(super) fn is_of_heads(&self, seen: &Seen) -> bool {
        self.hold_us > 0 && !self.waits_for_slots(seen)
    }

    /// The error of the queue, in slots: from this mean, and from that of the baseline.
    pub(super) fn noise(&self, seen: &Seen) -> f64 {
        seen.in_flight * (seen.error().powi(2) + self.error().powi(2)).sqrt()
    }

    /// The relative error of the baseline.
    pub(super) fn error(&self) -> f64 {
        self.spread() / (self.weight.max(1) as f64).sqrt()
    }

    /// How long a window has to be for the error of the queue to be well below the queue that is aimed for.
    pub(super) fn window(&self, seen: &Seen) -> Duration {
        let slots = self.spread() * seen.in_flight.sqrt();
        let micros = 6.0 * (slots / seen.aim()).powi(2) * seen.latency;
        Duration::from_micros(micros as u64).clamp(self.least(), self.patience())
    }

    /// No window is shorter.
    pub(super) fn least(&self) -> Duration {
        WINDOW.max(self.latencies(1))
    }

    /// What is not sure after so long is decided as it looks, but for a queue no longer than its error.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE.max(self.latencies(LATENCIES))
    }

    /// So many times what it takes, without a queue, until other requests are in flight.
    pub(super) fn latencies(&self, count: u32) -> Duration {
        self.renewals(self.baseline_us).min(LONGEST) * count
    }

    /// How long it takes until other requests are in flight when a request takes so long on average. Where a few take
    /// most of the time, nearly all that is in flight are those few.
    pub(super) fn renewals(&self, latency_us: u64) -> Duration {
        let renewal = if self.renewal_milli < FEW_LONG {
            1000
        } else {
            self.renewal_milli
        };
        let micros = u128::from(latency_us) * u128::from(renewal) / 1000;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// A few long ones are missing in most windows: more counts at once, less by an eighth a window.
    pub(super) fn learn_renewal(&mut self, milli: u64, is_over: bool) {
        if milli > self.renewal_milli {
            self.renewal_milli = milli.min(MOST_RENEWALS);
        } else if is_over {
            self.renewal_milli -= (self.renewal_milli - milli) / 8;
        }
    }

    pub(super) fn baseline(&self) -> f64 {
        self.baseline_us as f64
    }

    pub(super) fn rebase(&mut self, seen: &Seen) {
        self.baseline_us = seen.latency_us();
        self.weight = seen.samples as u64;
    }

    /// So many samples make a baseline that is known.
    pub(super) fn remembered(&self, seen: &Seen) -> f64 {
        let error = VAGUE * seen.aim() / seen.in_flight;
        (self.spread() / error).powi(2).max(REMEMBERED)
    }

    /// Takes another look into account, as one more part of a mean over at most four like it, or so many samples.
    pub(super) fn refine(&mut self, seen: &Seen) {
        let weight = (self.weight as f64).min((3.0 * seen.samples).max(self.remembered(seen)));
        let mean = (self.baseline() * weight + seen.latency * seen.samples)
            / (weight + seen.samples).max(1.0);
        self.baseline_us = (mean as u64).max(1);
        self.weight = (weight + seen.samples) as u64;
    }

    /// The coefficient of variation of a latency.
    pub(super) fn spread(&self) -> f64 {
        let learned = match self.variance_milli {
            0 => 1.0,
            milli => milli as f64 / 1000.0,
        };
        // Of the square of the mean, the mean square is one more than the variance.
        learned.max(self.renewal_milli as f64 / 500.0 - 1.0).sqrt()
    }

    /// Means of neighbouring windows under one limit differ by chance alone: by how much tells the variance.
    pub(super) fn learn_spread(&mut self, seen: &Seen, same: bool) {
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
