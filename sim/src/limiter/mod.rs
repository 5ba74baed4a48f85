//! Who lets a request in: the fleet guard itself, its peers from their published formulas, and oracles.

mod fixed;
mod fleet;
mod oracle;
mod peer;
mod shares;

use crate::engine::{Agenda, MS, Nanos};
use crate::random::{Stream, of_request};
use crate::scenario::{NodeChange, Scenario};
use crate::world::Event;
use tidegate::fleet::sim::Config;
use tidegate::slot::Carrier;
use tidegate::{Criticality, Lease};

/// What a request holds while it is in flight.
#[derive(Debug)]
pub(crate) enum Held {
    /// A slot that was counted; how many were in flight at its node then, itself included.
    Slot(u32),
    /// The fleet guard's own, the place of the process that gave it, and what counts it as running.
    Lease {
        lease: Lease,
        process: usize,
        watch: u64,
    },
    /// The same, when the head of the answer is there and its body goes on.
    Body {
        carrier: Carrier,
        process: usize,
        watch: u64,
    },
}

/// What goes on after the head of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goes {
    /// The body, which comes from the backend.
    Body,
    /// Events, now and then.
    Events,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) node: usize,
    /// Its place, which it keeps until it is over.
    pub(crate) request: u32,
    pub(crate) class: Criticality,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Admit(Held),
    /// Not now, but if a slot is free within so long; at most `room` may wait at a node.
    Wait {
        at_most: Nanos,
        room: usize,
    },
    /// The same, in the limiter's own queue.
    Queued {
        at_most: Nanos,
    },
    Reject,
}

/// What became of an admitted request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Success,
    /// The backend refused it, or it timed out.
    Overload,
}

/// What nobody knows in life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    /// How many in flight keep the backend just busy.
    pub(crate) knee: f64,
    /// How many are in flight, those whose client is gone included.
    pub(crate) in_flight: u32,
}

/// What a limiter is called with: the truth, for those who may know it, and the agenda, for what is to come.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) truth: Truth,
    pub(crate) agenda: &'a mut Agenda<Event>,
}

/// What a limiter sent, and how it kept its promises.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) violations: u64,
    /// The longest that a dead node's slots were nobody's.
    pub(crate) reclaimed: Option<Nanos>,
    /// The longest that somebody was refused, again and again, while slots were nobody's (I5).
    pub(crate) wanted: Option<Nanos>,
}

