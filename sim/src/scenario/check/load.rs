//! What a file says of the load.

use super::{Checked, ms, profile, within, wrong};
use crate::engine::nanos;
use crate::load::{Bursts, Spread, Wave};
use crate::scenario::{LoadSpec, Retries, file};
use toml::Spanned;

pub(super) fn load(file: &file::Load) -> Checked<LoadSpec> {
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
                if (0.0..=1.0).contains(part) && *every >= 0.001 =>
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
            if !(period >= 0.1 && (0.0..=1.0).contains(&depth)) {
                return wrong(wave, "a period is at least 0.1 s, a depth 0 to 1");
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
            if !(on >= 0.001 && off >= 0.001 && (0.0..=1000.0).contains(&factor)) {
                return wrong(bursts, "times are at least 1 ms, the factor 0 to 1000");
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
            if attempts == 0 || attempts > 20 || !(0.0..=1e6).contains(&backoff_ms) || budget < 0.0
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
    let classes = file.classes.as_ref().map(parts).transpose()?;
    let mut classes_of = Vec::new();
    for some in &file.classes_of {
        if classes.is_none() {
            return wrong(some, "other nodes than these have classes too");
        }
        let some = some.get_ref();
        classes_of.push((some.nodes.clone(), parts(&some.classes)?));
    }
    Ok(LoadSpec {
        level: profile(&file.level, 1.0, 0.0, 1e4)?,
        spread,
        wave,
        bursts,
        think,
        timeout,
        classes,
        classes_of,
        retries,
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
    if (sum - 1.0).abs() > 1e-9 || parts.iter().any(|part| *part < 0.0) {
        return wrong(classes, "the parts of the classes add up to 1");
    }
    Ok(parts)
}
