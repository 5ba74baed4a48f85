//! From what a file says to a scenario, or to what is wrong with it and where.

use super::{
    BackendSpec, Delay, Expectation, LimiterSpec, LoadSpec, NetworkSpec, NodeChange, NodeEvent,
    Partition, Retries, Scenario, Stalls, StoreChange, file,
};
use crate::backend::Model;
use crate::engine::{MS, Nanos, nanos};
use crate::limiter;
use crate::load::{Bursts, Spread, Wave};
use crate::metrics::Metric;
use crate::profile::Profile;
use crate::random::Service;
use std::collections::BTreeSet;
use std::ops::Range;
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

fn wrong<T, S>(field: &Spanned<S>, message: impl Into<String>) -> Checked<T> {
    Err(Wrong {
        span: field.span(),
        message: message.into(),
    })
}

pub(super) fn scenario(name: &str, file: file::File) -> Checked<Scenario> {
    drop(file.about);
    let duration = within(&file.duration, 0.1, 1e6, "duration")?;
    let warmup = match &file.warmup {
        Some(warmup) if *warmup.get_ref() >= duration => {
            return wrong(warmup, "the warm-up is not shorter than the duration");
        }
        Some(warmup) => within(warmup, 0.0, 1e6, "warmup")?,
        None => duration / 4.0,
    };
    let seeds = match file.seeds {
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
    let backend = backend(&file.backend)?;
    let slo = match &file.slo_ms {
        Some(slo) => ms(within(slo, 0.001, 1e9, "slo_ms")?),
        None => (5.0 * backend.mean_latency(0)) as Nanos,
    };
    let (nodes, events) = nodes(&file.nodes, end)?;
    let known = events
        .iter()
        .map(|event| event.node + 1)
        .max()
        .unwrap_or(0)
        .max(nodes);
    let mut liars = Vec::new();
    for spanned in &file.nodes.liars {
        let liar = spanned.get_ref();
        if liar.node >= known || liar.factor.is_nan() || liar.factor < 0.0 {
            return wrong(spanned, "a liar is one of the nodes, its factor 0 or more");
        }
        liars.push((liar.node, liar.factor));
    }
    Ok(Scenario {
        name: name.to_owned(),
        duration: end,
        warmup: nanos(warmup),
        seeds,
        slo,
        backend,
        nodes,
        events,
        liars,
        load: load(&file.load)?,
        network: network(&file.network, known)?,
        limiter: match file.limiter {
            Some(limiter) => limiter_spec(limiter.into_inner())?,
            None => LimiterSpec::named("tidegate"),
        },
        expect: expectations(file.expect)?,
    })
}

fn backend(file: &file::Backend) -> Checked<BackendSpec> {
    let model = match &file.model {
        None => Model::Fifo,
        Some(model) => match model.get_ref() {
            file::Model::Fifo => Model::Fifo,
            file::Model::Sharing => Model::Sharing,
            file::Model::Linear(slope) if *slope > 0.0 => Model::Linear { slope: *slope },
            file::Model::Exponential(growth) if *growth > 0.0 => {
                Model::Exponential { growth: *growth }
            }
            file::Model::Usl(file::Usl {
                contention,
                coherency,
            }) if *contention >= 0.0 && *coherency >= 0.0 => Model::Usl {
                contention: *contention,
                coherency: *coherency,
            },
            _ => return wrong(model, "the parameters of a model are positive"),
        },
    };
    let service = match &file.service {
        None => Service::Exponential,
        Some(service) => match service.get_ref() {
            file::Service::Deterministic => Service::Deterministic,
            file::Service::Erlang2 => Service::Erlang2,
            file::Service::Exponential => Service::Exponential,
            file::Service::LogNormal(sigma) if (0.0..=3.0).contains(sigma) => {
                Service::LogNormal(*sigma)
            }
            file::Service::Pareto(tail) if (1.05..=1e3).contains(tail) => Service::Pareto(*tail),
            file::Service::LogNormal(_) => return wrong(service, "sigma is 0 to 3"),
            file::Service::Pareto(_) => {
                return wrong(service, "the tail index is above 1.05, or there is no mean");
            }
        },
    };
    let second = match &file.second_class {
        Some(second) => Some((
            within(&second.latency_ms, 0.001, 1e6, "latency_ms")? * MS as f64,
            profile(&second.part, 1.0, 0.0, 1.0)?,
        )),
        None => None,
    };
    let stalls = match &file.stalls {
        Some(stalls) => {
            let file::Stalls { every, length } = *stalls.get_ref();
            if !(length > 0.0 && length < every && every <= 1e6) {
                return wrong(
                    stalls,
                    "a stall is shorter than the time from one to the next, and longer than nothing",
                );
            }
            Some(Stalls {
                every: nanos(every),
                length: nanos(length),
            })
        }
        None => None,
    };
    let tenant = match &file.tenant {
        Some(tenant) => profile(tenant, 1.0, 0.0, 0.99)?,
        None => Profile::constant(0.0),
    };
    let capacity = profile(&file.capacity, 1.0, 0.0, 1e6)?;
    if capacity.first() < 1.0 {
        return wrong(
            &file.capacity,
            "the load is measured in capacities at time 0, so there must be one",
        );
    }
    Ok(BackendSpec {
        model,
        capacity,
        latency: profile(&file.latency_ms, MS as f64, 0.001, 1e6)?,
        service,
        second,
        queue: file.queue,
        stalls,
        tenant,
    })
}

fn nodes(file: &file::Nodes, end: Nanos) -> Checked<(usize, Vec<NodeEvent>)> {
    let count = match &file.count {
        Some(count) if !(1..=10_000).contains(count.get_ref()) => {
            return wrong(count, "there are 1 to 10 000 nodes");
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
        if !(event.at >= 0.0 && nanos(event.at) < end) {
            return wrong(spanned, "this is not within the duration");
        }
        let at = nanos(event.at);
        let (change, nodes) = match (event.join, &event.leave, &event.crash, &event.restart) {
            (Some(more), None, None, None) => {
                let first = up.len();
                up.resize(first + more, false);
                (NodeChange::Join, (first..first + more).collect())
            }
            (None, Some(nodes), None, None) => (NodeChange::Leave, nodes.clone()),
            (None, None, Some(nodes), None) => (NodeChange::Crash, nodes.clone()),
            (None, None, None, Some(nodes)) => (NodeChange::Restart, nodes.clone()),
            _ => return wrong(spanned, "say one of join, leave, crash and restart"),
        };
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

fn load(file: &file::Load) -> Checked<LoadSpec> {
    let spread = match &file.spread {
        None => Spread::Equal,
        Some(spread) => match spread.get_ref() {
            file::Spread::Equal => Spread::Equal,
            file::Spread::Skew(file::Skew { part, of })
                if (0.0..=1.0).contains(part) && (0.0..=1.0).contains(of) =>
            {
                Spread::Skew {
                    part: *part,
                    of: *of,
                }
            }
            file::Spread::Zipf(s) if (0.0..=10.0).contains(s) => Spread::Zipf(*s),
            file::Spread::Hot(file::Hot { part, every })
                if (0.0..=1.0).contains(part) && *every >= 0.001 =>
            {
                Spread::Hot {
                    part: *part,
                    every: nanos(*every),
                }
            }
            _ => {
                return wrong(
                    spread,
                    "parts are 0 to 1, the exponent 0 to 10, times positive",
                );
            }
        },
    };
    let wave = match &file.wave {
        Some(wave) => {
            let file::Wave { period, depth } = *wave.get_ref();
            if !(period >= 0.1 && (0.0..=1.0).contains(&depth)) {
                return wrong(wave, "a period is at least 0.1 s, a depth 0 to 1");
            }
            Some(Wave {
                period: nanos(period),
                depth,
            })
        }
        None => None,
    };
    let bursts = match &file.bursts {
        Some(bursts) => {
            let file::Bursts { on, off, factor } = *bursts.get_ref();
            if !(on >= 0.001 && off >= 0.001 && (0.0..=1000.0).contains(&factor)) {
                return wrong(bursts, "times are at least 1 ms, the factor 0 to 1000");
            }
            Some(Bursts {
                on: nanos(on),
                off: nanos(off),
                factor,
            })
        }
        None => None,
    };
    let think = match &file.think_ms {
        Some(think) if wave.is_some() || bursts.is_some() => {
            return wrong(
                think,
                "users who think make a closed loop, which has neither waves nor bursts",
            );
        }
        Some(think) => Some(ms(within(think, 0.0, 1e9, "think_ms")?)),
        None => None,
    };
    let timeout = match &file.timeout_ms {
        Some(timeout) => Some(ms(within(timeout, 0.001, 1e9, "timeout_ms")?)),
        None => None,
    };
    let retries = match &file.retries {
        Some(retries) => {
            let file::Retries {
                attempts,
                backoff_ms,
                budget,
            } = *retries.get_ref();
            let budget = budget.unwrap_or(f64::INFINITY);
            if attempts == 0 || attempts > 20 || !(0.0..=1e6).contains(&backoff_ms) || budget < 0.0
            {
                return wrong(
                    retries,
                    "1 to 20 attempts, a back-off of 0 ms or more, a budget of 0 or more",
                );
            }
            Some(Retries {
                attempts,
                backoff: ms(backoff_ms),
                budget,
            })
        }
        None => None,
    };
    let classes = match &file.classes {
        Some(classes) => {
            let file::Classes {
                critical,
                default,
                sheddable,
                bulk,
            } = *classes.get_ref();
            let parts = [critical, default, sheddable, bulk];
            let sum: f64 = parts.iter().sum();
            if (sum - 1.0).abs() > 1e-9 || parts.iter().any(|part| *part < 0.0) {
                return wrong(classes, "the parts of the classes add up to 1");
            }
            Some(parts)
        }
        None => None,
    };
    Ok(LoadSpec {
        level: profile(&file.level, 1.0, 0.0, 1e4)?,
        spread,
        wave,
        bursts,
        think,
        timeout,
        classes,
        retries,
    })
}

fn network(file: &file::Network, nodes: usize) -> Checked<NetworkSpec> {
    let backend = match &file.backend_ms {
        None => (0, 0),
        Some(range) => match range.get_ref()[..] {
            [near, far] if 0.0 <= near && near <= far && far <= 1e5 => (ms(near), ms(far)),
            _ => {
                return wrong(
                    range,
                    "say the round trip of the nearest and of the farthest node, as [0.5, 20]",
                );
            }
        },
    };
    let part = |field: &Option<Spanned<f64>>, name| match field {
        Some(field) => within(field, 0.0, 0.99, name),
        None => Ok(0.0),
    };
    let late = match &file.late {
        Some(late) => {
            let file::Late { part, ms: by } = *late.get_ref();
            if !((0.0..=1.0).contains(&part) && (0.0..=1e6).contains(&by)) {
                return wrong(late, "the part is 0 to 1, the time not negative");
            }
            (part, ms(by))
        }
        None => (0.0, 0),
    };
    let mut partitions = Vec::new();
    for spanned in &file.partitions {
        let partition = spanned.get_ref();
        if !(partition.at >= 0.0 && partition.length > 0.0) {
            return wrong(spanned, "a partition begins at 0 or later and lasts");
        }
        if let Some(node) = partition.nodes.iter().find(|node| **node >= nodes) {
            return wrong(
                spanned,
                format!("there is no node {node}; they count from 0"),
            );
        }
        partitions.push(Partition {
            from: nanos(partition.at),
            until: nanos(partition.at + partition.length),
            nodes: partition.nodes.clone(),
        });
    }
    let mut store_events = Vec::new();
    for spanned in &file.store_events {
        let event = spanned.get_ref();
        if event.at < 0.0 {
            return wrong(spanned, "time begins at 0");
        }
        let change = match event.change {
            file::StoreChange::Restart => StoreChange::Restart,
            file::StoreChange::Flush => StoreChange::Flush,
        };
        store_events.push((nanos(event.at), change));
    }
    Ok(NetworkSpec {
        backend,
        store: match &file.store_ms {
            Some(store) => profile(store, MS as f64, 0.0, 1e5)?,
            None => Profile::constant(MS as f64),
        },
        delay: match file.delay {
            None | Some(file::Delay::Constant) => Delay::Constant,
            Some(file::Delay::Exponential) => Delay::Exponential,
        },
        loss: part(&file.loss, "loss")?,
        duplication: part(&file.duplication, "duplication")?,
        late,
        partitions,
        store_events,
        clock_offset: match &file.clock_offset_ms {
            Some(offset) => ms(within(offset, 0.0, 1e8, "clock_offset_ms")?),
            None => 0,
        },
        clock_drift: match &file.clock_drift_ppm {
            Some(drift) => within(drift, 0.0, 1e5, "clock_drift_ppm")?,
            None => 0.0,
        },
    })
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

fn limiter_spec(file: file::Limiter) -> Checked<LimiterSpec> {
    let mut spec = LimiterSpec::named("tidegate");
    if let Some(name) = file.name {
        if let Err(message) = limiter::check_name(name.get_ref()) {
            return wrong(&name, message);
        }
        spec.name = name.into_inner();
    }
    if let Some(settings) = file.settings {
        if !limiter::is_fleet(&spec.name) {
            return wrong(
                &settings,
                format!("{} has no settings of a fleet", spec.name),
            );
        }
        let pair = |(field, value): (&String, &file::Setting)| format!("{field}={}", value.0);
        let pairs: Vec<String> = settings.get_ref().iter().map(pair).collect();
        spec.settings = pairs.join(";");
        if let Err(message) = limiter::check_settings(&spec.settings) {
            return wrong(&settings, message);
        }
    }
    if let Some(told) = file.told {
        if !limiter::is_told(&spec.name) {
            return wrong(&told, format!("{} is not told a capacity", spec.name));
        }
        spec.told = Some(within(&told, 1.0, 1e6, "told")?);
    }
    if let Some(initial) = file.initial {
        if !limiter::looks_for_a_limit(&spec.name) || *initial.get_ref() == 0 {
            return wrong(&initial, format!("{} begins with no such limit", spec.name));
        }
        spec.initial = Some(initial.into_inner());
    }
    if let Some(wait) = file.wait_ms {
        if !limiter::can_wait(&spec.name) {
            return wrong(&wait, format!("nobody waits at {}", spec.name));
        }
        spec.wait = Some(ms(within(&wait, 0.0, 1e6, "wait_ms")?));
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
            (Some(min), Some(max)) if min > max => return wrong(&bounds, "min is above max"),
            _ => expectations.push(Expectation { metric, min, max }),
        }
    }
    Ok(expectations)
}

fn profile(field: &Spanned<file::Over>, unit: f64, min: f64, max: f64) -> Checked<Profile> {
    let points = &field.get_ref().0;
    if let Some((_, value, _)) = points
        .iter()
        .find(|(_, value, _)| !(min..=max).contains(value))
    {
        return wrong(field, format!("{value} is not between {min} and {max}"));
    }
    let scaled: Vec<(f64, f64, f64)> = points
        .iter()
        .map(|(at, value, ramp)| (*at, value * unit, *ramp))
        .collect();
    Profile::new(&scaled).map_err(|message| Wrong {
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

fn ms(value: f64) -> Nanos {
    (value * MS as f64).round() as Nanos
}
