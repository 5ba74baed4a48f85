//! A cell of the matrix: a size of fleet and backend, what comes, a backend and its service times, as a scenario.

use crate::metrics::Metric;
use crate::scenario::{Expectation, Scenario};

pub(super) const NODES: [usize; 5] = [1, 2, 8, 32, 128];
/// What comes: so many times the load that the backend can take, or one of [`CHANGES`].
pub(super) const LOADS: [&str; 6] = ["0.5", "0.95", "1.2", "2.0", "5.0", "10.0"];
/// Under more load than the backend can take: its capacity halves or doubles, its latency doubles, nine tenths of the load
/// are a tenth of the nodes' or one's, a node joins.
pub(super) const CHANGES: [&str; 5] = ["halves", "doubles", "slower", "skewed", "joins"];
/// The largest capacity crosses nodes and what comes alone.
pub(super) const CAPACITIES: [u32; 2] = [8, 100];
pub(super) const LARGE: u32 = 2000;
pub(super) const BACKENDS: [(&str, &str); 10] = [
    ("fifo", ""),
    ("sharing", "model = \"sharing\""),
    ("linear", "model = { linear = 2.0 }"),
    ("exponential", "model = { exponential = 1.5 }"),
    (
        "usl",
        "model = { usl = { contention = 0.5, coherency = 0.5 } }",
    ),
    ("queue-503", "queue = 20"),
    (
        "two-class",
        "second_class = { latency_ms = 200, part = 0.1 }",
    ),
    ("stalls", "stalls = { every = 10, length = 0.2 }"),
    ("tenant", "tenant = 0.3"),
    ("far", ""),
];
pub(super) const SERVICES: [(&str, &str); 5] = [
    ("deterministic", "\"deterministic\""),
    ("erlang-2", "\"erlang-2\""),
    ("exponential", "\"exponential\""),
    ("log-normal", "{ log-normal = 1.0 }"),
    ("pareto", "{ pareto = 2.2 }"),
];

/// A cell, by what is in the lists above.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cell {
    pub(super) nodes: usize,
    /// The largest that it has.
    pub(super) capacity: u32,
    /// One of the loads or of the changes.
    pub(super) course: &'static str,
    pub(super) backend: (&'static str, &'static str),
    pub(super) service: (&'static str, &'static str),
}

/// What a scenario says of one course.
struct Course {
    capacity: String,
    latency: String,
    level: &'static str,
    nodes: String,
    spread: String,
    seconds: u32,
}

/// What is before a change, from the start of a scenario.
const WARMUP: u32 = 20;

impl Cell {
    pub(super) fn read(line: &'static str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [nodes, capacity, course, backend, service] = words[..] else {
            return None;
        };
        let mut courses = LOADS.into_iter().chain(CHANGES);
        Some(Self {
            nodes: nodes.parse().ok().filter(|nodes| NODES.contains(nodes))?,
            capacity: capacity.parse().ok()?,
            course: courses.find(|known| *known == course)?,
            backend: BACKENDS.into_iter().find(|(known, _)| *known == backend)?,
            service: SERVICES.into_iter().find(|(known, _)| *known == service)?,
        })
    }

    /// It has the same load all the time.
    pub(super) fn is_steady(self) -> bool {
        !CHANGES.contains(&self.course)
    }

    pub(super) fn name(self) -> String {
        let Self {
            nodes, capacity, ..
        } = self;
        let times = if self.is_steady() { "x" } else { "" };
        let (course, backend, service) = (self.course, self.backend.0, self.service.0);
        format!("N={nodes} C={capacity} {course}{times} {backend} {service}")
    }

    fn course(self) -> Course {
        let (nodes, capacity) = (self.nodes, self.capacity);
        let latency = if capacity == 8 { 20 } else { 50 };
        // A large backend sees enough requests in a short time; until then the limit has a hundredfold to grow.
        let is_large = capacity == LARGE;
        let at = if is_large { 25 } else { 32 };
        let step = |from: u32, to: u32| {
            format!("[{{ at = 0, value = {from} }}, {{ at = {at}, value = {to} }}]")
        };
        let steady = Course {
            capacity: capacity.to_string(),
            latency: latency.to_string(),
            level: "2.0",
            nodes: String::new(),
            spread: String::new(),
            seconds: at + 20,
        };
        match self.course {
            "halves" => Course {
                capacity: step(capacity, capacity / 2),
                ..steady
            },
            "doubles" => Course {
                capacity: step(capacity / 2, capacity),
                level: "4.0",
                ..steady
            },
            "slower" => Course {
                latency: step(latency, 2 * latency),
                level: "2.5",
                ..steady
            },
            "joins" => Course {
                nodes: format!("events = [{{ at = {at}, join = 1 }}]"),
                seconds: at + 10,
                ..steady
            },
            // One node has all of it anyway.
            "skewed" if nodes == 1 => steady,
            "skewed" => Course {
                spread: format!(
                    "spread = {{ skew = {{ part = 0.9, of = {} }} }}",
                    (1.0 / nodes as f64).max(0.1)
                ),
                ..steady
            },
            load => Course {
                level: load,
                seconds: if is_large { 32 } else { 45 },
                ..steady
            },
        }
    }

    pub(super) fn scenario(self, seeds: u64, limiter: &str) -> Scenario {
        let Course {
            capacity,
            latency,
            level,
            nodes,
            spread,
            seconds,
        } = self.course();
        let far = if self.backend.0 == "far" {
            "[0.5, 20]"
        } else {
            "[0.5, 2]"
        };
        // Twice the latency is late for nobody.
        let late = if self.course == "slower" {
            let first = if self.capacity == 8 { 20 } else { 50 };
            format!("slo_ms = {}\n", 8 * first)
        } else {
            String::new()
        };
        let text = format!(
            "duration = {seconds}\nwarmup = {WARMUP}\n{late}\
             [backend]\ncapacity = {capacity}\nlatency_ms = {latency}\nservice = {}\n{}\n\
             [nodes]\ncount = {}\n{nodes}\n[load]\nlevel = {level}\n{spread}\n\
             [network]\nbackend_ms = {far}\n",
            self.service.1, self.backend.1, self.nodes
        );
        let mut scenario =
            Scenario::parse(&self.name(), &text).expect("every cell is read by a test");
        scenario.seeds = (1..=seeds).collect();
        scenario.use_limiter(limiter);
        scenario.expect = vec![Expectation {
            metric: Metric::Violations,
            min: None,
            max: Some(0.0),
        }];
        scenario
    }

    /// Fewer than two slots a node, at some time: the bars are not meant for it.
    pub(super) fn is_narrow(self) -> bool {
        let least = match self.course {
            "halves" | "doubles" => self.capacity / 2,
            _ => self.capacity,
        };
        let nodes = self.nodes + usize::from(self.course == "joins");
        (least as usize) < 2 * nodes
    }
}
