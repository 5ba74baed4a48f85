//! The matrix: sizes of fleet and backend, loads, backends and service times, every two of which meet in some cell.
//!
//! `cells.txt` is the covering set, so that a result can be named by its cell; a test holds it to what it says.

mod bars;
#[cfg(test)]
mod tests;

use crate::metrics::Metric;
use crate::report::number;
use crate::scenario::{Expectation, Scenario};
use crate::suite::Case;
use std::fmt::Write as _;

const NODES: [usize; 5] = [1, 2, 8, 32, 128];
const LOADS: [&str; 6] = ["0.5", "0.95", "1.2", "2.0", "5.0", "10.0"];
/// The largest capacity crosses nodes and loads alone.
const CAPACITIES: [u32; 2] = [8, 100];
const LARGE: u32 = 2000;
const BACKENDS: [(&str, &str); 10] = [
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
const SERVICES: [(&str, &str); 5] = [
    ("deterministic", "\"deterministic\""),
    ("erlang-2", "\"erlang-2\""),
    ("exponential", "\"exponential\""),
    ("log-normal", "{ log-normal = 1.0 }"),
    ("pareto", "{ pareto = 2.2 }"),
];

/// The covering set: a cell a line, as `nodes capacity load backend service`.
const COVERING: &str = include_str!("cells.txt");

/// A cell, by places in the lists above.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cell {
    nodes: usize,
    capacity: u32,
    load: &'static str,
    backend: (&'static str, &'static str),
    service: (&'static str, &'static str),
}

/// Which cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    Covering,
    Full,
}

impl Cell {
    fn read(line: &'static str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [nodes, capacity, load, backend, service] = words[..] else {
            return None;
        };
        Some(Self {
            nodes: nodes.parse().ok().filter(|nodes| NODES.contains(nodes))?,
            capacity: capacity.parse().ok()?,
            load: LOADS.into_iter().find(|known| *known == load)?,
            backend: BACKENDS.into_iter().find(|(known, _)| *known == backend)?,
            service: SERVICES.into_iter().find(|(known, _)| *known == service)?,
        })
    }

    fn name(self) -> String {
        let Self {
            nodes,
            capacity,
            load,
            backend,
            service,
        } = self;
        format!("N={nodes} C={capacity} {load}x {} {}", backend.0, service.0)
    }

    fn scenario(self, seeds: u64, limiter: &str) -> Scenario {
        let Self {
            nodes,
            capacity,
            load,
            backend,
            service,
        } = self;
        // A large backend sees enough requests in a short time; until then the limit has a hundredfold to grow.
        let (duration, warmup) = if capacity == LARGE {
            (32, 20)
        } else {
            (45, 20)
        };
        let latency = if capacity == 8 { 20 } else { 50 };
        let far = if backend.0 == "far" {
            "[0.5, 20]"
        } else {
            "[0.5, 2]"
        };
        let text = format!(
            "duration = {duration}\nwarmup = {warmup}\n\
             [backend]\ncapacity = {capacity}\nlatency_ms = {latency}\nservice = {}\n{}\n\
             [nodes]\ncount = {nodes}\n[load]\nlevel = {load}\n[network]\nbackend_ms = {far}\n",
            service.1, backend.1
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

    /// Fewer than two slots a node: the bars are not meant for it.
    fn is_narrow(self) -> bool {
        (self.capacity as usize) < 2 * self.nodes
    }
}

fn cells(extent: Extent) -> Vec<Cell> {
    if extent == Extent::Covering {
        return COVERING.lines().filter_map(Cell::read).collect();
    }
    let mut cells = large();
    for capacity in CAPACITIES {
        for nodes in NODES {
            for load in LOADS {
                for backend in BACKENDS {
                    cells.extend(SERVICES.map(|service| Cell {
                        nodes,
                        capacity,
                        load,
                        backend,
                        service,
                    }));
                }
            }
        }
    }
    cells
}

fn large() -> Vec<Cell> {
    let cell = |nodes| {
        LOADS.map(|load| Cell {
            nodes,
            capacity: LARGE,
            load,
            backend: BACKENDS[0],
            service: SERVICES[2],
        })
    };
    NODES.into_iter().flat_map(cell).collect()
}

/// What is run beside `limiter` where there are fewer than two slots a node.
const BESIDE: &str = "hard-shares";

/// The cells as scenarios, under `limiter`; directly after one with fewer than two slots a node, the same under hard
/// shares.
pub(crate) fn scenarios(extent: Extent, seeds: u64, limiter: &str) -> Vec<Scenario> {
    let both = |cell: Cell| {
        let beside = cell.is_narrow() && limiter != BESIDE;
        let beside = beside.then(|| cell.scenario(seeds, BESIDE));
        std::iter::once(cell.scenario(seeds, limiter)).chain(beside)
    };
    cells(extent).into_iter().flat_map(both).collect()
}

/// Whether every bar is reached that some of the cells are meant for, and everything is as the scenarios expect: of
/// cells that no promise is broken. `cases` as for [`summary`].
pub(crate) fn is_as_expected(extent: Extent, cases: &[Case]) -> bool {
    let expected = cases.iter().all(|case| case.disappointments().is_empty());
    expected && bars::are_met(&wide(cells(extent), cases))
}

/// Those of the cells' cases, which are in the order of the cells, that have two slots a node or more.
fn wide(cells: Vec<Cell>, cases: &[Case]) -> Vec<(Cell, &Case)> {
    let is_wide = |case: &Case| case.scenario.knee(0) >= 2.0 * case.scenario.nodes as f64;
    let both = cells.into_iter().zip(cases);
    both.filter(|(_, case)| is_wide(case)).collect()
}

/// Mean and worst over the cells that have two slots a node or more, and the bars; `cases` are those of the cells, in
/// their order, and perhaps others after them.
pub(crate) fn summary(extent: Extent, cases: &[Case]) -> String {
    let wide = wide(cells(extent), cases);
    let mut summary = bars::table(&wide);
    let wide: Vec<&Case> = wide.into_iter().map(|(_, case)| case).collect();
    summary.push('\n');
    let _ = writeln!(
        summary,
        "{} cells with two slots a node or more: mean, and the worst cell",
        wide.len()
    );
    for metric in [
        Metric::Goodput,
        Metric::P99,
        Metric::InFlightMean,
        Metric::InFlightMax,
        Metric::FalseRejects,
        Metric::Jain,
        Metric::LimitCv,
        Metric::Violations,
    ] {
        let value = |case: &&Case| case.mean().get(metric);
        let values: Vec<f64> = wide
            .iter()
            .map(value)
            .filter(|value| value.is_finite())
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let better = |a: &&&Case, b: &&&Case| {
            let order = value(a).total_cmp(&value(b));
            if metric.more_is_better() {
                order.reverse()
            } else {
                order
            }
        };
        let finite = wide.iter().filter(|case| value(case).is_finite());
        if let Some(worst) = finite.max_by(|a, b| better(a, b)) {
            let _ = writeln!(
                summary,
                "{:16} {:>8} {:>8}  {}",
                metric.name(),
                number(metric, mean),
                number(metric, value(worst)),
                worst.scenario.name
            );
        }
    }
    summary
}
