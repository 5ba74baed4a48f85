//! How much strict, leased and layered limits admit, beside one exact counter of the same requests: real Redis servers,
//! real windows of ten seconds, links with a round trip. What regions do whose global store is away for a minute. And what
//! a warm decision costs, and the longest of many cold ones.
//!
//! ```text
//! cargo run --release -p tidegate-bench --bin accuracy
//! cargo run --release -p tidegate-bench --bin accuracy -- costs    # the latter alone, in seconds
//! ```
//!
//! All cases run at the same time, in about two minutes. On a busy machine links are slower than they say.

mod away;
mod bed;
mod case;
mod costs;

use self::bed::Bed;
use self::case::{Case, Show, WINDOW, cases, leased_cases, strict_cases};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::Key;
use tidegate::layered::LayeredLimiter;
use tidegate::leased::LeasedLimiter;
use tidegate::limiter::AnyLimiter;
use tidegate::strict::StrictLimiter;
use tidegate_test_support::{Offered, since_1970};

const WINDOWS: u32 = 4;

#[tokio::main]
async fn main() {
    let Some(bed) = Bed::start().map(Arc::new) else {
        return;
    };
    if std::env::args().nth(1).as_deref() == Some("costs") {
        return costs::costs(&bed).await;
    }
    let progress = tokio::spawn(progress());
    let away = tokio::spawn({
        let bed = Arc::clone(&bed);
        async move { away::lines(&bed).await }
    });
    let mut running = Vec::new();
    for case in strict_cases() {
        let nodes = bed.strict_nodes(&case);
        running.push(tokio::spawn(strict_line(nodes, case)));
    }
    for (number, case) in cases().into_iter().enumerate() {
        let nodes = bed.nodes(&number.to_string(), &case);
        running.push(tokio::spawn(layered_line(nodes, case)));
    }
    for case in leased_cases() {
        let nodes = bed.leased_nodes(&case);
        running.push(tokio::spawn(leased_line(nodes, case)));
    }
    let mut lines = Vec::new();
    for line in running {
        lines.push(line.await.expect("no panic"));
    }
    lines.extend(away.await.expect("no panic"));
    progress.abort();
    eprintln!();
    println!("what                          nodes   limit   load round trip  value   bar");
    for line in lines {
        println!("{line}");
    }
    costs::burst(&bed).await;
    costs::costs(&bed).await;
}

async fn progress() {
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    let whole = u64::from(away::WINDOWS) * WINDOW.as_secs();
    for second in 0.. {
        timer.tick().await;
        eprint!("\r{second:3} of about {whole} s ");
        let _ = std::io::stderr().flush();
    }
}

/// The requests of one case, each on a node of its own choosing.
async fn run(nodes: Vec<AnyLimiter>, case: Case) -> Offered {
    // Two regions are compared once they know of each other.
    let skip = if case.regions > 1 { 2 } else { 0 };
    let ask = |node: usize| {
        let node = nodes[node].clone();
        async move { node.decide(&Key::of("hot"), 1).await.is_allowed() }
    };
    case.load(WINDOWS, skip).offer(ask).await
}

async fn layered_line(nodes: Vec<LayeredLimiter>, case: Case) -> String {
    let any = nodes.iter().cloned().map(AnyLimiter::from).collect();
    let seen = run(any, case).await;
    let stats = nodes.iter().map(LayeredLimiter::stats);
    let (of, by) = match case.show {
        Show::Accuracy => (u64::from(seen.admitted), seen.exact),
        Show::Reads => (stats.map(|stats| stats.reads).sum(), seen.requests),
        Show::Writes => (stats.map(|stats| stats.writes).sum(), seen.admitted),
    };
    case.line(of as f64 / f64::from(by), "")
}

/// What leased limits admit, by how much they may be above, and how often they ask.
async fn leased_line(nodes: Vec<LeasedLimiter>, case: Case) -> String {
    let any = nodes.iter().cloned().map(AnyLimiter::from).collect();
    let seen = run(any, case).await;
    let asked: u64 = nodes.iter().map(|node| node.stats().asked).sum();
    let note = format!(
        ", bound + {}; {:.3} round trips / request",
        nodes[0].overshoot_bound(nodes.len() as u32),
        asked as f64 / f64::from(seen.requests),
    );
    case.line(f64::from(seen.admitted) / f64::from(seen.exact), &note)
}

/// What strict limits admit, and the most of it in one window, of what was asked for and answered in the same one.
async fn strict_line(nodes: Vec<StrictLimiter>, case: Case) -> String {
    let windows: Arc<Mutex<BTreeMap<u128, u32>>> = Arc::default();
    let ask = |node: usize| {
        let (node, windows) = (nodes[node].clone(), Arc::clone(&windows));
        async move {
            let window = || since_1970().as_nanos() / WINDOW.as_nanos();
            let asked = window();
            let allowed = node.decide(&Key::of("hot"), 1).await.is_allowed();
            if allowed && asked == window() {
                let mut windows = windows.lock().expect("nothing panics under this lock");
                *windows.entry(asked).or_default() += 1;
            }
            allowed
        }
    };
    let seen = case.load(WINDOWS, 0).offer(ask).await;
    let windows = windows.lock().expect("nothing panics under this lock");
    let most = windows.values().max().copied().unwrap_or_default();
    let note = format!(", {most} in a window at most");
    case.line(f64::from(seen.admitted) / f64::from(seen.exact), &note)
}
