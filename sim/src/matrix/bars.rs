//! The bars of the matrix: what the mean over the cells that a bar is meant for has to reach.

use super::Cell;
use crate::metrics::Metric;
use crate::report::number;
use crate::suite::Case;
use std::fmt::Write as _;

/// A bar, and the cells that it is meant for.
pub(super) struct Bar {
    pub(super) name: &'static str,
    pub(super) metric: Metric,
    /// The least, of what is better when it is more, or the most.
    pub(super) bar: f64,
    pub(super) is_meant_for: fn(Cell) -> bool,
}

/// What a bar came to.
pub(super) struct Judged<'a> {
    pub(super) mean: f64,
    /// How many cells it is meant for, and how many of them are at it themselves.
    pub(super) cells: usize,
    pub(super) met: usize,
    pub(super) worst: &'a str,
    pub(super) worst_value: f64,
}

/// Backends that get worse with what is in flight, not only slower by queueing.
fn degrades(cell: Cell) -> bool {
    cell.is_steady() && matches!(cell.backend.0, "linear" | "exponential" | "usl")
}

/// The backend gets more than it can do, all the time.
fn is_overloaded(cell: Cell) -> bool {
    cell.is_steady() && !matches!(cell.course, "0.5" | "0.95")
}

/// The bars hold at twice the capacity and more.
fn is_far_over(cell: Cell) -> bool {
    is_overloaded(cell) && cell.course != "1.2"
}

/// One node has all of it anyway.
fn is_skewed(cell: Cell) -> bool {
    cell.course == "skewed" && cell.nodes > 1
}

pub(super) const BARS: [Bar; 16] = [
    Bar {
        name: "goodput, 2x to 10x, N <= 8",
        metric: Metric::Goodput,
        bar: 0.97,
        is_meant_for: |cell| cell.nodes <= 8 && is_far_over(cell) && !degrades(cell),
    },
    Bar {
        name: "goodput, 2x to 10x, N = 32",
        metric: Metric::Goodput,
        bar: 0.95,
        is_meant_for: |cell| cell.nodes == 32 && is_far_over(cell) && !degrades(cell),
    },
    Bar {
        name: "goodput, 2x to 10x, N = 128",
        metric: Metric::Goodput,
        bar: 0.93,
        is_meant_for: |cell| cell.nodes == 128 && is_far_over(cell) && !degrades(cell),
    },
    Bar {
        name: "goodput, backend that degrades",
        metric: Metric::Goodput,
        bar: 0.93,
        is_meant_for: degrades,
    },
    Bar {
        name: "p99, 1.2x and more",
        metric: Metric::P99,
        bar: 1.15,
        is_meant_for: is_overloaded,
    },
    Bar {
        name: "in flight, mean",
        metric: Metric::InFlightMean,
        bar: 1.10,
        is_meant_for: is_overloaded,
    },
    Bar {
        name: "in flight, most",
        metric: Metric::InFlightMax,
        bar: 1.30,
        is_meant_for: is_overloaded,
    },
    Bar {
        name: "false rejects, 0.5x",
        metric: Metric::FalseRejects,
        bar: 0.001,
        is_meant_for: |cell| cell.course == "0.5",
    },
    Bar {
        name: "settle, capacity halves",
        metric: Metric::Settle,
        bar: 3.0,
        is_meant_for: |cell| cell.course == "halves",
    },
    Bar {
        name: "settle, capacity doubles",
        metric: Metric::Settle,
        bar: 5.0,
        is_meant_for: |cell| cell.course == "doubles",
    },
    Bar {
        name: "cut, latency doubles",
        metric: Metric::Cut,
        bar: 0.25,
        is_meant_for: |cell| cell.course == "slower",
    },
    Bar {
        name: "goodput, skewed",
        metric: Metric::Goodput,
        bar: 0.96,
        is_meant_for: is_skewed,
    },
    Bar {
        name: "in flight, mean, skewed",
        metric: Metric::InFlightMean,
        bar: 1.10,
        is_meant_for: is_skewed,
    },
    Bar {
        // Seven round trips, and the drain: that which is set, a second,
        name: "a node that joins, ms",
        metric: Metric::Ramp,
        bar: 1007.0,
        is_meant_for: |cell| cell.course == "joins",
    },
    Bar {
        // and that of which the bar speaks, until what runs has ended.
        name: "a node that joins, / drain",
        metric: Metric::RampPart,
        bar: 1.0,
        is_meant_for: |cell| cell.course == "joins",
    },
    Bar {
        // Four round trips, and a drain (I5).
        name: "free slots, wanted, / drain",
        metric: Metric::Wanted,
        bar: 1.0,
        is_meant_for: |_| true,
    },
];

