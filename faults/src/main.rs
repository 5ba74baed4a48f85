//! The table of faults: what is in flight at the backend through each, what is served, and how soon it is as before.
//!
//! ```text
//! ./scripts/faults                                          all of them; under twenty minutes
//! ./scripts/faults --fault store-away --policy frozen       one of them
//! ./scripts/faults --estimate fleet                         all of them, with a limit that the fleet finds itself
//! ./scripts/faults --short                                  as CI has them, and as few seconds
//! ./scripts/measure --eight                                 how eight gateways follow a backend they know nothing of
//! ./scripts/measure --eight --queue-ms 20                   the same, with a micro-queue in each
//! ```
//!
//! Ends with status 1 if more was in flight than documented, or if shares were not dealt again; or at once, under
//! `TIDEGATE_REQUIRE_SERVERS=1`, if a chosen fault takes what is not installed.

use clap::Parser;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::time::Duration;
use tidegate_faults::table::{self, head, name, row};
use tidegate_faults::{Estimate, Fault, Policy, Scale, Setup, drill, follow};

/// Real faults on real gateways, and what the backend sees of them.
#[derive(Debug, Parser)]
#[command(name = "faults", max_term_width = 100)]
struct Options {
    /// Only these faults
    #[arg(long)]
    fault: Vec<Fault>,

    /// Only under these policies
    #[arg(long)]
    policy: Vec<Policy>,

    /// Whether the limit is given, or found by the fleet, of a backend with as much capacity
    #[arg(long, default_value = "fixed")]
    estimate: Estimate,

    /// A few seconds each, with shorter leases
    #[arg(long)]
    short: bool,

    /// Instead of faults: eight gateways that are told nothing of a backend whose capacity halves and comes back
    #[arg(long, conflicts_with_all = ["fault", "policy", "estimate", "short"])]
    eight: bool,

    /// With --eight: how long the backend takes, in milliseconds
    #[arg(long, requires = "eight", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    service_ms: u64,

    /// With --eight: how long requests wait in the gateways' micro-queues at most, in milliseconds [default: not at all]
    #[arg(long, requires = "eight")]
    queue_ms: Option<u64>,

    /// With --eight: what the backend serves at once
    #[arg(long, requires = "eight", default_value_t = 64, value_parser = at_least_two)]
    capacity: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.eight {
        return eight(&options);
    }
    let (mut scale, looking) = if options.short {
        (Scale::short(), Duration::from_secs(2))
    } else {
        (Scale::full(), Duration::from_secs(6))
    };
    if options.estimate == Estimate::Fleet {
        scale = scale.told_nothing(looking);
    }
    let drills: Vec<(Fault, Policy)> = Fault::all()
        .filter(|fault| options.fault.is_empty() || options.fault.contains(fault))
        .flat_map(|fault| Policy::ALL.map(|policy| (fault, policy)))
        .filter(|(fault, policy)| match &options.policy[..] {
            [] => fault.matters_under(*policy),
            wanted => wanted.contains(policy),
        })
        .collect();
    // Before the first of them, not after a quarter of an hour.
    let mut missing = drills.iter().filter_map(|(fault, _)| fault.lacks());
    if let Some(missing) = missing.find(|missing| missing.is_required()) {
        eprintln!("{missing}");
        return ExitCode::FAILURE;
    }
    let (given, limit) = match scale.estimate {
        Estimate::Fixed => ("limit", scale.limit),
        Estimate::Fleet => ("told nothing of a capacity of", scale.limit),
    };
    println!(
        "{} gateways, {given} {limit}, service {:?}, heartbeat {:?}, ttl {:?}, drain {:?}",
        scale.gateways, scale.service, scale.heartbeat, scale.ttl, scale.drain
    );
    println!("\n{}", head(scale.estimate));
    let mut all_well = true;
    for (number, (fault, policy)) in drills.iter().enumerate() {
        if let Some(missing) = fault.lacks() {
            eprintln!("{} is left out: {missing}", name(fault));
            continue;
        }
        let title = format!(
            "[{}/{}] {} under {}",
            number + 1,
            drills.len(),
            name(fault),
            name(policy)
        );
        let Some(seen) = drill(*fault, *policy, &scale, |what| progress(&title, what)) else {
            return ExitCode::FAILURE;
        };
        progress("", "");
        println!("{}", row(scale.estimate, &seen));
        all_well &= seen.most <= seen.bound && seen.shared;
    }
    if all_well {
        ExitCode::SUCCESS
    } else {
        eprintln!("more was in flight than documented, or shares were not dealt again");
        ExitCode::FAILURE
    }
}

fn eight(options: &Options) -> ExitCode {
    let setup = Setup {
        capacity: options.capacity,
        service: Duration::from_millis(options.service_ms),
        queue: options.queue_ms.map(Duration::from_millis),
        ..Setup::eight()
    };
    println!(
        "{} gateways, told nothing; backend of {} and {:?}; arrivals for twice that, an n-th as many at the n-th; {}\n",
        setup.gateways,
        setup.capacity,
        setup.service,
        match setup.queue {
            Some(most) => format!("a micro-queue of {most:?}"),
            None => "no micro-queue".to_owned(),
        }
    );
    let Some(seen) = follow(&setup, |what| progress("eight gateways:", what)) else {
        return ExitCode::FAILURE;
    };
    progress("", "");
    println!("{}", table::followed(&seen));
    let (served, slower) = (seen.of_possible(), seen.slower());
    let mut missed = Vec::new();
    if !seen.kept() {
        missed.push("more was in flight than is promised".to_owned());
    }
    if served < GOODPUT {
        missed.push(format!(
            "{served:.3} of what the backend serves alone is below {GOODPUT}"
        ));
    }
    if slower > SLOWER {
        missed.push(format!(
            "a p99 of {slower:.2} times the unloaded is above {SLOWER}"
        ));
    }
    missed.iter().for_each(|what| eprintln!("MISSED: {what}"));
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Bars: of what the backend serves alone, and the p99 in times of the unloaded.
const GOODPUT: f64 = 0.93;
const SLOWER: f64 = 1.3;

/// So that there is a half of it.
fn at_least_two(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(capacity @ 2..) => Ok(capacity),
        _ => Err("write a number of at least 2, so that there is a half of it".to_owned()),
    }
}

/// One line that is written over, where there is somebody to read it.
fn progress(title: &str, what: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{title} {what}");
        // Nothing is lost with it.
        let _ = stderr().flush();
    } else if what == "starts" {
        eprintln!("{title}");
    }
}
