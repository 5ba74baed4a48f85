//! What a file says of the network.

use super::{Checked, are_nodes, moment, ms, profile, within, wrong};
use crate::engine::{MS, Nanos, nanos};
use crate::profile::Profile;
use crate::scenario::{Delay, Detour, NetworkSpec, Partition, StoreChange, file};
use toml::Spanned;

pub(super) fn network(file: &file::Network, known: usize, end: Nanos) -> Checked<NetworkSpec> {
    let backend = match &file.backend_ms {
        None => (0, 0),
        Some(range) => match range.get_ref()[..] {
            [near, far] if 0.0 <= near && near <= far && far <= 1e5 => (ms(near), ms(far)),
            _ => {
                return wrong(
                    range,
                    "say the round trip of the nearest and of the farthest node, as [0.5, 20]",
                );
            }
        },
    };
    let part = |field: &Option<Spanned<f64>>, name| match field {
        Some(field) => within(field, 0.0, 0.99, name),
        None => Ok(0.0),
    };
    let late = match &file.late {
        Some(late) => {
            let file::Late { part, ms: by } = *late.get_ref();
            if !((0.0..=1.0).contains(&part) && (0.0..=1e6).contains(&by)) {
                return wrong(late, "the part is 0 to 1, the time not negative");
            }
            (part, ms(by))
        }
        None => (0.0, 0),
    };
    let mut partitions = Vec::new();
    for spanned in &file.partitions {
        let file::Partition {
            at,
            length,
            nodes: of,
        } = spanned.get_ref();
        let (from, until) = span(spanned, *at, *length, end)?;
        if !of.is_empty() {
            are_nodes(spanned, of, known)?;
        }
        let nodes = of.clone();
        partitions.push(Partition { from, until, nodes });
    }
    let mut detours = Vec::new();
    for spanned in &file.detours {
        let detour = spanned.get_ref();
        let (from, until) = span(spanned, detour.at, detour.length, end)?;
        are_nodes(spanned, &detour.nodes, known)?;
        if !(0.0..=1e5).contains(&detour.ms) {
            return wrong(spanned, "a detour takes 0 to 100000 ms more");
        }
        detours.push(Detour {
            from,
            until,
            nodes: detour.nodes.clone(),
            more: ms(detour.ms),
        });
    }
    let mut store_events = Vec::new();
    for spanned in &file.store_events {
        let event = spanned.get_ref();
        let at = moment(spanned, event.at, end)?;
        let change = match event.change {
            file::StoreChange::Restart => StoreChange::Restart,
            file::StoreChange::Flush => StoreChange::Flush,
        };
        store_events.push((at, change));
    }
    Ok(NetworkSpec {
        backend,
        store: match &file.store_ms {
            Some(store) => profile(store, MS as f64, 0.0..=1e5, end)?,
            None => Profile::constant(MS as f64),
        },
        delay: match file.delay {
            None | Some(file::Delay::Constant) => Delay::Constant,
            Some(file::Delay::Exponential) => Delay::Exponential,
        },
        loss: part(&file.loss, "loss")?,
        duplication: part(&file.duplication, "duplication")?,
        late,
        partitions,
        detours,
        store_events,
        clock_offset: match &file.clock_offset_ms {
            Some(offset) => ms(within(offset, 0.0, 1e8, "clock_offset_ms")?),
            None => 0,
        },
        clock_drift: match &file.clock_drift_ppm {
            Some(drift) => within(drift, 0.0, 1e5, "clock_drift_ppm")?,
            None => 0.0,
        },
    })
}

/// From when until when something lasts; no longer than the run.
fn span<T>(spanned: &Spanned<T>, at: f64, length: f64, end: Nanos) -> Checked<(Nanos, Nanos)> {
    let from = moment(spanned, at, end)?;
    if length.is_nan() || length <= 0.0 {
        return wrong(spanned, "what happens lasts longer than nothing");
    }
    Ok((from, nanos(at + length).min(end)))
}
