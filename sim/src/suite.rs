//! Many runs at once: each scenario, limiter and seed is a job of its own, on all processors.

use crate::limiter;
use crate::metrics::{Metric, Run, Values};
use crate::scenario::{LimiterSpec, Scenario};
use crate::world;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

/// The oracle that others are measured by.
pub(crate) const ORACLE: &str = "omniscient";

/// A scenario under one limiter, for all its seeds.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) runs: Vec<Run>,
    /// Of all runs, the oracle's beside each included.
    pub(crate) events: u64,
}

/// What the oracle served, by what it runs and seed; run once, whoever asks first.
type Oracles = HashMap<(String, u64), OnceLock<Served>>;

#[derive(Clone, Copy, Debug)]
struct Served {
    rate: f64,
    events: u64,
}

/// Runs each of `scenarios` for its seeds, and the oracle once beside all that differ by their limiter alone; tells `done` after each run.
pub(crate) fn run(scenarios: Vec<Scenario>, done: impl Fn() + Sync) -> Vec<Case> {
    let jobs: Vec<(usize, u64)> = scenarios
        .iter()
        .enumerate()
        .flat_map(|(index, scenario)| scenario.seeds.iter().map(move |seed| (index, *seed)))
        .collect();
    let worlds: Vec<String> = scenarios.iter().map(Scenario::world).collect();
    let oracles: Oracles = jobs
        .iter()
        .map(|(index, seed)| ((worlds[*index].clone(), *seed), OnceLock::new()))
        .collect();
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Run>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some((index, seed)) = jobs.get(job) else {
                        break;
                    };
                    let oracle = &oracles[&(worlds[*index].clone(), *seed)];
                    let run = one(&scenarios[*index], *seed, oracle);
                    *results[job].lock().expect("no job panics") = Some(run);
                    done();
                }
            });
        }
    });
    let mut results = results.into_iter().map(|result| {
        let result = result.into_inner().expect("no job panics");
        result.expect("every job was run")
    });
    let case = |scenario: Scenario| {
        let runs: Vec<Run> = results.by_ref().take(scenario.seeds.len()).collect();
        Case {
            events: runs.iter().map(|run| run.events).sum(),
            scenario,
            runs,
        }
    };
    scenarios.into_iter().map(case).collect()
}

/// One run, measured by the oracle's.
fn one(scenario: &Scenario, seed: u64, oracle: &OnceLock<Served>) -> Run {
    let served = |run: &Run| Served {
        rate: run.values.get(Metric::Rate),
        events: run.events,
    };
    let mut run = world::run(scenario, limiter::build(scenario, seed), seed);
    let possible = *oracle.get_or_init(|| {
        if scenario.limiter.name == ORACLE {
            return served(&run);
        }
        let mut oracle = scenario.clone();
        oracle.limiter = LimiterSpec::named(ORACLE);
        served(&world::run(&oracle, limiter::build(&oracle, seed), seed))
    });
    let rate = run.values.get(Metric::Rate);
    // Where nothing could be served, nothing was missed.
    let part = if possible.rate > 0.0 {
        rate / possible.rate
    } else {
        1.0
    };
    run.values.set(Metric::Goodput, part);
    run.events += possible.events;
    run
}

/// What a scenario came to under a limiter: means over its seeds.
#[derive(Debug)]
pub struct Trial(Case);

impl Trial {
    /// Runs `scenario` for so many seeds, counted from 1, under `limiter`.
    ///
    /// # Errors
    /// If there is no such limiter, or it cannot be as the scenario has it.
    pub fn new(mut scenario: Scenario, limiter: &str, seeds: u64) -> Result<Self, String> {
        limiter::check_name(limiter)?;
        if limiter != scenario.limiter.name {
            scenario.use_limiter(limiter);
        }
        limiter::check(&scenario)?;
        scenario.seeds = (1..=seeds.max(1)).collect();
        let mut cases = run(vec![scenario], || {});
        Ok(Self(cases.pop().expect("there is a case for the scenario")))
    }

    /// Runs each of `scenarios` for its first seed under its own limiter, on all processors.
    #[must_use]
    pub fn each(mut scenarios: Vec<Scenario>) -> Vec<Self> {
        for scenario in &mut scenarios {
            scenario.seeds.truncate(1);
        }
        run(scenarios, || {}).into_iter().map(Self).collect()
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.scenario.name
    }

    /// The least of the metric `name` that the scenario expects; `None` if it says nothing of it.
    #[must_use]
    pub fn least(&self, name: &str) -> Option<f64> {
        let metric = Metric::named(name)?;
        let mut expected = self.0.scenario.expect.iter();
        expected.find(|it| it.metric == metric)?.min
    }

    /// The metric `name`, as expectations name it; `None` if there is no such metric.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        Metric::named(name).map(|metric| self.0.mean().get(metric))
    }

    /// What the scenario expects and did not happen.
    #[must_use]
    pub fn disappointments(&self) -> Vec<String> {
        self.0.disappointments()
    }
}

