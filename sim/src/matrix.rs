//! The matrix: sizes of fleet and backend, loads, backends and service times, every two of which meet in some cell.
//!
//! `cells.txt` is the covering set, so that a result can be named by its cell; a test holds it to what it says.

mod bars;

use crate::metrics::Metric;
use crate::report::number;
use crate::scenario::Scenario;
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

/// The cells as scenarios, under `limiter`; and those with fewer than two slots a node under hard shares too.
pub(crate) fn scenarios(extent: Extent, seeds: u64, limiter: &str) -> Vec<Scenario> {
    let cells = cells(extent);
    let narrow = cells.iter().filter(|cell| cell.is_narrow());
    let narrow = narrow.map(|cell| cell.scenario(seeds, "hard-shares"));
    cells
        .iter()
        .map(|cell| cell.scenario(seeds, limiter))
        .chain(narrow)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The cell as places in its lists.
    fn places(cell: Cell) -> [usize; 5] {
        let place = |found: Option<usize>| found.expect("a cell is of these lists");
        [
            place(NODES.iter().position(|nodes| *nodes == cell.nodes)),
            place(
                CAPACITIES
                    .iter()
                    .position(|capacity| *capacity == cell.capacity),
            ),
            place(LOADS.iter().position(|load| *load == cell.load)),
            place(BACKENDS.iter().position(|backend| *backend == cell.backend)),
            place(SERVICES.iter().position(|service| *service == cell.service)),
        ]
    }

    fn pairs(places: [usize; 5]) -> impl Iterator<Item = [usize; 4]> {
        (0..5).flat_map(move |a| (a + 1..5).map(move |b| [a, places[a], b, places[b]]))
    }

    #[test]
    fn every_line_is_a_cell_and_every_two_values_meet() {
        let cells = cells(Extent::Covering);
        assert_eq!(cells.len(), COVERING.lines().count(), "a line is no cell");
        let (large_cells, small): (Vec<Cell>, Vec<Cell>) =
            cells.into_iter().partition(|cell| cell.capacity == LARGE);
        assert_eq!(large_cells, large());
        let met: BTreeSet<[usize; 4]> = small
            .into_iter()
            .flat_map(|cell| pairs(places(cell)))
            .collect();
        let sizes = [
            NODES.len(),
            CAPACITIES.len(),
            LOADS.len(),
            BACKENDS.len(),
            SERVICES.len(),
        ];
        let all: usize = (0..5)
            .flat_map(|a| (a + 1..5).map(move |b| sizes[a] * sizes[b]))
            .sum();
        assert_eq!(met.len(), all);
    }

    /// Every third of those that the bars are meant for, one seed each: the mean of a part is within a margin of what
    /// five seeds of all are held to.
    #[test]
    fn a_part_of_the_matrix_keeps_its_promises_and_its_bars() {
        const FLOOR: f64 = 0.85;
        let wide = cells(Extent::Covering)
            .into_iter()
            .filter(|cell| !cell.is_narrow() && cell.capacity != LARGE);
        let cells: Vec<Cell> = wide.step_by(3).collect();
        let scenarios = cells.iter().map(|cell| cell.scenario(1, "tidegate"));
        let cases = crate::suite::run(scenarios.collect(), || {});
        for case in &cases {
            let (name, mean) = (&case.scenario.name, case.mean());
            assert_eq!(mean.get(Metric::Violations), 0.0, "{name}");
            let goodput = mean.get(Metric::Goodput);
            assert!(goodput >= FLOOR, "{name}: {goodput}");
        }
        let wide = super::wide(cells, &cases);
        println!("{}", bars::table(&wide));
        for bar in &bars::BARS {
            // The largest fleet has two slots a node in the largest backend only, which is not in this part.
            let Some(judged) = bar.judge(&wide) else {
                assert_eq!(bar.name, "goodput, 2x to 10x, N = 128");
                continue;
            };
            let margin = match bar.metric {
                Metric::FalseRejects => 0.004,
                Metric::InFlightMax => 0.1,
                _ => 0.03,
            };
            let (name, mean) = (bar.name, judged.mean);
            assert!(
                bar.is_met(mean, margin),
                "{name}: {mean} of {}",
                judged.cells
            );
        }
    }

    #[test]
    fn every_cell_is_a_scenario() {
        for cell in cells(Extent::Full) {
            let scenario = cell.scenario(5, "tidegate");
            assert_eq!(scenario.nodes, cell.nodes);
        }
    }
}
