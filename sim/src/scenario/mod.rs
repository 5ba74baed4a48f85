//! A scenario: everything a run needs besides its seed, read from TOML and checked.

mod check;
mod file;
#[cfg(test)]
mod tests;

use crate::backend::Model;
use crate::engine::{Nanos, nanos, seconds};
use crate::load::{Bursts, Spread, Wave};
use crate::metrics::Metric;
use crate::profile::Profile;
use crate::random::Service;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tidegate::fleet::sim::Lie;

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) duration: Nanos,
    pub(crate) warmup: Nanos,
    pub(crate) seeds: Vec<u64>,
    pub(crate) slo: Nanos,
    pub(crate) backend: BackendSpec,
    pub(crate) nodes: usize,
    pub(crate) events: Vec<NodeEvent>,
    pub(crate) liars: Vec<Liar>,
    pub(crate) load: LoadSpec,
    pub(crate) network: NetworkSpec,
    pub(crate) limiter: LimiterSpec,
    pub(crate) expect: Vec<Expectation>,
}

#[derive(Clone, Debug)]
pub(crate) struct BackendSpec {
    pub(crate) model: Model,
    pub(crate) capacity: Profile,
    /// Mean service time without load, in nanoseconds, of the first class.
    pub(crate) latency: Profile,
    pub(crate) service: Service,
    /// The part of a service after which the head of the answer is sent.
    pub(crate) head: f64,
    /// A second class: its mean service time in nanoseconds, and its part of the requests.
    pub(crate) second: Option<(f64, Profile)>,
    pub(crate) queue: Option<u32>,
    pub(crate) stalls: Option<Stalls>,
    /// The part of the capacity that others take.
    pub(crate) tenant: Profile,
}

/// Everything stops for `length`, every `every`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stalls {
    pub(crate) every: Nanos,
    pub(crate) length: Nanos,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NodeChange {
    Join,
    Leave,
    Crash,
    Restart,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeEvent {
    pub(crate) at: Nanos,
    pub(crate) node: usize,
    pub(crate) change: NodeChange,
}

/// A node that reports `factor` times what is true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liar {
    pub(crate) node: usize,
    pub(crate) factor: f64,
    pub(crate) of: Lie,
}

#[derive(Clone, Debug)]
pub(crate) struct LoadSpec {
    /// In multiples of what the backend can do at time zero.
    pub(crate) level: Profile,
    pub(crate) spread: Spread,
    pub(crate) wave: Option<Wave>,
    pub(crate) bursts: Option<Bursts>,
    /// A closed loop: users who think for so long, on the mean, between requests.
    pub(crate) think: Option<Nanos>,
    pub(crate) timeout: Option<Nanos>,
    /// The parts of the classes, from critical to bulk.
    pub(crate) classes: Option<[f64; 4]>,
    /// The same of these nodes, instead.
    pub(crate) classes_of: Vec<(Vec<usize>, [f64; 4])>,
    pub(crate) retries: Option<Retries>,
    pub(crate) streams: Option<Streams>,
}

/// Requests that are answered by streams of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) part: f64,
    /// How long they are, on the mean.
    pub(crate) mean: Nanos,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    pub(crate) attempts: u32,
    /// Mean wait before the first; doubles.
    pub(crate) backoff: Nanos,
    /// Retries per request, at most, in the long run.
    pub(crate) budget: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct NetworkSpec {
    /// Round trip between a node and the backend: the nearest node's and the farthest's.
    pub(crate) backend: (Nanos, Nanos),
    /// Those of chosen nodes, instead.
    pub(crate) distances: BTreeMap<usize, Nanos>,
    /// Mean round trip between a node and the store.
    pub(crate) store: Profile,
    pub(crate) delay: Delay,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    /// This part of the messages is late by this much on the mean.
    pub(crate) late: (f64, Nanos),
    pub(crate) partitions: Vec<Partition>,
    pub(crate) detours: Vec<Detour>,
    pub(crate) store_events: Vec<(Nanos, StoreChange)>,
    /// Each node's clock is off by up to this much,
    pub(crate) clock_offset: Nanos,
    /// and runs wrong by up to so many millionths.
    pub(crate) clock_drift: f64,
    /// Those of chosen nodes, instead: nanoseconds, and millionths.
    pub(crate) clocks: BTreeMap<usize, (i64, f64)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delay {
    Constant,
    Exponential,
}

/// Requests of these nodes take longer to the backend for a while.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
    pub(crate) nodes: Vec<usize>,
    pub(crate) more: Nanos,
}

/// These nodes do not reach the store for a while, or it does not reach them.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
    /// All, if empty.
    pub(crate) nodes: Vec<usize>,
    /// What is lost alone; everything, if none.
    pub(crate) way: Option<Way>,
}

/// A way of messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    ToStore,
    ToNode,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StoreChange {
    /// Another server goes on with the data.
    Restart,
    /// The data is gone.
    Flush,
}

#[derive(Clone, Debug)]
pub(crate) struct LimiterSpec {
    pub(crate) name: String,
    /// `field=value;..`, as the fleet's settings are written.
    pub(crate) settings: String,
    /// What the limiters that must be told are told; the capacity at time zero if none.
    pub(crate) told: Option<f64>,
    /// The limit to begin with, of those that look for it.
    pub(crate) initial: Option<u32>,
    /// The longest wait for a slot.
    pub(crate) wait: Option<Nanos>,
}