impl Case {
    /// The mean over seeds.
    pub(crate) fn mean(&self) -> Values {
        self.over_seeds(|values| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The worst seed, metric by metric.
    pub(crate) fn worst(&self) -> Values {
        let mut worst = self.over_seeds(|values| values.iter().copied().fold(f64::NAN, f64::max));
        for metric in Metric::ALL
            .into_iter()
            .filter(|metric| metric.more_is_better())
        {
            let values = self.runs.iter().map(|run| run.values.get(metric));
            worst.set(metric, values.fold(f64::NAN, f64::min));
        }
        worst
    }

    fn over_seeds(&self, fold: impl Fn(&[f64]) -> f64) -> Values {
        let mut folded = Values::NONE;
        for metric in Metric::ALL {
            let values: Vec<f64> = self.runs.iter().map(|run| run.values.get(metric)).collect();
            folded.set(metric, fold(&values));
        }
        folded
    }

    /// What was expected and did not happen, in words.
    pub(crate) fn disappointments(&self) -> Vec<String> {
        let mean = self.mean();
        let mut told = Vec::new();
        for expectation in &self.scenario.expect {
            let value = mean.get(expectation.metric);
            let name = expectation.metric.name();
            // What is not a number is not within bounds.
            match (expectation.min, expectation.max) {
                (Some(min), _) if value.is_nan() || value < min => {
                    told.push(format!("{name} is {value:.4}, below {min}"));
                }
                (_, Some(max)) if value.is_nan() || value > max => {
                    told.push(format!("{name} is {value:.4}, above {max}"));
                }
                _ => {}
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Case {
        let scenario = Scenario::parse("test", text).unwrap();
        run(vec![scenario], || {}).pop().unwrap()
    }

    const HOSTILE: &str = r#"
        duration = 20
        warmup = 5
        seeds = [1, 2, 3]
        [backend]
        capacity = 20
        latency_ms = 20
        [nodes]
        count = 4
        events = [
            { at = 6, join = 2 },
            { at = 8, crash = [0] },
            { at = 9, restart = [0] },
            { at = 10, leave = [1] },
        ]
        [load]
        level = 2
        [network]
        backend_ms = [0.5, 5]
        store_ms = 3
        delay = "exponential"
        loss = 0.05
        duplication = 0.1
        late = { part = 0.05, ms = 300 }
        clock_offset_ms = 1000
        clock_drift_ppm = 20000
        partitions = [{ at = 12, length = 3, nodes = [2] }]
        store_events = [{ at = 14, change = "restart" }, { at = 17, change = "flush" }]
        [limiter]
        name = "leased"
    "#;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let fingerprint = |case: &Case| {
            let values = |run: &Run| Metric::ALL.map(|metric| run.values.get(metric).to_bits());
            (
                case.events,
                case.runs.iter().map(values).collect::<Vec<_>>(),
            )
        };
        let first = fingerprint(&case(HOSTILE));
        assert_eq!(first, fingerprint(&case(HOSTILE)));
        assert_ne!(first.1[0], first.1[1]);
    }

    #[test]
    fn a_fleet_in_trouble_keeps_its_promises_and_goes_on() {
        let case = case(HOSTILE);
        for run in &case.runs {
            assert_eq!(run.values.get(Metric::Violations), 0.0);
        }
        assert!(case.mean().get(Metric::Goodput) > 0.5);
    }

    /// Requests take 200 ms, and the successor is there after 50: the node that leaves drains beside it.
    #[test]
    fn a_node_that_is_replaced_drains_beside_its_successor() {
        for limiter in ["leased", "tidegate-queue", "fixed", "aimd", "hard-shares"] {
            let text = format!(
                "duration = 15\nwarmup = 2\nseeds = [1]\n[backend]\ncapacity = 20\nlatency_ms = 200\n\
                 [nodes]\ncount = 2\nevents = [{{ at = 5, leave = [1] }}, {{ at = 5.05, restart = [1] }}, \
                 {{ at = 8, leave = [0] }}, {{ at = 8.05, restart = [0] }}, {{ at = 8.1, crash = [0] }}]\n\
                 [load]\nlevel = 2\n[limiter]\nname = \"{limiter}\"\n"
            );
            let values = case(&text).mean();
            assert_eq!(values.get(Metric::Violations), 0.0, "{limiter}");
            // `aimd` keeps a queue until clients time out, and here none does.
            if limiter != "aimd" {
                within(&values, Metric::InFlightMax, 0.5, 2.0);
                within(&values, Metric::Goodput, 0.4, 1.1);
            }
        }
    }

    #[test]
    fn two_scenarios_of_one_name_are_each_measured_by_their_own_oracle() {
        let named = |level: &str| {
            let text = format!(
                "duration = 10\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n[load]\nlevel = {level}\n\
                 [limiter]\nname = \"fixed\"\n"
            );
            Scenario::parse("same", &text).unwrap()
        };
        for case in run(vec![named("0.4"), named("0.9")], || {}) {
            within(&case.mean(), Metric::Goodput, 0.9, 1.01);
        }
    }

    #[test]
    fn what_was_expected_and_did_not_happen_is_told() {
        let text = "
            duration = 5
            [backend]
            capacity = 10
            latency_ms = 10
            [load]
            level = 0.1
            [limiter]
            name = \"fixed\"
            [expect]
            false_rejects = { max = 0.001 }
            goodput = { min = 1.5 }
            settle = { max = 1 }
        ";
        let told = case(text).disappointments();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("goodput is") && told[1].starts_with("settle is NaN"));
    }

    /// One seed of `more` behind a backend of 10 that takes 20 ms.
    fn small(level: &str, backend: &str, load: &str, limiter: &str) -> Values {
        let text = format!(
            "duration = 40\nwarmup = 5\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n{backend}\n\
             [load]\nlevel = {level}\n{load}\n[limiter]\nname = \"{limiter}\"\n"
        );
        case(&text).mean()
    }

    #[track_caller]
    fn within(values: &Values, metric: Metric, min: f64, max: f64) {
        let value = values.get(metric);
        assert!(
            (min..=max).contains(&value),
            "{} is {value}, not between {min} and {max}",
            metric.name()
        );
    }

    #[test]
    fn users_in_a_closed_loop_wait_for_their_answers() {
        // As many as offer twice the capacity when nobody waits: 2 * 500 * .12 = 120. The backend answers 500 a second,
        // so 50 think and 70 wait, for 140 ms, which is too late for most.
        let values = small("2", "", "think_ms = 100", "none");
        within(&values, Metric::Rate, 0.0, 60.0);
        within(&values, Metric::InFlightMean, 6.5, 7.5);
        let values = small("0.5", "", "think_ms = 100", "none");
        within(&values, Metric::Rate, 225.0, 260.0);
    }

    /// The one node is away from 3 s to 6 s: of what is measured, a tenth.
    #[test]
    fn whoever_asks_while_all_nodes_are_down_is_not_there_for_good() {
        for load in [
            "think_ms = 100",
            "spread = { skew = { part = 0.9, of = 0.1 } }",
            "retries = { attempts = 3, backoff_ms = 50 }",
            "think_ms = 10\nretries = { attempts = 3, backoff_ms = 500 }",
        ] {
            let text = format!(
                "duration = 32\nwarmup = 2\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n[nodes]\n\
                 events = [{{ at = 3, crash = [0] }}, {{ at = 6, restart = [0] }}]\n\
                 [load]\nlevel = 0.5\n{load}\n[limiter]\nname = \"none\"\n"
            );
            within(&case(&text).mean(), Metric::Rate, 205.0, 250.0);
        }
    }

    #[test]
    fn what_clients_give_up_is_done_all_the_same() {
        let values = small("2", "", "timeout_ms = 40", "none");
        // Nobody is served in time behind a queue that grows all the while.
        within(&values, Metric::Rate, 0.0, 1.0);
        within(&values, Metric::InFlightMean, 500.0, 2000.0);
    }

    #[test]
    fn retries_end_with_their_attempts_and_their_budget() {
        let refused = |load: &str| {
            let text = format!(
                "duration = 40\nwarmup = 5\nseeds = [1]\n[backend]\ncapacity = 10\nlatency_ms = 20\n\
                 service = \"deterministic\"\n[load]\nlevel = 1\n{load}\n[limiter]\nname = \"fixed\"\ntold = 1\n"
            );
            case(&text).mean().get(Metric::Rejects)
        };
        let close = |found: f64, wanted: f64| {
            assert!((found - wanted).abs() < 0.01, "{found} is not {wanted}")
        };
        let once = refused("");
        let again = refused("retries = { attempts = 1, backoff_ms = 50 }");
        let budget = refused("retries = { attempts = 1, backoff_ms = 50, budget = 0.2 }");
        // Erlang B for one server: of so many a second, this part gets the slot of 20 ms.
        let slot = |rate: f64| 1.0 / (1.0 + rate * 0.02);
        close(once, 1.0 - slot(500.0));
        // Each of 500 that is refused asks once more: r = 500 (1 + once).
        close(again, 1.0 - slot(500.0 * (1.0 + again)));
        close(budget, 1.0 - slot(600.0));
    }

    #[test]
    fn a_stall_shows_in_the_tail() {
        let stalls = "stalls = { every = 5, length = 0.5 }\nservice = \"deterministic\"";
        let calm = small("0.5", "service = \"deterministic\"", "", "omniscient");
        let stalled = small("0.5", stalls, "", "omniscient");
        within(&calm, Metric::P999, 0.99, 1.01);
        within(&stalled, Metric::P999, 15.0, 27.0);
        within(&stalled, Metric::P50, 0.99, 1.01);
    }

    #[test]
    fn a_full_queue_is_refused_by_the_backend_and_counts_as_overload() {
        let values = small("2", "queue = 0", "", "none");
        within(&values, Metric::InFlightMax, 0.9, 1.6);
        // Erlang B for 20 Erlangs on 10 servers: 46 % of 1000 a second are served.
        within(&values, Metric::Rate, 440.0, 485.0);
    }
}