/// A way to limit what a fleet has in flight.
pub(crate) trait Limiter {
    /// A request asks.
    fn ask(&mut self, scene: &mut Scene<'_>, asking: Asking) -> Verdict;

    /// A request of `node` is over after `latency`. Slots of a process that drains while its successor runs already
    /// are not given back to the successor: of [`Held::Slot`] the limiter does not hear.
    fn release(
        &mut self,
        scene: &mut Scene<'_>,
        node: usize,
        held: Held,
        outcome: Outcome,
        latency: Nanos,
    );

    /// The head of the answer is there, and what goes on keeps what is `held`.
    fn headed(&mut self, _scene: &mut Scene<'_>, held: Held, _goes: Goes) -> Held {
        held
    }

    /// The backend is done with a request whose node died meanwhile.
    fn outlived(&mut self, _held: Held) {}

    /// Before anything else happens.
    fn begin(&mut self, _scene: &mut Scene<'_>) {}

    /// The next of the limiter's own queue whose turn has come: the request, and what it holds if it may go on.
    fn called(&mut self, _scene: &mut Scene<'_>) -> Option<(u32, Option<Held>)> {
        None
    }

    /// `request` leaves the limiter's own queue. It may have been handed a slot meanwhile.
    fn give_up(&mut self, _scene: &mut Scene<'_>, _request: u32) -> Option<Held> {
        None
    }

    /// Something that this limiter wrote down in the agenda.
    fn handle(&mut self, _scene: &mut Scene<'_>, _node: u32, _what: u32) {}

    /// A node joins, leaves, dies or comes back. Those there from the start join before anything else happens.
    fn change(&mut self, scene: &mut Scene<'_>, node: usize, change: NodeChange);

    /// The most that the fleet may have in flight now, as the limiter sees it; infinite if it does not limit.
    fn limit(&self, truth: Truth) -> f64;

    /// What of it is given to nodes.
    fn shares(&self, truth: Truth) -> f64 {
        self.limit(truth)
    }

    /// What `node` may have in flight, if limits are dealt to nodes.
    fn share(&self, _node: usize) -> Option<f64> {
        None
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// All limiters by name, and what they are.
pub(crate) const NAMES: [(&str, &str); 20] = [
    ("none", "everybody comes in"),
    ("aimd", "a node's own: Netflix AIMD"),
    ("vegas", "a node's own: Netflix Vegas"),
    ("gradient2", "a node's own: Netflix Gradient2"),
    ("envoy", "a node's own: Envoy's gradient controller"),
    ("arc", "a node's own: Vector's adaptive request concurrency"),
    ("fixed", "told C: C / N for each"),
    (
        "fixed-queue",
        "told C: C / N for each, with a queue of 20 ms",
    ),
    (
        "median-equal",
        "median of the nodes' own limits as published by ThrottleKit, from 4, equal shares",
    ),
    ("median-demand", "the same, shares by demand"),
    ("median-equal-64", "median-equal from 64"),
    ("median-demand-64", "median-demand from 64"),
    (
        "tidegate-median-equal",
        "the fleet guard with the median of the nodes' own limits, equal shares",
    ),
    ("tidegate-median-demand", "the same, shares by demand"),
    ("leased", "told C: leased max-min shares"),
    ("tidegate", "the fleet guard by default"),
    (
        "omniscient",
        "oracle: one semaphore that knows C at every moment",
    ),
    (
        "hard-shares",
        "oracle: best hard shares of C for the known load, at every heartbeat",
    ),
    (
        "max-min",
        "oracle: max-min shares of C over measured demand, at every heartbeat",
    ),
    (
        "tidegate-queue",
        "the fleet guard by default, with the micro-queue of 20 ms",
    ),
];

/// What the production guard is set to under this name, `None` for other limiters.
fn preset(name: &str) -> Option<&'static str> {
    match name {
        "tidegate" | "tidegate-queue" => Some(""),
        "tidegate-median-equal" => Some("estimate=median;allocation=equal-split"),
        "tidegate-median-demand" => Some("estimate=median;allocation=demand-proportional"),
        "leased" => Some("allocation=max-min"),
        _ => None,
    }
}

pub(crate) fn is_fleet(name: &str) -> bool {
    preset(name).is_some()
}

pub(crate) fn is_told(name: &str) -> bool {
    matches!(name, "fixed" | "fixed-queue" | "leased")
}

pub(crate) fn looks_for_a_limit(name: &str) -> bool {
    is_fleet(name) && name != "leased"
        || matches!(
            name,
            "aimd" | "vegas" | "gradient2" | "arc" | "median-equal" | "median-demand"
        )
}

pub(crate) fn can_wait(name: &str) -> bool {
    name == "fixed-queue" || is_fleet(name)
}

/// Whether the fleet guard `name` can have these settings, as far as they say it themselves.
pub(crate) fn check_settings(name: &str, settings: &str) -> Result<(), String> {
    let field = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let own = preset(name).into_iter().flat_map(|line| line.split(';'));
    let told = is_told(name).then_some("estimate=");
    for pair in own.chain(told).filter(|pair| !pair.is_empty()) {
        if settings.split(';').any(|other| field(other) == field(pair)) {
            return Err(format!(
                "the {} of {name} is its own; say it of tidegate",
                field(pair)
            ));
        }
    }
    if is_told(name) || is_fixed(settings) {
        let unused = ["min_limit", "max_limit", "initial_limit"];
        let unused = unused.into_iter().find(|unused| {
            let mut fields = settings.split(';').map(field);
            fields.any(|other| other == *unused)
        });
        if let Some(unused) = unused {
            return Err(format!("the limit is fixed, so that {unused} says nothing"));
        }
    }
    Config::parse(settings).map(drop)
}

/// Whether these settings say what the limit is.
pub(crate) fn is_fixed(settings: &str) -> bool {
    let mut pairs = settings.split(';');
    pairs.any(|pair| pair.starts_with("estimate=fixed"))
}

/// Whether the limiter of `scenario` can be built.
pub(crate) fn check(scenario: &Scenario) -> Result<(), String> {
    if is_fleet(&scenario.limiter.name) {
        check_settings(&scenario.limiter.name, &scenario.limiter.settings)?;
        config(scenario)?;
    }
    Ok(())
}

/// How the fleet guard of `scenario` is configured, or why it cannot be.
fn config(scenario: &Scenario) -> Result<Config, String> {
    let spec = &scenario.limiter;
    let mut settings = vec![preset(&spec.name).unwrap_or_default().to_owned()];
    if is_told(&spec.name) {
        // Of less than one slot nobody could be told.
        let limit = told(scenario).round().max(1.0);
        settings.push(format!("estimate=fixed:{limit}"));
    }
    let initial = spec.initial;
    settings.extend(initial.map(|initial| format!("initial_limit={initial}")));
    settings.push(spec.settings.clone());
    Config::parse(&settings.join(";"))
}

fn told(scenario: &Scenario) -> f64 {
    scenario.limiter.told.unwrap_or_else(|| scenario.knee(0))
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if NAMES.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
    Err(format!(
        "no limiter is called {name}; there are {}",
        known.join(", ")
    ))
}

/// The limiter that `scenario` names.
pub(crate) fn build(scenario: &Scenario, seed: u64) -> Box<dyn Limiter> {
    let spec = &scenario.limiter;
    let told = told(scenario);
    let initial = move |published| spec.initial.unwrap_or(published);
    let rng = move |node: usize| of_request(seed ^ (Stream::Identities as u64), node as u64);
    let median = |deal, initial| -> Box<dyn Limiter> {
        Box::new(peer::Median::new(scenario, deal, initial, seed))
    };
    match spec.name.as_str() {
        "none" => Box::new(oracle::Open),
        "aimd" => per_node(initial(20), |initial, _| peer::Aimd::new(initial)),
        "vegas" => per_node(initial(20), move |initial, node| {
            peer::Vegas::new(initial, rng(node))
        }),
        "gradient2" => per_node(initial(20), |initial, _| peer::Gradient2::new(initial)),
        "envoy" => per_node(0, move |_, node| peer::Envoy::new(rng(node))),
        "arc" => per_node(initial(1), |initial, _| peer::Arc::new(initial)),
        "median-equal" => median(peer::Deal::Equal, initial(peer::LEAST)),
        "median-demand" => median(peer::Deal::Demand, initial(peer::LEAST)),
        "median-equal-64" => median(peer::Deal::Equal, 64),
        "median-demand-64" => median(peer::Deal::Demand, 64),
        "omniscient" => Box::new(oracle::Omniscient),
        "hard-shares" => Box::new(shares::HardShares::new(scenario, shares::By::KnownLoad)),
        "max-min" => Box::new(shares::HardShares::new(
            scenario,
            shares::By::MeasuredDemand,
        )),
        "fixed" => Box::new(fixed::Split::new(told, scenario.nodes, None)),
        "fixed-queue" => {
            let wait = spec.wait.unwrap_or(20 * MS);
            Box::new(fixed::Split::new(told, scenario.nodes, Some(wait)))
        }
        _ => {
            let config = config(scenario).expect("the scenario was checked");
            Box::new(fleet::Fleet::new(scenario, config, seed))
        }
    }
}

fn per_node<A: peer::Algorithm + 'static>(
    initial: u32,
    make: impl Fn(u32, usize) -> A + 'static,
) -> Box<dyn Limiter> {
    Box::new(peer::PerNode::new(move |node| make(initial, node)))
}
