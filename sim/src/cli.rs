//! The command line.

use crate::matrix::{Extent, Matrix};
use crate::metrics::Metric;
use crate::scenario::Scenario;
use crate::suite::{self, Case};
use crate::{compare, generate, limiter, plot, report};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the fleet guard, its peers and oracles in virtual time.
#[derive(Debug, Parser)]
#[command(name = "tidegate-sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios and prints a line for each; exits with 1 if something was not as a file expects.
    Run(RunArgs),
    /// Runs the covering set of sizes, loads, backends and service times, and the scenarios beside it; exits with 1 if
    /// a bar was missed or a promise broken.
    Matrix(MatrixArgs),
    /// Runs all limiters on the core scenarios; exits with 1 if a promise was broken.
    Compare(CompareArgs),
    /// Runs scenarios that are drawn from most of the format, and sums up the mean and the worst tenth.
    Drawn(DrawnArgs),
    /// Draws the first seed of a scenario over time.
    Plot(PlotArgs),
    /// Lists the limiters and the metrics.
    List,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Scenario files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Another limiter than the file's, without the file's settings for it.
    #[arg(long)]
    limiter: Option<String>,
    /// Settings of the fleet, as `estimate=median;allocation=max-min`, instead of the file's.
    #[arg(long)]
    settings: Option<String>,
    /// So many seeds, counted from 1, instead of the file's.
    #[arg(long)]
    seeds: Option<u64>,
    /// Prints everything as JSON.
    #[arg(long)]
    json: bool,
    /// Prints the worst seed below the mean.
    #[arg(long)]
    worst: bool,
    /// Writes the first run over time to this file, as CSV.
    #[arg(long)]
    trace: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct MatrixArgs {
    /// Scenario files that are run too.
    files: Vec<PathBuf>,
    /// Every combination instead of every two: hours.
    #[arg(long)]
    full: bool,
    /// Only the cells whose names contain this, as `halves` or `N=8 C=100`; may be given more than once.
    #[arg(long)]
    only: Vec<String>,
    #[arg(long, default_value = "tidegate")]
    limiter: String,
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Prints everything as JSON.
    #[arg(long)]
    json: bool,
    /// Settings of the fleet.
    #[arg(long)]
    settings: Option<String>,
}

