//! The two ends of the scale: a limiter that knows everything at once, and none at all.

use super::{Asking, Held, Limiter, Outcome, Scene, Truth, Verdict};
use crate::engine::Nanos;
use crate::scenario::NodeChange;

/// One semaphore for the whole fleet, without delay, as large as the backend is at this moment.
#[derive(Debug)]
pub(super) struct Omniscient;

impl Limiter for Omniscient {
    fn ask(&mut self, scene: &mut Scene<'_>, _asking: Asking) -> Verdict {
        if f64::from(scene.truth.in_flight) < scene.truth.knee.round() {
            Verdict::Admit(Held::Slot(scene.truth.in_flight + 1))
        } else {
            Verdict::Reject
        }
    }

    fn release(&mut self, _: &mut Scene<'_>, _: usize, _: Held, _: Outcome, _: Nanos) {}

    fn change(&mut self, _: &mut Scene<'_>, _: usize, _: NodeChange) {}

    fn limit(&self, truth: Truth) -> f64 {
        truth.knee.round()
    }
}

/// Everybody comes in.
#[derive(Debug)]
pub(super) struct Open;

impl Limiter for Open {
    fn ask(&mut self, scene: &mut Scene<'_>, _asking: Asking) -> Verdict {
        Verdict::Admit(Held::Slot(scene.truth.in_flight + 1))
    }

    fn release(&mut self, _: &mut Scene<'_>, _: usize, _: Held, _: Outcome, _: Nanos) {}

    fn change(&mut self, _: &mut Scene<'_>, _: usize, _: NodeChange) {}

    fn limit(&self, _: Truth) -> f64 {
        f64::INFINITY
    }
}