impl Bar {
    /// Whether `value` is at the bar, or within `margin` of it.
    pub(super) fn is_met(&self, value: f64, margin: f64) -> bool {
        if self.metric.more_is_better() {
            value >= self.bar - margin
        } else {
            value <= self.bar + margin
        }
    }

    /// What the cells that it is meant for came to, and their names; the worst first.
    fn meant<'a>(&self, cases: &[(Cell, &'a Case)]) -> Vec<(f64, &'a str)> {
        let mut meant: Vec<(f64, &'a str)> = cases
            .iter()
            .filter(|(cell, _)| (self.is_meant_for)(*cell))
            .map(|(_, case)| (case.counted(self.metric), &*case.scenario.name))
            .collect();
        meant.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !self.metric.more_is_better() {
            meant.reverse();
        }
        meant
    }

    /// Over the cells that it is meant for; `None` without one.
    pub(super) fn judge<'a>(&self, cases: &[(Cell, &'a Case)]) -> Option<Judged<'a>> {
        let meant = self.meant(cases);
        let (worst_value, worst) = *meant.first()?;
        let values = meant.iter().map(|(value, _)| *value);
        Some(Judged {
            mean: values.clone().sum::<f64>() / meant.len() as f64,
            cells: meant.len(),
            met: values.filter(|value| self.is_met(*value, 0.0)).count(),
            worst,
            worst_value,
        })
    }
}

/// Whether the mean is at every bar that is meant for some of these cells.
pub(super) fn are_met(cases: &[(Cell, &Case)]) -> bool {
    let judged = BARS.iter().map(|bar| (bar, bar.judge(cases)));
    judged
        .filter_map(|(bar, judged)| Some((bar, judged?.mean)))
        .all(|(bar, mean)| bar.is_met(mean, 0.0))
}

/// A line for each bar.
pub(super) fn table(cases: &[(Cell, &Case)]) -> String {
    let mut table = format!(
        "{:32} {:>7} {:>7} {:>9} {:>8}\n",
        "mean over cells", "bar", "mean", "at it", "worst"
    );
    for bar in &BARS {
        let Some(judged) = bar.judge(cases) else {
            continue;
        };
        let missed = if bar.is_met(judged.mean, 0.0) {
            ""
        } else {
            "  MISSED"
        };
        let _ = writeln!(
            table,
            "{:32} {:>7} {:>7} {:>4} / {:<2} {:>8}  {}{missed}",
            bar.name,
            number(bar.metric, bar.bar),
            number(bar.metric, judged.mean),
            judged.met,
            judged.cells,
            number(bar.metric, judged.worst_value),
            judged.worst,
        );
    }
    table
}

/// The cells that miss a bar by themselves, though the mean over all may be at it: the worst first.
pub(super) fn misses(cases: &[(Cell, &Case)]) -> String {
    let mut misses = "cells that miss a bar themselves\n".to_owned();
    for bar in &BARS {
        for (value, name) in bar.meant(cases) {
            if !bar.is_met(value, 0.0) {
                let value = number(bar.metric, value);
                let _ = writeln!(misses, "{:32} {value:>8}  {name}", bar.name);
            }
        }
    }
    misses
}
