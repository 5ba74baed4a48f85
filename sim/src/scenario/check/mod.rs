//! From what a file says to a scenario, or to what is wrong with it and where.

mod backend;
mod load;
mod network;
mod size;

use self::backend::backend;
use self::load::load;
use self::network::network;
use self::size::size;
use super::{Expectation, Liar, LimiterSpec, NodeChange, NodeEvent, Scenario, file};
use crate::engine::{MS, Nanos, nanos};
use crate::limiter;
use crate::metrics::Metric;
use crate::profile::Profile;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use tidegate::fleet::sim::Lie;
use toml::Spanned;

/// A wrong field: where it is in the file, and why it is wrong.
pub(super) struct Wrong {
    span: Range<usize>,
    message: String,
}

impl Wrong {
    pub(super) fn at_its_line(&self, text: &str) -> String {
        let start = self.span.start.min(text.len());
        let line = text[..start].matches('\n').count() + 1;
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
        format!("line {line}: {}\n  | {shown}", self.message)
    }
}

type Checked<T> = Result<T, Wrong>;

/// Those that join included.
const MOST_NODES: usize = 10_000;
/// Seconds: a run keeps a bin for each tenth of one.
const LONGEST: f64 = 1e5;

fn wrong<T, S>(field: &Spanned<S>, message: impl Into<String>) -> Checked<T> {
    Err(Wrong {
        span: field.span(),
        message: message.into(),
    })
}

pub(super) fn scenario(name: &str, mut file: file::File) -> Checked<Scenario> {
    drop(file.about.take());
    let duration = within(&file.duration, 0.1, LONGEST, "duration")?;
    let warmup = match &file.warmup {
        Some(warmup) if *warmup.get_ref() >= duration => {
            return wrong(warmup, "the warm-up is not shorter than the duration");
        }
        Some(warmup) => within(warmup, 0.0, 1e6, "warmup")?,
        None => duration / 4.0,
    };
    let seeds = match file.seeds.take() {
        Some(seeds) if seeds.get_ref().is_empty() => return wrong(&seeds, "no seeds"),
        Some(seeds)
            if seeds.get_ref().iter().collect::<BTreeSet<_>>().len() < seeds.get_ref().len() =>
        {
            return wrong(&seeds, "a seed is there twice");
        }
        Some(seeds) => seeds.into_inner(),
        None => vec![1, 2, 3, 4, 5],
    };
    let end = nanos(duration);
    let backend = backend(&file.backend, end)?;
    let slo = match &file.slo_ms {
        Some(slo) => ms(within(slo, 0.001, 1e9, "slo_ms")?),
        None => (5.0 * backend.head * backend.mean_latency(0)) as Nanos,
    };
    let (nodes, events) = nodes(&file.nodes, end)?;
    let known = events
        .iter()
        .map(|event| event.node + 1)
        .max()
        .unwrap_or(0)
        .max(nodes);
    let liars = liars(&file.nodes, known)?;
    let spec = file.limiter.as_ref().map(limiter_spec).transpose()?;
    let scenario = Scenario {
        name: name.to_owned(),
        duration: end,
        warmup: nanos(warmup),
        seeds,
        slo,
        backend,
        nodes,
        events,
        liars,
        load: load(&file.load, known, end)?,
        network: network(&file.network, known, end)?,
        limiter: spec.unwrap_or_else(|| LimiterSpec::named("tidegate")),
        expect: expectations(std::mem::take(&mut file.expect))?,
    };
    if let (Some(streams), true) = (&file.load.streams, scenario.backend.head < 1.0) {
        let message = "an answer goes on after its `head` either by its body, which the backend sends, or by events; leave one out";
        return wrong(streams, message);
    }
    size(&scenario, &file)?;
    if let Some(slo) = &file.slo_ms
        && (scenario.slo as f64) < scenario.least_latency()
    {
        let least = scenario.least_latency() / MS as f64;
        let message = format!(
            "no request is answered so soon, so that nothing would be goodput: write {least} at least, or leave it out for 5 \
             times the mean latency"
        );
        return wrong(slo, message);
    }
    // What is told, or the knee, and the settings must fit together.
    if let (Err(message), Some(limiter)) = (limiter::check(&scenario), &file.limiter) {
        let file::Limiter {
            initial, settings, ..
        } = limiter.get_ref();
        let spans = [
            initial.as_ref().map(Spanned::span),
            settings.as_ref().map(Spanned::span),
        ];
        return Err(Wrong {
            span: spans
                .into_iter()
                .flatten()
                .next()
                .unwrap_or_else(|| limiter.span()),
            message,
        });
    }
    Ok(scenario)
}

