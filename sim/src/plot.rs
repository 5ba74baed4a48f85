//! A run over time as a picture: what is in flight, what is served, how long it takes.

use crate::metrics::{Bin, Run};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (960, 840);
const GREY: RGBColor = RGBColor(150, 150, 150);
const BLUE: RGBColor = RGBColor(31, 98, 180);
const RED: RGBColor = RGBColor(200, 60, 50);
const GREEN: RGBColor = RGBColor(40, 140, 80);

type Line<'a> = (&'a str, RGBColor, &'a dyn Fn(&Bin) -> f64);

/// Draws `run` into the file `out`, as SVG.
pub(crate) fn draw(title: &str, run: &Run, unit: f64, out: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(out, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 22))?;
    let parts = area.split_evenly((3, 1));
    let capacity = |bin: &Bin| bin.capacity;
    let in_flight = |bin: &Bin| bin.in_flight;
    let limit = |bin: &Bin| bin.limit;
    panel(
        &parts[0],
        "in flight, limit and capacity",
        &run.bins,
        &[
            ("capacity", GREY, &capacity),
            ("in flight", BLUE, &in_flight),
            ("limit", RED, &limit),
        ],
    )?;
    let possible = |bin: &Bin| bin.capacity * unit;
    let goodput = |bin: &Bin| bin.goodput;
    panel(
        &parts[1],
        "served within the SLO, a second",
        &run.bins,
        &[
            ("possible at the first latency", GREY, &possible),
            ("goodput", GREEN, &goodput),
        ],
    )?;
    let p99 = |bin: &Bin| bin.p99_ms;
    panel(
        &parts[2],
        "p99 of the admitted, ms",
        &run.bins,
        &[("p99", BLUE, &p99)],
    )?;
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    bins: &[Bin],
    lines: &[Line<'_>],
) -> Result<(), Box<dyn Error>> {
    let end = bins.last().map_or(1.0, |bin| bin.time);
    // A limiter without a limit, or a bin in which nobody was served, has nothing to show.
    let shown = |value: f64| value.is_finite().then_some(value);
    let values = lines
        .iter()
        .flat_map(|(_, _, value)| bins.iter().filter_map(|bin| shown(value(bin))));
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    // A start a hundred times too high must not flatten everything after it.
    let usual = sorted.get(sorted.len() * 98 / 100).copied().unwrap_or(1.0);
    let top = (usual * 1.4)
        .min(sorted.last().copied().unwrap_or(1.0) * 1.1)
        .max(1.0);
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
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY)
        .draw()?;
    Ok(())
}
