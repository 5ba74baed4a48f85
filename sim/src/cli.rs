//! The command line.

use crate::limiter;
use crate::report;
use crate::scenario::Scenario;
use crate::suite;
use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::path::PathBuf;
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
    /// Runs scenarios and prints a line for each.
    Run(RunArgs),
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

/// Runs the program. Fails when something could not be run, or did not go as the scenarios expect.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run(&args),
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
        let mut scenario = Scenario::read(file)?;
        if let Some(name) = &args.limiter {
            limiter::check_name(name)?;
            if *name != scenario.limiter.name {
                scenario.use_limiter(name);
            }
        }
        if let Some(settings) = &args.settings {
            limiter::check_settings(settings)?;
            scenario.limiter.settings.clone_from(settings);
        }
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
