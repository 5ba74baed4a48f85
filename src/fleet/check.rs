//! Which settings can work; the message of a refusal says what to write instead.

use crate::error::ConfigError;
use crate::fleet::allocate::ABSURD;
use crate::fleet::settings::{Estimate, Outage, Settings};
use std::fmt;
use std::time::Duration;

/// The longest name of a key or node, in bytes.
const MAX_NAME: usize = 128;
/// The shortest heartbeat: below it a store does nothing else.
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);
/// The longest of any duration, so that sums of them cannot overflow.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
/// Stores may compare revisions as doubles.
const MAX_REVISION: u64 = (1 << 53) - 1;

/// The weight of a node.
pub(super) fn weight(weight: u32) -> Result<(), ConfigError> {
    if weight == 0 || weight > ABSURD {
        let instead = "use 1 to 1 000 000, 1 is usual";
        return Err(ConfigError::setting("weight", weight, instead));
    }
    Ok(())
}

/// The name of a key or a node.
pub(super) fn name(what: &'static str, name: &str) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let shown = format!("{name:?} ({} bytes)", name.len());
        return Err(ConfigError::setting(
            what,
            shown,
            "use 1 to 128 bytes without control characters",
        ));
    }
    Ok(())
}

/// What all nodes of a key agree on.
pub(super) fn settings(settings: &Settings) -> Result<(), ConfigError> {
    let refuse = |setting, value: &dyn fmt::Debug, instead| {
        Err(ConfigError::setting(
            setting,
            format_args!("{value:?}"),
            instead,
        ))
    };
    let Settings {
        heartbeat,
        ttl,
        margin,
        drain,
        ..
    } = *settings;
    if heartbeat < MIN_HEARTBEAT || heartbeat > MAX_DURATION {
        return refuse(
            "heartbeat",
            &heartbeat,
            "use 10 ms to 24 h; 500 ms is usual",
        );
    }
    if ttl <= heartbeat || ttl > MAX_DURATION {
        return refuse(
            "ttl",
            &ttl,
            "use more than the heartbeat, four times it is usual, and at most 24 h",
        );
    }
    if margin >= ttl {
        return refuse(
            "margin",
            &margin,
            "use less than the ttl, a tenth of it is usual",
        );
    }
    if margin.is_zero() {
        return refuse(
            "margin",
            &margin,
            "use more than zero, a tenth of the ttl is usual: clocks drift",
        );
    }
    if drain > MAX_DURATION {
        return refuse("drain", &drain, "use at most 24 h");
    }
    match settings.outage {
        Outage::Frozen { hold } | Outage::SafeShare { hold, .. }
            if hold.is_zero() || hold > MAX_DURATION =>
        {
            return refuse("outage hold", &hold, "use more than zero and at most 24 h");
        }
        Outage::SafeShare { slots: 0, .. } => {
            return refuse(
                "outage slots",
                &0,
                "use at least 1, or Outage::FailClosed to keep none",
            );
        }
        Outage::FailClosed
        | Outage::LocalOnly
        | Outage::Frozen { .. }
        | Outage::SafeShare { .. } => {}
    }
    let (min, max, initial) = (
        settings.min_limit,
        settings.max_limit,
        settings.initial_limit,
    );
    if min == 0 || min > max {
        return refuse(
            "limits",
            &(min, max),
            "use a minimum of 1 or more that is at most the maximum",
        );
    }
    if initial < min || initial > max {
        return refuse(
            "initial limit",
            &initial,
            "use one between the minimum and the maximum",
        );
    }
    if max > 1_000_000 {
        return refuse("limits", &(min, max), "use a maximum of at most 1 000 000");
    }
    if let Estimate::Fixed(limit) = settings.estimate
        && (limit == 0 || limit > 1_000_000)
    {
        return refuse(
            "estimate",
            &settings.estimate,
            "use a fixed limit of 1 to 1 000 000",
        );
    }
    if settings.revision > MAX_REVISION {
        return refuse(
            "revision",
            &settings.revision,
            "use less than 2^53; 0, 1, 2 .. or milliseconds are usual",
        );
    }
    Ok(())
}
