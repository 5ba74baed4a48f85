//! The command line: every value is read here, and a wrong one is told what to write instead.

use clap::{Parser, ValueEnum};
use hyper::Uri;
use std::net::SocketAddr;
use std::time::Duration;
use tidegate::adaptive::Limits as LocalLimits;
use tidegate::fleet::{Allocation, EmptyStore, Estimate, Handoff, Outage};
use tidegate::store::{FleetStore, MemoryStore, RedisStore};
use tidegate::{Quota, RateLimiter};

/// A reverse proxy that admits no more than a whole fleet of itself has agreed on.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", max_term_width = 100)]
pub(crate) struct Options {
    /// Where requests go: http://HOST[:PORT][/PATH]
    #[arg(long, value_parser = upstream)]
    pub(crate) upstream: Uri,

    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(crate) listen: SocketAddr,

    /// The server to run the proxy under
    #[arg(long, default_value = "axum")]
    pub(crate) framework: Framework,

    /// Where the fleet's state lives: memory, for this process alone, or redis://HOST:PORT
    #[arg(long, default_value = "memory", value_parser = store)]
    pub(crate) store: FleetStore,

    /// What the fleet is called; the same on all gateways of one backend
    #[arg(long, default_value = "gateway")]
    pub(crate) key: String,

    /// What this process is called; different on every gateway [default: drawn at random]
    #[arg(long)]
    pub(crate) node: Option<String>,

    /// How the limit is found: fleet, fixed:N, median or min
    #[arg(long, default_value = "fleet", value_parser = estimate)]
    pub(crate) estimate: Estimate,

    /// How the limit is divided: max-min, equal-split or demand-proportional
    #[arg(long, default_value = "max-min", value_parser = allocation)]
    pub(crate) allocation: Allocation,

    /// When slots move to another node: acknowledged or committed
    #[arg(long, default_value = "acknowledged", value_parser = handoff)]
    pub(crate) handoff: Handoff,

    /// What to do when the store is away: fail-closed, local-only, frozen:TIME or safe-share:SLOTS:TIME
    #[arg(long, default_value = "fail-closed", value_parser = outage)]
    pub(crate) outage: Outage,

    /// What an empty store means: learn, that it has lost what it knew, or trust, that nobody uses it yet [default:
    /// trust for memory, else learn]
    #[arg(long, value_parser = empty_store)]
    pub(crate) empty_store: Option<EmptyStore>,

    /// The most that this gateway admits by its own estimate alone, under median, min and local-only
    #[arg(long, default_value = "1000", value_parser = local_limit)]
    pub(crate) local_limit: LocalLimits,

    /// How often to report
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub(crate) heartbeat: Duration,

    /// How long a lease lasts without an answer
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) ttl: Duration,

    /// How long the backend may work on after a connection to it was cut
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) drain: Duration,

    /// How long a request waits for a slot at most, as in 20ms: in the micro-queue, so a quarter of the mean latency at
    /// most, too [default: not at all]
    #[arg(long, value_parser = duration)]
    pub(crate) queue: Option<Duration>,

    /// The number of the fleet's settings; a higher one changes them for all
    #[arg(long, default_value_t = 0)]
    pub(crate) revision: u64,

    /// What each client address may ask for, as in 100/s or "100/s burst 20" [default: anything]
    #[arg(long)]
    quota: Option<Quota>,

    /// Whether there are any limits, to compare
    #[arg(long, default_value = "on")]
    pub(crate) limits: Limits,

    /// How long clients wait for the head of an answer; then they get 504
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How long the backend is listened to when the client has gone; then its connection is cut
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) linger: Duration,

    /// How long running requests may take at shutdown
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Framework {
    Axum,
    Actix,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Limits {
    On,
    Off,
}

impl Options {
    /// The quota's limiter, if there is a quota.
    pub(crate) fn limiter(&self) -> Option<RateLimiter> {
        let quota = self.quota.filter(|_| self.limits == Limits::On);
        quota.map(RateLimiter::new)
    }
}

fn upstream(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| UPSTREAM)?;
    let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
    if plain { Ok(uri) } else { Err(UPSTREAM) }
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let wrong = "write ADDRESS:PORT, as in 127.0.0.1:8080; port 0 is any that is free";
    text.parse().map_err(|_| wrong)
}

fn store(text: &str) -> Result<FleetStore, String> {
    if text == "memory" {
        return Ok(MemoryStore::new().into());
    }
    RedisStore::new(text)
        .map(Into::into)
        .map_err(|_| "write memory or redis://HOST:PORT".to_owned())
}

fn estimate(text: &str) -> Result<Estimate, &'static str> {
    match text.split_once(':') {
        None if text == "fleet" => Some(Estimate::Fleet),
        None if text == "median" => Some(Estimate::Median),
        None if text == "min" => Some(Estimate::Min),
        Some(("fixed", limit)) => limit.parse().ok().map(Estimate::Fixed),
        _ => None,
    }
    .ok_or("write fixed:24 for a limit of 24, or fleet, median or min")
}

fn allocation(text: &str) -> Result<Allocation, &'static str> {
    match text {
        "max-min" => Ok(Allocation::MaxMin),
        "equal-split" => Ok(Allocation::EqualSplit),
        "demand-proportional" => Ok(Allocation::DemandProportional),
        _ => Err("write max-min, equal-split or demand-proportional"),
    }
}

fn handoff(text: &str) -> Result<Handoff, &'static str> {
    match text {
        "acknowledged" => Ok(Handoff::Acknowledged),
        "committed" => Ok(Handoff::Committed),
        _ => Err("write acknowledged or committed"),
    }
}

fn outage(text: &str) -> Result<Outage, &'static str> {
    let words: Vec<&str> = text.split(':').collect();
    match words[..] {
        ["fail-closed"] => Some(Outage::FailClosed),
        ["local-only"] => Some(Outage::LocalOnly),
        ["frozen", hold] => duration(hold).ok().map(|hold| Outage::Frozen { hold }),
        ["safe-share", slots, hold] => slots
            .parse()
            .ok()
            .zip(duration(hold).ok())
            .map(|(slots, hold)| Outage::SafeShare { slots, hold }),
        _ => None,
    }
    .ok_or(
        "write fail-closed, local-only, frozen:30s to keep the share for 30 s, or safe-share:4:30s to keep 4 slots of it",
    )
}

fn empty_store(text: &str) -> Result<EmptyStore, &'static str> {
    match text {
        "learn" => Ok(EmptyStore::Learn),
        "trust" => Ok(EmptyStore::Trust),
        _ => Err("write learn or trust"),
    }
}

fn local_limit(text: &str) -> Result<LocalLimits, &'static str> {
    let wrong = "write a whole number above zero";
    let most = text.parse().map_err(|_| wrong)?;
    let initial = LocalLimits::default().initial().min(most);
    LocalLimits::new(1, initial, most).map_err(|_| wrong)
}

/// A whole number and its unit.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DURATION)?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" if number <= u64::MAX / 60 => Ok(Duration::from_secs(60 * number)),
        _ => Err(DURATION),
    }
}

const DURATION: &str = "write a whole number and its unit, as in 500ms, 2s or 1m";
const UPSTREAM: &str =
    "write http://HOST:PORT or http://HOST:PORT/PATH; the way to the backend is not encrypted";
