//! What drills have seen, as a table in Markdown.

use crate::drill::Seen;
use crate::follow::{Followed, PROMISED, Phase, USUAL};
use crate::machine::load_average;
use crate::scale::Estimate;
use clap::ValueEnum;

/// The first lines.
#[must_use]
pub fn head(estimate: Estimate) -> String {
    let (most, lines) = match estimate {
        Estimate::Fixed => ("most in flight / limit", ""),
        Estimate::Fleet => ("in flight / limit, at its closest | limit", "---|"),
    };
    format!(
        "| fault | policy | {most} | served before /s | while it lasts | after | nine tenths again after | \
         machine's load |\n|---|---|---|---|---|---|---|{lines}---|"
    )
}

/// A line for `seen`.
#[must_use]
pub fn row(estimate: Estimate, seen: &Seen) -> String {
    let Seen {
        limit,
        bound,
        most,
        before,
        during,
        after,
        ..
    } = *seen;
    let bound = match () {
        () if most > bound => format!(" ABOVE {bound}"),
        () if bound > limit => format!(", at most {bound}"),
        () => String::new(),
    };
    let limits = match estimate {
        Estimate::Fixed => String::new(),
        Estimate::Fleet => format!(" {} to {} |", seen.limits.0, seen.limits.1),
    };
    let of_before = |goodput: f64| format!("{goodput:.0} ({:.2})", goodput / before);
    let recovered = match seen.recovered {
        Some(after) => format!("{:.1} s", after.as_secs_f64()),
        None => "not seen".to_owned(),
    };
    let load = load_average().map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
    format!(
        "| {} | {} | {most} / {limit}{bound} |{limits} {before:.0} | {} | {} | {recovered} | {load} |",
        name(&seen.fault),
        name(&seen.policy),
        of_before(during),
        of_before(after),
    )
}

/// The figures of each phase, and the bars they are held against.
#[must_use]
pub fn followed(seen: &Followed) -> String {
    let mut lines = vec![
        "| phase | capacity | offered /s | served /s | of the backend alone | most in flight | limit | p50 | p99 | \
         processors | by us | machine's load |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let phases = [&seen.unloaded, &seen.looking]
        .into_iter()
        .chain(&seen.phases);
    lines.extend(phases.map(phase));
    let all = seen.told();
    let (p99, unloaded) = (all.percentile(99), seen.unloaded.told.percentile(99));
    lines.push(format!(
        "\nof the backend alone, all three phases: {:.3} (bar .93)\n\
         p99: {p99:.1} ms, {:.2} times the unloaded {unloaded:.1} ms (bar 1.3)\n\
         more in flight than limits that held within {PROMISED:?}: {} (bar: never); within {USUAL:?}: {} tenths of a second\n\
         refused {}, broken {}, not sent in time {}",
        seen.of_possible(),
        seen.slower(),
        if seen.kept() { "never" } else { "YES" },
        seen.late(),
        all.refused,
        all.broken,
        all.missed,
    ));
    lines.join("\n")
}

fn phase(phase: &Phase) -> String {
    let told = &phase.told;
    let percent = |part: Option<f64>| part.map_or_else(String::new, |it| format!("{it:.0} %"));
    format!(
        "| {} | {} | {:.0} | {:.0} | {:.3} | {}{} | {} to {} | {:.1} ms | {:.1} ms | {} | {} | {} |",
        phase.name,
        phase.capacity,
        f64::from(told.offered()) / phase.took.as_secs_f64(),
        phase.goodput(),
        phase.goodput() / phase.possible,
        phase.most,
        match phase.above {
            0 => String::new(),
            above => format!(" ABOVE in {above}"),
        },
        phase.limits.0,
        phase.limits.1,
        told.percentile(50),
        told.percentile(99),
        percent(phase.used),
        percent(phase.used_by_us),
        phase
            .load
            .map_or_else(String::new, |load| format!("{load:.1}")),
    )
}

/// As on the command line.
pub fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