#[derive(Args, Debug)]
struct CompareArgs {
    /// Only these.
    #[arg(long = "limiter")]
    limiters: Vec<String>,
    /// Prints the tables for a document.
    #[arg(long)]
    markdown: bool,
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Prints everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct DrawnArgs {
    /// How many.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// The number of the first.
    #[arg(long, default_value_t = 0)]
    first: u64,
    #[arg(long, default_value = "tidegate")]
    limiter: String,
    /// Settings of the fleet.
    #[arg(long)]
    settings: Option<String>,
    /// Prints the first one as a file instead of running any.
    #[arg(long)]
    print: bool,
    /// Prints everything as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct PlotArgs {
    file: PathBuf,
    /// Where to.
    #[arg(long)]
    out: PathBuf,
    /// Other limiters than the file's, side by side.
    #[arg(long = "limiter")]
    limiters: Vec<String>,
    /// Settings of the fleet.
    #[arg(long)]
    settings: Option<String>,
}

/// Runs the program. Fails when something could not be run, or did not go as the scenarios expect.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Matrix(args) => matrix(&args),
        Command::Compare(args) => compare(&args),
        Command::Drawn(args) => drawn(&args),
        Command::Plot(args) => plot(&args),
        Command::List => list(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<bool, Box<dyn Error>> {
    let mut scenarios = Vec::new();
    for file in &args.files {
        let mut scenario = read(file, args.limiter.as_deref(), args.settings.as_deref())?;
        if let Some(seeds) = args.seeds {
            scenario.seeds = (1..=seeds.max(1)).collect();
        }
        scenarios.push(scenario);
    }
    let cases = suite::run(scenarios, || {});
    if let Some(path) = &args.trace {
        std::fs::write(path, report::trace(&cases[0].runs[0]))?;
    }
    if args.json {
        println!("{:#}", report::json(&cases));
    } else {
        print!("{}", report::table(&cases, args.worst));
    }
    Ok(cases.iter().all(|case| case.disappointments().is_empty()))
}

fn matrix(args: &MatrixArgs) -> Result<bool, Box<dyn Error>> {
    limiter::check_name(&args.limiter)?;
    let extent = if args.full {
        Extent::Full
    } else {
        Extent::Covering
    };
    let matrix = Matrix::of(extent, &args.only)?;
    let mut scenarios = matrix.scenarios(args.seeds.max(1), &args.limiter);
    for file in &args.files {
        scenarios.push(read(file, Some(&args.limiter), None)?);
    }
    for scenario in &mut scenarios {
        use_limiter(scenario, None, args.settings.as_deref())?;
    }
    let cases = with_progress(scenarios);
    if args.json {
        println!("{:#}", report::json(&cases));
    } else {
        print!("{}", report::table(&cases, true));
    }
    let ours: Vec<Case> = cases
        .into_iter()
        .filter(|case| case.scenario.limiter.name == args.limiter)
        .collect();
    let summary = matrix.summary(&ours);
    if args.json {
        // Beside what is read by a program: which bar was missed, if the exit status says so.
        eprint!("\n{summary}");
    } else {
        print!("\n{summary}");
    }
    Ok(matrix.is_as_expected(&ours))
}

fn compare(args: &CompareArgs) -> Result<bool, Box<dyn Error>> {
    let names = if args.limiters.is_empty() {
        compare::everybody()
    } else {
        args.limiters.clone()
    };
    for name in &names {
        limiter::check_name(name)?;
    }
    let cases = with_progress(compare::scenarios(&names, args.seeds.max(1)));
    if args.json {
        println!("{:#}", report::json(&cases));
    } else {
        print!("{}", compare::tables(&cases, args.markdown));
    }
    Ok(compare::is_kept(&cases))
}

fn drawn(args: &DrawnArgs) -> Result<bool, Box<dyn Error>> {
    limiter::check_name(&args.limiter)?;
    if args.print {
        print!("{}", generate::text(args.first));
        return Ok(true);
    }
    let mut scenarios: Vec<Scenario> = (args.first..args.first + args.count.max(1))
        .map(generate::scenario)
        .collect();
    for scenario in &mut scenarios {
        use_limiter(scenario, Some(&args.limiter), args.settings.as_deref())?;
    }
    let cases = with_progress(scenarios);
    if args.json {
        println!("{:#}", report::json(&cases));
    } else {
        print!("{}", report::table(&cases, false));
        print!("\n{}", report::tenths(&cases));
    }
    Ok(cases.iter().all(|case| case.disappointments().is_empty()))
}

fn plot(args: &PlotArgs) -> Result<bool, Box<dyn Error>> {
    let settings = args.settings.as_deref();
    let mut scenarios = Vec::new();
    for name in &args.limiters {
        scenarios.push(read(&args.file, Some(name), settings)?);
    }
    if scenarios.is_empty() {
        scenarios.push(read(&args.file, None, settings)?);
    }
    scenarios
        .iter_mut()
        .for_each(|scenario| scenario.seeds.truncate(1));
    // Capacities times this are requests a second.
    let unit = scenarios[0].unit() / scenarios[0].knee(0);
    let cases = suite::run(scenarios, || {});
    let titled = |case: &Case| {
        let scenario = &case.scenario;
        format!("{}: {}", scenario.name, scenario.limiter.name)
    };
    let runs: Vec<_> = cases
        .iter()
        .map(|case| (titled(case), &case.runs[0]))
        .collect();
    plot::draw(&runs, unit, &args.out)?;
    Ok(true)
}

fn list() -> Result<bool, Box<dyn Error>> {
    println!("limiters");
    for (name, about) in limiter::NAMES {
        println!("  {name:22} {about}");
    }
    println!("metrics");
    for metric in Metric::ALL {
        println!("  {:22} {}", metric.name(), metric.about());
    }
    Ok(true)
}

/// The scenario in `file`, perhaps under another limiter or with other settings.
fn read(
    file: &Path,
    limiter: Option<&str>,
    settings: Option<&str>,
) -> Result<Scenario, Box<dyn Error>> {
    let mut scenario = Scenario::read(file)?;
    use_limiter(&mut scenario, limiter, settings)?;
    Ok(scenario)
}

fn use_limiter(
    scenario: &mut Scenario,
    limiter: Option<&str>,
    settings: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    if let Some(name) = limiter {
        limiter::check_name(name)?;
        if name != scenario.limiter.name {
            scenario.use_limiter(name);
        }
    }
    if let Some(settings) = settings
        && limiter::is_fleet(&scenario.limiter.name)
    {
        scenario.limiter.settings = settings.to_owned();
    }
    limiter::check(scenario).map_err(|message| format!("{}: {message}", scenario.name))?;
    Ok(())
}

fn with_progress(scenarios: Vec<Scenario>) -> Vec<Case> {
    let runs = scenarios
        .iter()
        .map(|scenario| scenario.seeds.len() as u64)
        .sum();
    let style = ProgressStyle::with_template("{bar:50} {pos} of {len} runs, {eta} to go");
    let bar = ProgressBar::new(runs).with_style(style.expect("a template of known fields"));
    let cases = suite::run(scenarios, || bar.inc(1));
    bar.finish_and_clear();
    cases
}
