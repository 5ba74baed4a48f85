//! Many runs at once: each scenario, limiter and seed is a job of its own, on all processors.

#[cfg(test)]
mod tests;

use crate::limiter;
use crate::metrics::{Metric, NEVER, Run, Values};
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
    // Where nothing could be served there is nothing to judge by.
    let part = if possible.rate > 0.0 {
        rate / possible.rate
    } else {
        f64::NAN
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

    /// Runs `scenario` for all its seeds under its own limiter.
    #[must_use]
    pub fn of_all_seeds(scenario: Scenario) -> Self {
        let mut cases = run(vec![scenario], || {});
        Self(cases.pop().expect("there is a case for the scenario"))
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.scenario.name
    }

    /// How far each metric of which the scenario expects something is within its bound, by name: negative where it is
    /// missed, no number where there was nothing to judge.
    #[must_use]
    pub fn margins(&self) -> Vec<(&'static str, f64)> {
        let mean = self.0.mean();
        let expected = self.0.scenario.expect.iter();
        let margins = expected.flat_map(|it| {
            let value = mean.get(it.metric);
            let margins = [it.min.map(|min| value - min), it.max.map(|max| max - value)];
            let margins = margins.into_iter().flatten();
            margins.map(|margin| (it.metric.name(), margin))
        });
        margins.collect()
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

    /// The mean over seeds of `metric` as it counts beside other scenarios: a seed that never settled as [`NEVER`].
    pub(crate) fn counted(&self, metric: Metric) -> f64 {
        let seeds = self.runs.iter().map(|run| run.values.get(metric));
        let counted = seeds.map(|value| match metric {
            Metric::Settle if value == f64::INFINITY => NEVER,
            _ => value,
        });
        counted.sum::<f64>() / self.runs.len() as f64
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
