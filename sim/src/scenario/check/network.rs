//! What a file says of the network.

use super::{Checked, are_nodes, moment, ms, profile, within, wrong};
use crate::engine::{MS, Nanos, nanos};
use crate::profile::Profile;
use crate::scenario::{Delay, Detour, NetworkSpec, Partition, StoreChange, Way, file};
use std::collections::BTreeMap;
use toml::Spanned;

/// How far a clock may be off, in milliseconds,
const MOST_OFFSET: f64 = 1e8;
/// and how wrong it may run, in millionths.
const MOST_DRIFT: f64 = 1e5;

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
            // Of nothing, or by nothing, would be no lateness.
            if !(part > 0.0 && part <= 1.0 && by > 0.0 && by <= 1e6) {
                return wrong(
                    late,
                    "the part is above 0 and at most 1, the time above 0 and at most 1e6 ms",
                );
            }
            (part, ms(by))
        }
        None => (0.0, 0),
    };
    let mut distances = BTreeMap::new();
    for spanned in &file.distances {
        let file::Distance { nodes, ms: far } = spanned.get_ref();
        are_nodes(spanned, nodes, known)?;
        if !(0.0..=1e5).contains(far) {
            return wrong(spanned, "a distance is 0 to 100000 ms");
        }
        for node in nodes {
            if distances.insert(*node, ms(*far)).is_some() {
                return wrong(spanned, format!("node {node} is there twice"));
            }
        }
    }
    let mut clocks = BTreeMap::new();
    for spanned in &file.clocks {
        let file::Clock {
            nodes,
            offset_ms,
            drift_ppm,
        } = spanned.get_ref();
        are_nodes(spanned, nodes, known)?;
        if !(offset_ms.abs() <= MOST_OFFSET && drift_ppm.abs() <= MOST_DRIFT) {
            return wrong(
                spanned,
                format!("a clock is off by {MOST_OFFSET} ms and {MOST_DRIFT} ppm at most"),
            );
        }
        let offset = (offset_ms * MS as f64).round() as i64;
        for node in nodes {
            if clocks.insert(*node, (offset, *drift_ppm)).is_some() {
                return wrong(spanned, format!("node {node} is there twice"));
            }
        }
    }
    let mut partitions = Vec::new();
    for spanned in &file.partitions {
        let file::Partition {
            at,
            length,
            nodes: of,
            way,
        } = spanned.get_ref();
        let (from, until) = span(spanned, *at, *length, end)?;
        if let Some(of) = of {
            are_nodes(spanned, of, known)?;
        }
        partitions.push(Partition {
            from,
            until,
            nodes: of.clone().unwrap_or_default(),
            way: way.map(|way| match way {
                file::Way::Beats => Way::ToStore,
                file::Way::Answers => Way::ToNode,
            }),
        });
    }
    let mut detours = Vec::new();
    for spanned in &file.detours {
        let detour = spanned.get_ref();
        let (from, until) = span(spanned, detour.at, detour.length, end)?;
        are_nodes(spanned, &detour.nodes, known)?;
        if !(detour.ms > 0.0 && detour.ms <= 1e5) {
            return wrong(spanned, "a detour takes more time, up to 100000 ms");
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
        distances,
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
            Some(offset) => ms(within(offset, 0.0, MOST_OFFSET, "clock_offset_ms")?),
            None => 0,
        },
        clock_drift: match &file.clock_drift_ppm {
            Some(drift) => within(drift, 0.0, MOST_DRIFT, "clock_drift_ppm")?,
            None => 0.0,
        },
        clocks,
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
