//! What gateways carry, and what they keep away from their backend: real processes, real requests.
//!
//! ```text
//! ./scripts/measure
//! ```
//!
//! First the same gateway with and without its limits, in front of a backend that answers at once: slices in turn,
//! medians of them. Then three gateways, two under axum and one under actix-web, that share one limit over Redis in
//! front of a backend with known capacity, under more load than it can take; the same where nobody tells them the
//! capacity; and the same without limits.

mod load;

use crate::load::{Told, load};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tidegate_test_support::{Backend, ChildGuard, PATIENCE, RedisServer};

/// What the backend can take at once, and how long it takes: 2 400 requests a second.
const CAPACITY: usize = 24;
const SERVICE: Duration = Duration::from_millis(10);
/// Clients that each have one request on the way at any time, and wait so long after a denial: far too many.
const CLIENTS: usize = 96;
const PAUSE: Duration = Duration::from_millis(10);
/// Requests of the run under too much load.
const REQUESTS: u64 = 150_000;
/// Slices of each candidate in the comparison, and their length.
const SLICES: usize = 21;
const SLICE: u64 = 6_000;

fn main() -> ExitCode {
    let program = match program() {
        Ok(program) => program,
        Err(missing) => {
            eprintln!("{missing}");
            return ExitCode::FAILURE;
        }
    };
    for framework in ["axum", "actix"] {
        compare(&program, framework);
    }
    let Some(redis) = RedisServer::start() else {
        return ExitCode::FAILURE;
    };
    let kept = overload(&program, &redis, Limits::Told);
    let given_back = overload(&program, &redis, Limits::Found);
    overload(&program, &redis, Limits::Off);
    if kept && given_back {
        ExitCode::SUCCESS
    } else {
        eprintln!("the limit was not kept, or slots were not given back");
        ExitCode::FAILURE
    }
}

/// The gateway that was built beside this program.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name("examples").join("gateway");
    if program.exists() {
        Ok(program)
    } else {
        Err(format!(
            "there is no {}: run ./scripts/measure",
            program.display()
        ))
    }
}

/// A running gateway.
struct Gateway {
    process: ChildGuard,
    address: SocketAddr,
}

impl Gateway {
    fn start(program: &PathBuf, upstream: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(["--listen", "127.0.0.1:0", "--upstream", upstream])
            .args(arguments);
        let process = ChildGuard::spawn(&command);
        let line = process.expect_line("listening on ");
        let address = line.split("http://").last().unwrap_or_default();
        let address = address.parse().expect("the line ends with the address");
        process.expect_line("ready: ");
        Self { process, address }
    }

    fn stats(&self) -> Value {
        let text = load::get(self.address, "/stats");
        serde_json::from_str(&text).expect("statistics are JSON")
    }

    fn leave(mut self) {
        self.process.terminate();
        let status = self.process.wait(2 * PATIENCE);
        assert!(status.is_some_and(|it| it.success()), "it left cleanly");
    }
}

/// Requests a second with and without limits, none of which is reached.
fn compare(program: &PathBuf, framework: &str) {
    let backend = Backend::start();
    let common = ["--framework", framework, "--estimate", "fixed:10000"];
    let [with, without] = ["on", "off"].map(|limits| {
        let arguments = [&common[..], &["--quota", "1000000/s", "--limits", limits]].concat();
        Gateway::start(program, &backend.url(), &arguments)
    });
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..SLICES {
        for (gateway, figures) in [&with, &without].into_iter().zip(&mut figures) {
            let told = load(&[gateway.address], 64, SLICE, Duration::ZERO);
            assert_eq!(told.served.len() as u64, SLICE, "{told:?}");
            figures.push((told.a_second(), told.percentile(99)));
        }
    }
    let [with_limits, without_limits] = figures.map(|mut figures| {
        figures.sort_by(|a, b| a.0.total_cmp(&b.0));
        figures[SLICES / 2]
    });
    println!(
        "{framework}, backend answers at once, 64 connections, {SLICES} slices of {SLICE} requests"
    );
    println!("                      requests/s      p99");
    for (name, (a_second, p99)) in [("both limits", with_limits), ("no limits", without_limits)] {
        println!("  {name:<16} {a_second:13.0} {:8.1} ms", millis(p99));
    }
    println!(
        "  ratio            {:13.3}",
        with_limits.0 / without_limits.0
    );
    with.leave();
    without.leave();
}

/// What the gateways know of the backend.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limits {
    /// Its capacity.
    Told,
    /// Nothing: the fleet finds it.
    Found,
    Off,
}

/// More load than the backend can take, through three gateways. Whether a limit that was told was kept, and every slot
/// came back.
fn overload(program: &PathBuf, redis: &RedisServer, limits: Limits) -> bool {
    let backend = Backend::builder()
        .capacity(CAPACITY)
        .service_time(SERVICE)
        .start();
    let estimate = match limits {
        Limits::Found => "fleet".to_owned(),
        Limits::Told | Limits::Off => format!("fixed:{CAPACITY}"),
    };
    let switch = if limits == Limits::Off { "off" } else { "on" };
    let key = format!("{limits:?}");
    let store = redis.url();
    let gateways = [("a", "axum"), ("b", "axum"), ("c", "actix")].map(|(node, framework)| {
        let arguments = [
            "--node",
            node,
            "--framework",
            framework,
            "--store",
            &store,
            "--estimate",
            &estimate,
            "--key",
            &key,
            "--quota",
            "2000/s",
            "--limits",
            switch,
        ];
        Gateway::start(program, &backend.url(), &arguments)
    });
    let told = load(
        &gateways.each_ref().map(|it| it.address),
        CLIENTS,
        REQUESTS,
        PAUSE,
    );
    let rest = backend.wait_until(PATIENCE, |stats| stats.in_flight == 0);
    println!(
        "three gateways on one Redis, limit {limits:?}; backend takes {CAPACITY} at once, {} requests/s; {CLIENTS} clients",
        CAPACITY as u128 * 1000 / SERVICE.as_millis()
    );
    report(&told);
    println!("  most at the backend at once  {:8}", rest.max_in_flight);
    let left: Vec<u64> = gateways
        .iter()
        .filter_map(|gateway| gateway.stats()["in_flight"].as_u64())
        .collect();
    println!(
        "  in flight at the end         {:8}   at the gateways {left:?}",
        rest.in_flight
    );
    gateways.into_iter().for_each(Gateway::leave);
    let kept = limits != Limits::Told || rest.max_in_flight <= CAPACITY;
    kept && rest.in_flight == 0 && left.iter().all(|it| *it == 0)
}

fn report(told: &Told) {
    let all = told.all();
    let part = |of: u64| 100.0 * of as f64 / all as f64;
    println!(
        "  requests                     {all:8}   {:.0}/s",
        told.a_second()
    );
    println!(
        "  served                       {:8}   {:.0}/s, {:.1} %",
        told.served.len(),
        told.served.len() as f64 / told.took.as_secs_f64(),
        part(told.served.len() as u64)
    );
    for (status, count) in &told.others {
        println!(
            "  {status}                          {count:8}   {:.1} %",
            part(*count)
        );
    }
    println!("  without an answer            {:8}", told.broken);
    println!(
        "  served: half within {:.1} ms, p99 {:.1} ms; denied: p99 {:.1} ms",
        millis(told.percentile(50)),
        millis(told.percentile(99)),
        millis(told.percentile_denied(99))
    );
}

fn millis(micros: u32) -> f64 {
    f64::from(micros) / 1000.0
}