fn nodes(file: &file::Nodes, end: Nanos) -> Checked<(usize, Vec<NodeEvent>)> {
    let count = match &file.count {
        Some(count) if !(1..=MOST_NODES).contains(count.get_ref()) => {
            return wrong(count, format!("there are 1 to {MOST_NODES} nodes"));
        }
        Some(count) => *count.get_ref(),
        None => 1,
    };
    // By order of time, so that it can be told who is up.
    let mut order: Vec<&Spanned<file::NodeEvent>> = file.events.iter().collect();
    order.sort_by(|a, b| a.get_ref().at.total_cmp(&b.get_ref().at));
    let mut up = vec![true; count];
    let mut events = Vec::new();
    for spanned in order {
        let event = spanned.get_ref();
        let at = moment(spanned, event.at, end)?;
        let (change, nodes) = match (event.join, &event.leave, &event.crash, &event.restart) {
            (Some(more), None, None, None) => {
                let first = up.len();
                if more == 0 || more > MOST_NODES - first {
                    return wrong(
                        spanned,
                        format!("1 join at least, and {MOST_NODES} nodes at most"),
                    );
                }
                up.resize(first + more, false);
                (NodeChange::Join, (first..first + more).collect())
            }
            (None, Some(nodes), None, None) => (NodeChange::Leave, nodes.clone()),
            (None, None, Some(nodes), None) => (NodeChange::Crash, nodes.clone()),
            (None, None, None, Some(nodes)) => (NodeChange::Restart, nodes.clone()),
            _ => return wrong(spanned, "say one of join, leave, crash and restart"),
        };
        if nodes.is_empty() {
            return wrong(spanned, "say which nodes");
        }
        let must_be_up = matches!(change, NodeChange::Leave | NodeChange::Crash);
        for node in nodes {
            match up.get_mut(node) {
                None => {
                    return wrong(
                        spanned,
                        format!("there is no node {node}; they count from 0"),
                    );
                }
                Some(is_up) if *is_up != must_be_up => {
                    let state = if *is_up { "up" } else { "down" };
                    return wrong(spanned, format!("node {node} is {state} then"));
                }
                Some(is_up) => *is_up = !must_be_up,
            }
            events.push(NodeEvent { at, node, change });
        }
    }
    Ok((count, events))
}

fn liars(file: &file::Nodes, known: usize) -> Checked<Vec<Liar>> {
    let mut liars: Vec<Liar> = Vec::new();
    for spanned in &file.liars {
        let file::Liar { node, factor, of } = *spanned.get_ref();
        if node >= known || factor.is_nan() || factor < 0.0 {
            return wrong(spanned, "a liar is one of the nodes, its factor 0 or more");
        }
        let of = match of {
            file::Lie::Work => Lie::Work,
            file::Lie::Completions => Lie::Completions,
            file::Lie::InFlight => Lie::InFlight,
        };
        if liars.iter().any(|liar| liar.node == node && liar.of == of) {
            return wrong(spanned, format!("node {node} lies twice of the same"));
        }
        liars.push(Liar { node, factor, of });
    }
    Ok(liars)
}

impl LimiterSpec {
    /// `name`, with what it does by default.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            settings: String::new(),
            told: None,
            initial: None,
            wait: None,
        }
    }
}

