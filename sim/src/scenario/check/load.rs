//! What a file says of the load.

use super::{Checked, are_nodes, ms, profile, within, wrong};
use crate::engine::{Nanos, nanos};
use crate::load::{Bursts, Spread, Wave};
use crate::scenario::{LoadSpec, Retries, Streams, file};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use toml::Spanned;

/// Seconds that a burst may last.
const TIMES: RangeInclusive<f64> = 0.001..=1e6;

pub(super) fn load(file: &file::Load, known: usize, end: Nanos) -> Checked<LoadSpec> {
    let spread = match &file.spread {
        None => Spread::Equal,
        Some(spread) => match spread.get_ref() {
            file::Spread::Equal => Spread::Equal,
            file::Spread::Skew(file::Skew { part, of })
                if (0.0..=1.0).contains(part) && (0.0..=1.0).contains(of) =>
            {
                Spread::Skew {
                    part: *part,
                    of: *of,
                }
            }
            file::Spread::Zipf(s) if (0.0..=10.0).contains(s) => Spread::Zipf(*s),
            file::Spread::Hot(file::Hot { part, every })
                if (0.0..=1.0).contains(part) && (0.001..=1e6).contains(every) =>
            {
                Spread::Hot {
                    part: *part,
                    every: nanos(*every),
                }
            }
            _ => {
                return wrong(
                    spread,
                    "parts are 0 to 1, the exponent 0 to 10, times positive",
                );
            }
        },
    };
    let wave = match &file.wave {
        Some(wave) => {
            let file::Wave { period, depth } = *wave.get_ref();
            if !((0.1..=1e6).contains(&period) && (0.0..=1.0).contains(&depth)) {
                return wrong(wave, "a period is 0.1 s to 1e6 s, a depth 0 to 1");
            }
            Some(Wave {
                period: nanos(period),
                depth,
            })
        }
        None => None,
    };
    let bursts = match &file.bursts {
        Some(bursts) => {
            let file::Bursts { on, off, factor } = *bursts.get_ref();
            if !(TIMES.contains(&on) && TIMES.contains(&off) && (0.0..=1000.0).contains(&factor)) {
                return wrong(bursts, "times are 1 ms to 1e6 s, the factor 0 to 1000");
            }
            Some(Bursts {
                on: nanos(on),
                off: nanos(off),
                factor,
            })
        }
        None => None,
    };
    let think = match &file.think_ms {
        Some(think) if wave.is_some() || bursts.is_some() => {
            return wrong(
                think,
                "users who think make a closed loop, which has neither waves nor bursts",
            );
        }
        Some(think) => Some(ms(within(think, 0.0, 1e9, "think_ms")?)),
        None => None,
    };
    let timeout = match &file.timeout_ms {
        Some(timeout) => Some(ms(within(timeout, 0.001, 1e9, "timeout_ms")?)),
        None => None,
    };
    let retries = match &file.retries {
        Some(retries) => {
            let file::Retries {
                attempts,
                backoff_ms,
                budget,
            } = *retries.get_ref();
            let budget = budget.unwrap_or(f64::INFINITY);
            if !((1..=20).contains(&attempts) && (0.0..=1e6).contains(&backoff_ms) && budget >= 0.0)
            {
                return wrong(
                    retries,
                    "1 to 20 attempts, a back-off of 0 ms or more, a budget of 0 or more",
                );
            }
            Some(Retries {
                attempts,
                backoff: ms(backoff_ms),
                budget,
            })
        }
        None => None,
    };
    let streams = match &file.streams {
        Some(streams) => {
            let file::Streams { part, seconds } = *streams.get_ref();
            if !((0.0..=1.0).contains(&part) && (1e-3..=1e5).contains(&seconds)) {
                return wrong(
                    streams,
                    "a part is 0 to 1, and takes .001 to 100 000 seconds",
                );
            }
            Some(Streams {
                part,
                mean: nanos(seconds),
            })
        }
        None => None,
    };
    let classes = file.classes.as_ref().map(parts).transpose()?;
    let (mut classes_of, mut of) = (Vec::new(), BTreeSet::new());
    for some in &file.classes_of {
        if classes.is_none() {
            return wrong(some, "other nodes than these have classes too");
        }
        let file::ClassesOf { nodes, classes } = some.get_ref();
        are_nodes(some, nodes, known)?;
        if let Some(node) = nodes.iter().find(|node| of.contains(*node)) {
            return wrong(some, format!("the classes of node {node} are there twice"));
        }
        of.extend(nodes.iter().copied());
        classes_of.push((nodes.clone(), parts(classes)?));
    }
    Ok(LoadSpec {
        level: profile(&file.level, 1.0, 0.0..=1e4, end)?,
        spread,
        wave,
        bursts,
        think,
        timeout,
        classes,
        classes_of,
        retries,
        streams,
    })
}

fn parts(classes: &Spanned<file::Classes>) -> Checked<[f64; 4]> {
    let file::Classes {
        critical,
        default,
        sheddable,
        bulk,
    } = *classes.get_ref();
    let parts = [critical, default, sheddable, bulk];
    let sum: f64 = parts.iter().sum();
    let are_parts = parts.iter().all(|part| (0.0..=1.0).contains(part));
    if !are_parts || (sum - 1.0).abs() > 1e-9 {
        return wrong(classes, "the parts of the classes add up to 1");
    }
    Ok(parts)
}