#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    pub(crate) metric: Metric,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// Why a scenario cannot be run.
#[derive(Debug)]
pub struct ScenarioError {
    path: PathBuf,
    message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message.trim_end())
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, or has an unknown, missing or contradictory field: with its line.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let refuse = |message| ScenarioError {
            path: path.to_owned(),
            message,
        };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text).map_err(refuse)
    }

    /// Reads `text`, for the scenario `name`.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let file: file::File = toml::from_str(text).map_err(|error| error.to_string())?;
        check::scenario(name, file).map_err(|wrong| wrong.at_its_line(text))
    }

    /// Ends after so many seconds if it does not before; of which no more than the half is warm-up.
    pub fn cut(&mut self, seconds: f64) {
        self.duration = self.duration.min(nanos(seconds));
        self.warmup = self.warmup.min(self.duration / 2);
    }

    /// How long it lasts.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        seconds(self.duration)
    }

    /// Uses the limiter `name` with its defaults, of which nothing is expected.
    pub(crate) fn use_limiter(&mut self, name: &str) {
        self.limiter = LimiterSpec::named(name);
        self.expect.clear();
    }

    /// All that is not the limiter's or of no account to a run: of two scenarios with the same, the oracle's run is too.
    pub(crate) fn world(&self) -> String {
        let Self {
            name: _,
            duration,
            warmup,
            seeds: _,
            slo,
            backend,
            nodes,
            events,
            liars: _,
            load,
            network,
            limiter: _,
            expect: _,
        } = self;
        format!("{duration} {warmup} {slo} {backend:?} {nodes} {events:?} {load:?} {network:?}")
    }

    /// Requests a second that the backend can do at time zero.
    pub(crate) fn unit(&self) -> f64 {
        self.backend.effective(0) / self.backend.mean_latency(0) * 1e9
    }

    /// How many users of a closed loop make a load of `level` if everybody is answered without delay.
    pub(crate) fn users(&self, level: f64) -> u32 {
        let think = self.load.think.unwrap_or(0) as f64;
        let round = seconds((think + self.backend.mean_latency(0)) as Nanos);
        (level * self.unit() * round).round() as u32
    }

    /// What no request is quicker than, in nanoseconds, its way from the nearest node included.
    pub(crate) fn least_latency(&self) -> f64 {
        let nearest = (0..self.all_nodes()).map(|node| self.distance(node)).min();
        self.backend.head * self.backend.least_service() + nearest.unwrap_or(0) as f64
    }

    /// Mean round trip between nodes and backend.
    pub(crate) fn mean_distance(&self) -> f64 {
        let (near, far) = self.network.backend;
        if self.network.distances.is_empty() {
            return f64::midpoint(near as f64, far as f64);
        }
        let nodes = self.all_nodes();
        let sum: f64 = (0..nodes).map(|node| self.distance(node) as f64).sum();
        sum / nodes as f64
    }

    /// Round trip between `node` and the backend.
    pub(crate) fn distance(&self, node: usize) -> Nanos {
        let (near, far) = self.network.backend;
        let chosen = self.network.distances.get(&node).copied();
        chosen.unwrap_or_else(|| match self.all_nodes() as Nanos {
            1 => Nanos::midpoint(near, far),
            nodes => near + (far - near) * node as Nanos / (nodes - 1),
        })
    }

    /// How many in flight, on the way included, keep the backend just busy.
    pub(crate) fn knee(&self, now: Nanos) -> f64 {
        let backend = &self.backend;
        backend.effective(now) * (1.0 + self.mean_distance() / backend.mean_latency(now))
    }

    /// The highest node number ever in use, plus one.
    pub(crate) fn all_nodes(&self) -> usize {
        let joined = self.events.iter().map(|event| event.node + 1).max();
        self.nodes.max(joined.unwrap_or(0))
    }
}

impl NetworkSpec {
    /// Whether what goes `way` between `node` and the store is lost now.
    pub(crate) fn is_cut(&self, now: Nanos, node: usize, way: Way) -> bool {
        self.partitions.iter().any(|partition| {
            (partition.from..partition.until).contains(&now)
                && (partition.nodes.is_empty() || partition.nodes.contains(&node))
                && partition.way.is_none_or(|cut| cut == way)
        })
    }

    /// Whether a question of `node` to the store is not answered now.
    pub(crate) fn is_apart(&self, now: Nanos, node: usize) -> bool {
        [Way::ToStore, Way::ToNode]
            .into_iter()
            .any(|way| self.is_cut(now, node, way))
    }
}

impl BackendSpec {
    /// The capacity that is ours.
    pub(crate) fn effective(&self, now: Nanos) -> f64 {
        self.capacity.at(now) * (1.0 - self.tenant.at(now))
    }

    /// Mean service time without load, over the classes, in nanoseconds.
    pub(crate) fn mean_latency(&self, now: Nanos) -> f64 {
        let first = self.latency.at(now);
        match &self.second {
            Some((second, part)) => first + (second - first) * part.at(now),
            None => first,
        }
    }

    /// What no service time is below, at any time, in nanoseconds.
    fn least_service(&self) -> f64 {
        let first = self.latency.least();
        let mean = match &self.second {
            Some((second, part)) if part.least() >= 1.0 => *second,
            Some((second, part)) if part.greatest() > 0.0 => first.min(*second),
            _ => first,
        };
        mean * self.service.least()
    }

    /// When the knee or the latency takes a step.
    pub(crate) fn steps(&self) -> Vec<Nanos> {
        let mut steps: Vec<Nanos> = self
            .capacity
            .changes()
            .chain(self.tenant.changes())
            .collect();
        steps.extend(self.latency.changes());
        steps.extend(self.second.iter().flat_map(|(_, part)| part.changes()));
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}
