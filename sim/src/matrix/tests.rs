//! The covering set is one, what it is held to, and a part of it that is run.

use super::*;
use crate::metrics::{Run, Values};
use crate::scenario::Expectation;
use std::collections::BTreeSet;

fn courses() -> impl Iterator<Item = &'static str> {
    LOADS.into_iter().chain(CHANGES)
}

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
        place(courses().position(|course| course == cell.course)),
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
        courses().count(),
        BACKENDS.len(),
        SERVICES.len(),
    ];
    let all: usize = (0..5)
        .flat_map(|a| (a + 1..5).map(move |b| sizes[a] * sizes[b]))
        .sum();
    assert_eq!(met.len(), all);
}

/// Three seeds of each cell that the bars are meant for; of the largest backend of three, one of which has the largest fleet.
/// The mean is within a margin of what five seeds of all are held to.
#[test]
fn three_seeds_of_the_matrix_keep_its_promises_and_nearly_its_bars() {
    let floor = |cell: &Cell| match cell.course {
        // Until it is followed a half is missing.
        "doubles" => 0.45,
        _ if cell.is_steady() => 0.85,
        _ => 0.5,
    };
    let large = [
        "128 2000 2.0 fifo exponential",
        "8 2000 halves fifo exponential",
        "8 2000 skewed fifo exponential",
    ];
    let large = large.map(|line| Cell::read(line).expect("a line of the set"));
    let cells: Vec<Cell> = cells(Extent::Covering)
        .into_iter()
        .filter(|cell| !cell.is_narrow())
        .filter(|cell| cell.capacity != LARGE || large.contains(cell))
        .collect();
    let scenarios = cells.iter().map(|cell| cell.scenario(3, "tidegate"));
    let cases = crate::suite::run(scenarios.collect(), || {});
    for (cell, case) in cells.iter().zip(&cases) {
        let (name, mean) = (&case.scenario.name, case.mean());
        assert_eq!(mean.get(Metric::Violations), 0.0, "{name}");
        let goodput = mean.get(Metric::Goodput);
        assert!(goodput >= floor(cell), "{name}: {goodput}");
    }
    let wide = Matrix(cells).wide(&cases);
    println!("{}", bars::table(&wide));
    for bar in &bars::BARS {
        let judged = bar.judge(&wide).expect("the part has cells for every bar");
        let margin = match bar.metric {
            Metric::FalseRejects => 0.001,
            Metric::InFlightMax => 0.05,
            Metric::Cut => 0.1,
            Metric::Settle => 2.0,
            Metric::Ramp => 0.0,
            Metric::RampPart => 1.0,
            _ => 0.01,
        };
        let (name, mean) = (bar.name, judged.mean);
        assert!(
            bar.is_met(mean, margin),
            "{name}: {mean} of {}",
            judged.cells
        );
    }
}

/// A case for each cell of the covering set, in which everything is well but for what `other` says.
fn made_up(other: impl Fn(Cell, Metric) -> Option<f64>) -> Vec<Case> {
    let case = |cell: Cell| {
        let mut values = Values::NONE;
        for metric in Metric::ALL {
            let good = if metric.more_is_better() { 1.0 } else { 0.0 };
            values.set(metric, other(cell, metric).unwrap_or(good));
        }
        Case {
            scenario: cell.scenario(1, "tidegate"),
            runs: vec![Run {
                values,
                bins: Vec::new(),
                events: 0,
            }],
            events: 0,
        }
    };
    cells(Extent::Covering).into_iter().map(case).collect()
}

fn covering() -> Matrix {
    Matrix::of(Extent::Covering, &[]).expect("all of it")
}

