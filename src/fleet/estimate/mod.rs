//! How large the backend is: the fleet's limit, once per plan, from what the nodes report.
//!
//! Pure: a snapshot in, the next limit and what is to be remembered out.

mod fleet;
mod nodes;

pub(crate) use self::fleet::Memory;

use crate::fleet::message::{NodeView, Snapshot};
use crate::fleet::settings::{Estimate, Settings};
use std::sync::Arc;

/// The limit from now on, within the configured bounds, and what the next plan must know.
pub(crate) fn estimate(
    settings: &Settings,
    snapshot: &Snapshot,
    open: &[&NodeView],
) -> (u32, Arc<Memory>) {
    let present = if snapshot.limit == 0 {
        settings.initial_limit
    } else {
        snapshot.limit
    };
    let bounds = settings.min_limit..=settings.max_limit;
    let forgotten = Arc::default();
    let (found, memory) = match settings.estimate {
        Estimate::Fixed(limit) => return (limit, forgotten),
        Estimate::Median => (nodes::median(open), forgotten),
        Estimate::Min => (nodes::min(open), forgotten),
        Estimate::Fleet => {
            let mut memory = Memory::clone(&snapshot.memory);
            let lease = settings.reclaim() + settings.slack();
            let (initial, now) = (settings.initial_limit, snapshot.store_time);
            let limit = memory.estimate(present, initial, &bounds, now, lease, open);
            (Some(limit), Arc::new(memory))
        }
    };
    let limit = found.unwrap_or(present);
    (limit.clamp(*bounds.start(), *bounds.end()), memory)
}
