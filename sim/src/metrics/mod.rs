//! What is measured, by name. `meter` listens to a run, `judge` makes numbers of what it heard.

mod judge;
mod meter;

pub(crate) use self::judge::{mean, water_level};
pub(crate) use self::meter::Meter;

use crate::engine::{MS, Nanos};
use serde::Serialize;

/// What is told over time is told in bins of this length.
pub(crate) const BIN: Nanos = 100 * MS;

/// Where numbers of several scenarios are put together, a seed that has not settled when its run ends counts as this, in
/// seconds.
pub(crate) const NEVER: f64 = 20.0;

/// A bin of time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Bin {
    /// Seconds, its end.
    pub(crate) time: f64,
    pub(crate) capacity: f64,
    pub(crate) limit: f64,
    pub(crate) shares: f64,
    /// Mean.
    pub(crate) in_flight: f64,
    pub(crate) in_flight_max: u32,
    pub(crate) at_backend: usize,
    /// Served within the SLO, a second.
    pub(crate) goodput: f64,
    pub(crate) p99_ms: f64,
    pub(crate) refused: u32,
}

/// The results of a run. Times and counts are relative where that lets runs be compared.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) values: Values,
    pub(crate) bins: Vec<Bin>,
    pub(crate) events: u64,
}

/// A number per metric; NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values([f64; Metric::ALL.len()]);

macro_rules! metrics {
    ($($variant:ident, $name:literal, $short:literal, $about:literal;)+) => {
        /// What is measured.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Metric { $(#[doc = $about] $variant,)+ }

        impl Metric {
            pub(crate) const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The head of its column.
            pub(crate) const fn short(self) -> &'static str {
                match self { $(Self::$variant => $short,)+ }
            }

            pub(crate) const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)+ }
            }
        }
    };
}

metrics! {
    Goodput, "goodput", "good/O", "Served within the SLO, divided by what the omniscient oracle serves of the same load";
    Rate, "rate", "good/s", "Served within the SLO, a second";
    P50, "p50", "p50/u", "Median latency of the admitted, divided by that of the same requests without load";
    P99, "p99", "p99/u", "The same at 99 %";
    P999, "p999", "p999/u", "The same at 99.9 %";
    InFlightMean, "in_flight_mean", "if mean", "Mean of in-flight / capacity";
    InFlightMax, "in_flight_max", "if max", "Maximum of in-flight / capacity, outside of 5 s after a step of the backend";
    InFlightP999, "in_flight_p999", "if p999", "In-flight / capacity that is exceeded 0.1 % of the time";
    Overshoot, "overshoot", "over s", "Integral of in-flight above capacity, in capacities times seconds, per minute";
    Settle, "settle", "settle", "Seconds after a step until three half seconds of in-flight / capacity, and the 5 s that begin with them on the mean, are within 10 %, or a slot, of where it ends; the worst step";
    FalseRejects, "false_rejects", "false", "Refused though there was room at the backend, divided by all who asked";
    Rejects, "rejects", "reject", "Refused, divided by all who asked";
    Jain, "jain", "jain", "Jain's index of served / max-min share over nodes";
    LimitMean, "limit_mean", "L mean", "Mean of limit / capacity";
    LimitCv, "limit_cv", "L cv", "Standard deviation of limit / capacity over its mean, outside of 5 s after a step";
    LimitLowest, "limit_lowest", "L low", "The lowest mean over a second of limit / capacity";
    Cut, "cut", "cut", "The deepest cut of the limit after a step, as a second's mean, as part of its mean in the 5 s before";
    CutTime, "cut_time", "cut s", "Seconds after a step in which the limit was below 75 % of that; of the worst step";
    Ramp, "ramp", "ramp ms", "Milliseconds until a node that came later has 90 % of an equal share of the limit, in whole slots; the slowest";
    RampPart, "ramp_part", "ramp/d", "The same, divided by what a slot takes that must come free first and be told of: the 99th percentile of the latency without load, and seven round trips to the store";
    Reclaim, "reclaim", "reclaim", "Seconds until the slots of a node that died may be another's; the slowest";
    Starved, "starved", "starve", "The longest that a node refused everybody, in seconds";
    Undealt, "undealt", "undealt", "The part of the limit that no node had, in bins of 0.1 s in which somebody was refused";
    Wanted, "wanted", "want/d", "The longest that somebody was refused, again and again, while slots were nobody's, divided by the 99th percentile of the latency without load and four round trips to the store";
    Critical, "critical", "crit", "Admitted, of the critical who asked";
    Default, "default", "deflt", "Admitted, of the default class who asked";
    Sheddable, "sheddable", "shed", "Admitted, of the sheddable who asked";
    Bulk, "bulk", "bulk", "Admitted, of the bulk who asked";
    Messages, "messages", "msg/s", "Messages to and from the store, a second";
    Bytes, "bytes", "B/s", "Bytes of these, estimated, a second";
    Violations, "violations", "broken", "Promises broken";
}

impl Metric {
    pub(crate) const fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::Goodput
                | Self::Rate
                | Self::Jain
                | Self::LimitLowest
                | Self::Critical
                | Self::Default
                | Self::Sheddable
                | Self::Bulk
        )
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

impl Values {
    pub(crate) const NONE: Self = Self([f64::NAN; Metric::ALL.len()]);

    pub(crate) const fn get(&self, metric: Metric) -> f64 {
        self.0[metric as usize]
    }

    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.0[metric as usize] = value;
    }
}
