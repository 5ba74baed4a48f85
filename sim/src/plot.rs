//! A run over time as a picture: what is in flight, what is served, how long it takes.

use crate::metrics::{Bin, Run};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// Of a column, in pixels.
const SIZE: (u32, u32) = (720, 780);
const GREY: RGBColor = RGBColor(150, 150, 150);
const BLUE: RGBColor = RGBColor(31, 98, 180);
const RED: RGBColor = RGBColor(200, 60, 50);
const GREEN: RGBColor = RGBColor(40, 140, 80);

type Line<'a> = (&'a str, RGBColor, &'a dyn Fn(&Bin) -> f64);

/// Draws `runs` into the file `out`, as SVG: a column for each, under its title, all on the same scales.
pub(crate) fn draw(runs: &[(String, &Run)], unit: f64, out: &Path) -> Result<(), Box<dyn Error>> {
    let columns = runs.len();
    let size = (SIZE.0 * columns as u32, SIZE.1);
    let area = SVGBackend::new(out, size).into_drawing_area();
    area.fill(&WHITE)?;
    let smooth: Vec<Vec<Bin>> = runs.iter().map(|(_, run)| smoothed(&run.bins)).collect();
    let capacity = |bin: &Bin| bin.capacity;
    let in_flight = |bin: &Bin| bin.in_flight;
    let limit = |bin: &Bin| bin.limit;
    let possible = |bin: &Bin| bin.capacity * unit;
    let goodput = |bin: &Bin| bin.goodput;
    let p99 = |bin: &Bin| bin.p99_ms;
    let panels: [(&str, &[Line<'_>]); 3] = [
        (
            "in flight, limit and capacity",
            &[
                ("capacity", GREY, &capacity),
                ("in flight", BLUE, &in_flight),
                ("limit", RED, &limit),
            ],
        ),
        (
            "served within the SLO, a second",
            &[
                ("possible at the first latency", GREY, &possible),
                ("goodput", GREEN, &goodput),
            ],
        ),
        ("p99 of the admitted, ms", &[("p99", BLUE, &p99)]),
    ];
    let all: Vec<Bin> = smooth.iter().flatten().copied().collect();
    for (column, ((title, _), bins)) in area
        .split_evenly((1, columns))
        .iter()
        .zip(runs.iter().zip(&smooth))
    {
        let rows = column
            .titled(title, ("sans-serif", 22))?
            .split_evenly((panels.len(), 1));
        for (row, (caption, lines)) in rows.iter().zip(panels) {
            panel(row, caption, bins, lines, top(&all, lines))?;
        }
    }
    area.present()?;
    Ok(())
}

/// Means of half a second: a bin of a busy backend holds too few requests for its p99.
fn smoothed(bins: &[Bin]) -> Vec<Bin> {
    let mean = |bins: &[Bin]| {
        let of = |value: fn(&Bin) -> f64| {
            let values: Vec<f64> = bins
                .iter()
                .map(value)
                .filter(|value| value.is_finite())
                .collect();
            crate::metrics::mean(&values)
        };
        let last = *bins.last().expect("chunks are not empty");
        Bin {
            in_flight: of(|bin| bin.in_flight),
            limit: of(|bin| bin.limit),
            goodput: of(|bin| bin.goodput),
            p99_ms: of(|bin| bin.p99_ms),
            ..last
        }
    };
    bins.chunks(5).map(mean).collect()
}

/// A limiter without a limit, or a bin in which nobody was served, has nothing to show.
fn shown(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The highest that a panel shows: a start a hundred times too high must not flatten everything after it.
fn top(bins: &[Bin], lines: &[Line<'_>]) -> f64 {
    let values = lines
        .iter()
        .flat_map(|(_, _, value)| bins.iter().filter_map(|bin| shown(value(bin))));
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() * 98 / 100).copied().unwrap_or(1.0);
    (usual * 1.4)
        .min(sorted.last().copied().unwrap_or(1.0) * 1.15)
        .max(1.0)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    bins: &[Bin],
    lines: &[Line<'_>],
    top: f64,
) -> Result<(), Box<dyn Error>> {
    let end = bins.last().map_or(1.0, |bin| bin.time);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .light_line_style(WHITE)
        .draw()?;
    for (name, colour, value) in lines {
        let points = bins
            .iter()
            .filter_map(|bin| Some((bin.time, shown(value(bin))?.min(top))));
        let (colour, name) = (*colour, *name);
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY)
        .draw()?;
    Ok(())
}
