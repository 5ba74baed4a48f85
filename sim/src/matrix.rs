//! The matrix: sizes of fleet and backend, loads and changes, backends and service times, every two of which meet in some
//! cell.
//!
//! `cells.txt` is the covering set, so that a result can be named by its cell; a test holds it to what it says.

mod bars;
mod cell;
#[cfg(test)]
mod tests;

use self::cell::{BACKENDS, CAPACITIES, CHANGES, Cell, LARGE, LOADS, NODES, SERVICES};
use crate::metrics::Metric;
use crate::report::number;
use crate::scenario::Scenario;
use crate::suite::Case;
use std::fmt::Write as _;

/// The covering set: a cell a line, as `nodes capacity course backend service`.
const COVERING: &str = include_str!("cells.txt");

/// Which cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    Covering,
    Full,
}

/// The cells that are run, in their order.
#[derive(Debug)]
pub(crate) struct Matrix(Vec<Cell>);

impl Matrix {
    /// Of `extent` the cells whose names contain one of the words; without words all.
    ///
    /// # Errors
    /// If a word is in no cell's name.
    pub(crate) fn of(extent: Extent, words: &[String]) -> Result<Self, String> {
        let mut cells = cells(extent);
        for word in words {
            if !cells.iter().any(|cell| cell.name().contains(word)) {
                let like = cells[0].name();
                return Err(format!(
                    "no cell's name contains `{word}`; they are as `{like}`"
                ));
            }
        }
        cells.retain(|cell| {
            let name = cell.name();
            words.is_empty() || words.iter().any(|word| name.contains(word))
        });
        Ok(Self(cells))
    }

    /// The cells as scenarios, under `limiter`; directly after one with fewer than two slots a node, the same under hard
    /// shares.
    pub(crate) fn scenarios(&self, seeds: u64, limiter: &str) -> Vec<Scenario> {
        let both = |cell: &Cell| {
            let beside = cell.is_narrow() && limiter != BESIDE;
            let beside = beside.then(|| cell.scenario(seeds, BESIDE));
            std::iter::once(cell.scenario(seeds, limiter)).chain(beside)
        };
        self.0.iter().flat_map(both).collect()
    }

    /// Whether every bar is reached that some of the cells are meant for, and everything is as the scenarios expect: of
    /// cells that no promise is broken. `cases` as for [`summary`](Self::summary).
    pub(crate) fn is_as_expected(&self, cases: &[Case]) -> bool {
        let expected = cases.iter().all(|case| case.disappointments().is_empty());
        expected && bars::are_met(&self.wide(cases))
    }

    /// Those of the cells' cases, which are in the order of the cells, that have two slots a node or more.
    fn wide<'a>(&self, cases: &'a [Case]) -> Vec<(Cell, &'a Case)> {
        let both = self.0.iter().copied().zip(cases);
        both.filter(|(cell, _)| !cell.is_narrow()).collect()
    }

    /// Mean and worst over the cells that have two slots a node or more, the bars, and which cells miss them; `cases` are
    /// those of the cells, in their order, and perhaps others after them.
    pub(crate) fn summary(&self, cases: &[Case]) -> String {
        let wide = self.wide(cases);
        let mut summary = bars::table(&wide);
        summary.push('\n');
        summary.push_str(&bars::misses(&wide));
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
                .filter(|value| !value.is_nan())
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
            let known = wide.iter().filter(|case| !value(case).is_nan());
            if let Some(worst) = known.max_by(|a, b| better(a, b)) {
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
}

fn cells(extent: Extent) -> Vec<Cell> {
    if extent == Extent::Covering {
        return COVERING.lines().filter_map(Cell::read).collect();
    }
    let mut cells = large();
    for capacity in CAPACITIES {
        for nodes in NODES {
            for course in LOADS.into_iter().chain(CHANGES) {
                for backend in BACKENDS {
                    cells.extend(SERVICES.map(|service| Cell {
                        nodes,
                        capacity,
                        course,
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
        let courses = LOADS.into_iter().chain(CHANGES);
        courses.map(move |course| Cell {
            nodes,
            capacity: LARGE,
            course,
            backend: BACKENDS[0],
            service: SERVICES[2],
        })
    };
    NODES.into_iter().flat_map(cell).collect()
}

/// What is run beside `limiter` where there are fewer than two slots a node.
const BESIDE: &str = "hard-shares";