fn limiter_spec(file: &Spanned<file::Limiter>) -> Checked<LimiterSpec> {
    let file = file.get_ref();
    let mut spec = LimiterSpec::named("tidegate");
    if let Some(name) = &file.name {
        if let Err(message) = limiter::check_name(name.get_ref()) {
            return wrong(name, message);
        }
        spec.name.clone_from(name.get_ref());
    }
    if let Some(settings) = &file.settings {
        if !limiter::is_fleet(&spec.name) {
            return wrong(
                settings,
                format!("{} has no settings of a fleet", spec.name),
            );
        }
        let pair = |(field, value): (&String, &file::Setting)| format!("{field}={}", value.0);
        let pairs: Vec<String> = settings.get_ref().iter().map(pair).collect();
        spec.settings = pairs.join(";");
        if let Err(message) = limiter::check_settings(&spec.name, &spec.settings) {
            return wrong(settings, message);
        }
    }
    if let Some(told) = &file.told {
        if !limiter::is_told(&spec.name) {
            return wrong(told, format!("{} is not told a capacity", spec.name));
        }
        spec.told = Some(within(told, 1.0, 1e6, "told")?);
    }
    if let Some(initial) = &file.initial {
        let begins = 1..=1_000_000;
        if !limiter::looks_for_a_limit(&spec.name) || !begins.contains(initial.get_ref()) {
            return wrong(initial, format!("{} begins with no such limit", spec.name));
        }
        if limiter::is_fixed(&spec.settings) {
            return wrong(initial, "the limit is fixed, and begins with nothing else");
        }
        if spec.settings.contains("initial_limit=") {
            return wrong(initial, "the settings have an initial limit too");
        }
        spec.initial = Some(*initial.get_ref());
    }
    if let Some(wait) = &file.wait_ms {
        if !limiter::can_wait(&spec.name) {
            return wrong(wait, format!("nobody waits at {}", spec.name));
        }
        spec.wait = Some(ms(within(wait, 0.0, 1e6, "wait_ms")?));
    }
    Ok(spec)
}

fn expectations(
    file: std::collections::BTreeMap<Spanned<String>, Spanned<file::Bounds>>,
) -> Checked<Vec<Expectation>> {
    let mut expectations = Vec::new();
    for (name, bounds) in file {
        let Some(metric) = Metric::named(name.get_ref()) else {
            let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
            return wrong(
                &name,
                format!("no such metric; there are {}", known.join(", ")),
            );
        };
        let file::Bounds { min, max } = *bounds.get_ref();
        match (min, max) {
            (None, None) => return wrong(&bounds, "say min, max or both"),
            _ if min.is_some_and(f64::is_nan) || max.is_some_and(f64::is_nan) => {
                return wrong(&bounds, "a bound is a number");
            }
            (Some(min), Some(max)) if min > max => return wrong(&bounds, "min is above max"),
            _ => expectations.push(Expectation { metric, min, max }),
        }
    }
    Ok(expectations)
}

/// All `values` before `end`, in `unit`.
fn profile(
    field: &Spanned<file::Over>,
    unit: f64,
    values: RangeInclusive<f64>,
    end: Nanos,
) -> Checked<Profile> {
    let points = &field.get_ref().0;
    if let Some((_, value, _)) = points.iter().find(|(_, value, _)| !values.contains(value)) {
        let (min, max) = values.into_inner();
        return wrong(field, format!("{value} is not between {min} and {max}"));
    }
    let scaled: Vec<(f64, f64, f64)> = points
        .iter()
        .map(|(at, value, ramp)| (*at, value * unit, *ramp))
        .collect();
    Profile::new(&scaled, end).map_err(|message| Wrong {
        span: field.span(),
        message,
    })
}

fn within(field: &Spanned<f64>, min: f64, max: f64, name: &str) -> Checked<f64> {
    let value = *field.get_ref();
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        wrong(
            field,
            format!("{name} is {value}, not between {min} and {max}"),
        )
    }
}

/// When something happens that is said as `at` seconds.
fn moment<T>(spanned: &Spanned<T>, at: f64, end: Nanos) -> Checked<Nanos> {
    if at >= 0.0 && nanos(at) < end {
        Ok(nanos(at))
    } else {
        wrong(spanned, "this is not within the duration")
    }
}

/// Whether there are `nodes`, each of which is below `known`.
fn are_nodes<T>(spanned: &Spanned<T>, nodes: &[usize], known: usize) -> Checked<()> {
    if nodes.is_empty() {
        return wrong(spanned, "say which nodes");
    }
    for (place, node) in nodes.iter().enumerate() {
        if *node >= known {
            return wrong(
                spanned,
                format!("there is no node {node}; they count from 0"),
            );
        }
        if nodes[..place].contains(node) {
            return wrong(spanned, format!("node {node} is there twice"));
        }
    }
    Ok(())
}

fn ms(value: f64) -> Nanos {
    (value * MS as f64).round() as Nanos
}