#[test]
fn a_missed_bar_a_broken_promise_or_a_missed_expectation_is_not_as_expected() {
    let judge = |cases: &[Case]| covering().is_as_expected(cases);
    assert!(judge(&made_up(|_, _| None)));
    // Each bar by itself: a little better, and a little worse, in all cells that it is meant for.
    for bar in &bars::BARS {
        let all = |value: f64| {
            made_up(move |cell, metric| {
                (metric == bar.metric && (bar.is_meant_for)(cell)).then_some(value)
            })
        };
        let (better, worse) = if bar.metric.more_is_better() {
            (1.001, 0.999)
        } else {
            (0.999, 1.001)
        };
        assert!(judge(&all(bar.bar * better)), "{}", bar.name);
        assert!(!judge(&all(bar.bar * worse)), "{}", bar.name);
        assert!(!judge(&all(f64::NAN)), "{}", bar.name);
    }
    // The bars are not meant for narrow cells; the promises are.
    let narrow = |which: Metric| {
        made_up(move |cell, metric| (cell.is_narrow() && metric == which).then_some(0.5))
    };
    assert!(judge(&narrow(Metric::Goodput)));
    assert!(!judge(&narrow(Metric::Violations)));
    // A file beside the cells expects something of its own.
    let mut cases = made_up(|_, _| None);
    let mut file = made_up(|_, _| None).swap_remove(0);
    file.scenario.expect = vec![Expectation {
        metric: Metric::Goodput,
        min: Some(1.1),
        max: None,
    }];
    cases.push(file);
    assert!(!judge(&cases));
}

#[test]
fn the_cells_that_miss_a_bar_are_named_one_by_one_though_the_mean_is_at_it() {
    let cases = made_up(|cell, metric| {
        let is_it = cell.course == "halves" && cell.nodes == 2 && metric == Metric::Settle;
        is_it.then_some(match cell.capacity {
            8 => 2.5,
            100 => 3.5,
            _ => 4.5,
        })
    });
    assert!(covering().is_as_expected(&cases));
    let summary = covering().summary(&cases);
    let missed: Vec<&str> = summary
        .lines()
        .skip_while(|line| !line.starts_with("cells that miss"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect();
    // The bar is 3 s.
    let [large, small] = missed[..] else {
        panic!("{missed:?}");
    };
    assert!(
        large.starts_with("settle, capacity halves") && large.contains("N=2 C=2000 halves"),
        "{large}"
    );
    assert!(small.contains("3.5  N=2 C=100 halves sharing"), "{small}");
}

#[test]
fn hard_shares_are_beside_the_cell_that_they_are_for() {
    let scenarios = covering().scenarios(1, "tidegate");
    let narrow = cells(Extent::Covering);
    let narrow = narrow.iter().filter(|cell| cell.is_narrow()).count();
    let mut beside = 0;
    for pair in scenarios.windows(2) {
        if pair[1].limiter.name == BESIDE {
            assert_eq!(pair[0].name, pair[1].name);
            assert_eq!(pair[0].limiter.name, "tidegate");
            beside += 1;
        }
    }
    assert!(narrow > 0);
    assert_eq!(beside, narrow);
    let alone = covering().scenarios(1, BESIDE);
    assert_eq!(alone.len(), cells(Extent::Covering).len(), "none is twice");
}

#[test]
fn words_choose_cells_by_name_and_one_that_is_in_none_is_an_error() {
    let names = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let matrix = Matrix::of(Extent::Covering, &words)?;
        Ok::<_, String>(matrix.0.into_iter().map(Cell::name).collect::<Vec<_>>())
    };
    let slower = names(&["slower"]).expect("there are some");
    assert!(!slower.is_empty() && slower.iter().all(|name| name.contains("slower")));
    let both = names(&["slower", "N=8 C=2000 halves"]).expect("there are some");
    assert_eq!(both.len(), slower.len() + 1);
    let error = names(&["slower", "sideways"]).expect_err("there is none");
    assert!(
        error.starts_with("no cell's name contains `sideways`; they are as `N="),
        "{error}"
    );
}

#[test]
fn every_cell_is_a_scenario() {
    for cell in cells(Extent::Full) {
        let scenario = cell.scenario(5, "tidegate");
        assert_eq!(scenario.nodes, cell.nodes);
    }
}
