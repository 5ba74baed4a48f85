//! What a scenario file says, field by field, before it is checked.

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) about: Option<String>,
    pub(super) duration: Spanned<f64>,
    pub(super) warmup: Option<Spanned<f64>>,
    pub(super) seeds: Option<Spanned<Vec<u64>>>,
    pub(super) slo_ms: Option<Spanned<f64>>,
    pub(super) backend: Backend,
    #[serde(default)]
    pub(super) nodes: Nodes,
    pub(super) load: Load,
    #[serde(default)]
    pub(super) network: Network,
    pub(super) limiter: Option<Spanned<Limiter>>,
    #[serde(default)]
    pub(super) expect: BTreeMap<Spanned<String>, Spanned<Bounds>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    pub(super) model: Option<Spanned<Model>>,
    pub(super) capacity: Spanned<Over>,
    pub(super) latency_ms: Spanned<Over>,
    pub(super) service: Option<Spanned<Service>>,
    pub(super) head: Option<Spanned<f64>>,
    pub(super) second_class: Option<SecondClass>,
    pub(super) queue: Option<u32>,
    pub(super) stalls: Option<Spanned<Stalls>>,
    pub(super) tenant: Option<Spanned<Over>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Model {
    Fifo,
    Sharing,
    Linear(f64),
    Exponential(f64),
    Usl(Usl),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usl {
    pub(super) contention: f64,
    pub(super) coherency: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Service {
    Deterministic,
    #[serde(rename = "erlang-2")]
    Erlang2,
    Exponential,
    LogNormal(f64),
    Pareto(f64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecondClass {
    pub(super) latency_ms: Spanned<f64>,
    pub(super) part: Spanned<Over>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stalls {
    pub(super) every: f64,
    pub(super) length: f64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nodes {
    pub(super) count: Option<Spanned<usize>>,
    #[serde(default)]
    pub(super) events: Vec<Spanned<NodeEvent>>,
    #[serde(default)]
    pub(super) liars: Vec<Spanned<Liar>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Liar {
    pub(super) node: usize,
    pub(super) factor: f64,
    #[serde(default)]
    pub(super) of: Lie,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Lie {
    #[default]
    Work,
    Completions,
    InFlight,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeEvent {
    pub(super) at: f64,
    pub(super) join: Option<usize>,
    pub(super) leave: Option<Vec<usize>>,
    pub(super) crash: Option<Vec<usize>>,
    pub(super) restart: Option<Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub(super) level: Spanned<Over>,
    pub(super) spread: Option<Spanned<Spread>>,
    pub(super) wave: Option<Spanned<Wave>>,
    pub(super) bursts: Option<Spanned<Bursts>>,
    pub(super) think_ms: Option<Spanned<f64>>,
    pub(super) timeout_ms: Option<Spanned<f64>>,
    pub(super) retries: Option<Spanned<Retries>>,
    pub(super) streams: Option<Spanned<Streams>>,
    pub(super) classes: Option<Spanned<Classes>>,
    #[serde(default)]
    pub(super) classes_of: Vec<Spanned<ClassesOf>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Streams {
    pub(super) part: f64,
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassesOf {
    pub(super) nodes: Vec<usize>,
    pub(super) classes: Spanned<Classes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Classes {
    #[serde(default)]
    pub(super) critical: f64,
    #[serde(default)]
    pub(super) default: f64,
    #[serde(default)]
    pub(super) sheddable: f64,
    #[serde(default)]
    pub(super) bulk: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Spread {
    Equal,
    Skew(Skew),
    Zipf(f64),
    Hot(Hot),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Skew {
    pub(super) part: f64,
    pub(super) of: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hot {
    pub(super) part: f64,
    pub(super) every: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wave {
    pub(super) period: f64,
    pub(super) depth: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bursts {
    pub(super) on: f64,
    pub(super) off: f64,
    pub(super) factor: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retries {
    pub(super) attempts: u32,
    pub(super) backoff_ms: f64,
    pub(super) budget: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) backend_ms: Option<Spanned<Vec<f64>>>,
    #[serde(default)]
    pub(super) distances: Vec<Spanned<Distance>>,
    pub(super) store_ms: Option<Spanned<Over>>,
    pub(super) delay: Option<Delay>,
    pub(super) loss: Option<Spanned<f64>>,
    pub(super) duplication: Option<Spanned<f64>>,
    pub(super) late: Option<Spanned<Late>>,
    #[serde(default)]
    pub(super) partitions: Vec<Spanned<Partition>>,
    #[serde(default)]
    pub(super) detours: Vec<Spanned<Detour>>,
    #[serde(default)]
    pub(super) store_events: Vec<Spanned<StoreEvent>>,
    pub(super) clock_offset_ms: Option<Spanned<f64>>,
    pub(super) clock_drift_ppm: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) clocks: Vec<Spanned<Clock>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Distance {
    pub(super) nodes: Vec<usize>,
    pub(super) ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clock {
    pub(super) nodes: Vec<usize>,
    #[serde(default)]
    pub(super) offset_ms: f64,
    #[serde(default)]
    pub(super) drift_ppm: f64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Delay {
    Constant,
    Exponential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Late {
    pub(super) part: f64,
    pub(super) ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Partition {
    pub(super) at: f64,
    pub(super) length: f64,
    pub(super) nodes: Option<Vec<usize>>,
    pub(super) way: Option<Way>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    Beats,
    Answers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detour {
    pub(super) at: f64,
    pub(super) length: f64,
    pub(super) nodes: Vec<usize>,
    pub(super) ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreEvent {
    pub(super) at: f64,
    pub(super) change: StoreChange,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum StoreChange {
    Restart,
    Flush,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limiter {
    pub(super) name: Option<Spanned<String>>,
    pub(super) settings: Option<Spanned<BTreeMap<String, Setting>>>,
    pub(super) told: Option<Spanned<f64>>,
    pub(super) initial: Option<Spanned<u32>>,
    pub(super) wait_ms: Option<Spanned<f64>>,
}

/// A number or a string, as the fleet's settings write it.
pub(super) struct Setting(pub(super) String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bounds {
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}

/// A number, or points of time, as (at, value, ramp).
pub(super) struct Over(pub(super) Vec<(f64, f64, f64)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    at: f64,
    value: f64,
    #[serde(default)]
    ramp: f64,
}

impl<'de> Deserialize<'de> for Over {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrPoints;

        impl<'de> Visitor<'de> for NumberOrPoints {
            type Value = Over;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or points as [{ at = 0, value = 1 }, ..]")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Over, E> {
                Ok(Over(vec![(0.0, value, 0.0)]))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Over, E> {
                self.visit_f64(value as f64)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, points: A) -> Result<Over, A::Error> {
                let points = Vec::<Point>::deserialize(SeqAccessDeserializer::new(points))?;
                let tuple = |point: Point| (point.at, point.value, point.ramp);
                Ok(Over(points.into_iter().map(tuple).collect()))
            }
        }

        deserializer.deserialize_any(NumberOrPoints)
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a string")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
                Ok(Setting(value.to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Setting, E> {
                Ok(Setting(value.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}
