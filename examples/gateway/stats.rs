//! What a gateway tells about itself: as JSON, or as a page that asks for the JSON every second.

use crate::options::{Limits, Options};
use crate::proxy::Counts;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidegate::Shed;
use tidegate::fleet::DistributedGuard;

/// Everything there is to tell.
pub(crate) struct Stats {
    guard: Option<DistributedGuard>,
    counts: Arc<Counts>,
    framework: String,
    upstream: String,
    limits: Limits,
    /// Set by the server that has a quota.
    denied: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

/// What the reader can make use of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Looks {
    Json,
    Page,
}

impl Looks {
    /// A page for whoever says `text/html`, as browsers do.
    pub(crate) fn of(accept: Option<&[u8]>) -> Self {
        let html = accept.is_some_and(|it| it.windows(9).any(|word| word == b"text/html"));
        if html { Self::Page } else { Self::Json }
    }
}

/// The headers that go with it.
pub(crate) const fn headers(looks: Looks) -> [(&'static str, &'static str); 4] {
    [
        (
            "content-type",
            match looks {
                Looks::Json => "application/json",
                Looks::Page => "text/html; charset=utf-8",
            },
        ),
        ("cache-control", "no-store"),
        ("vary", "accept"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        ),
    ]
}

impl Stats {
    pub(crate) fn new(
        options: &Options,
        guard: Option<DistributedGuard>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            guard,
            counts,
            framework: format!("{:?}", options.framework).to_lowercase(),
            upstream: options.upstream.to_string(),
            limits: options.limits,
            denied: OnceLock::new(),
        }
    }

    /// Where to ask for the requests denied by the quota.
    pub(crate) fn count_denied_by(&self, denied: impl Fn() -> u64 + Send + Sync + 'static) {
        // There is one server, and it says so once.
        let _ = self.denied.set(Box::new(denied));
    }

    pub(crate) fn show(&self, looks: Looks) -> String {
        match looks {
            Looks::Json => format!("{:#}\n", self.json()),
            Looks::Page => PAGE.to_owned(),
        }
    }

    fn json(&self) -> Value {
        let counted = |what: &std::sync::atomic::AtomicU64| what.load(Ordering::Relaxed);
        let mut all = json!({
            "framework": self.framework,
            "upstream": self.upstream,
            "limits": match self.limits { Limits::On => "on", Limits::Off => "off" },
            "at_backend": counted(&self.counts.at_backend),
            "hung_up": counted(&self.counts.hung_up),
            "unanswered": counted(&self.counts.unanswered),
            "denied_by_quota": self.denied.get().map(|denied| denied()),
        });
        if let (Some(guard), Value::Object(all)) = (&self.guard, &mut all) {
            all.extend(of_guard(guard));
        }
        all
    }
}

fn of_guard(guard: &DistributedGuard) -> Map<String, Value> {
    let stats = guard.stats();
    let sheds: Map<_, _> = Shed::ALL
        .iter()
        .zip(stats.sheds)
        .map(|(reason, count)| (reason.as_str().to_owned(), count.into()))
        .collect();
    let told = json!({
        "key": *stats.key,
        "node": *stats.node,
        "state": format!("{:?}", stats.state).to_lowercase(),
        "limit": stats.limit,
        "share": stats.share,
        "target": stats.target,
        "in_flight": stats.in_flight,
        "nodes": stats.nodes,
        "local_limit": stats.local_limit,
        "served": stats.successes,
        "failed": stats.failures_of_requests,
        "overloads": stats.overloads,
        "completions": stats.completions,
        "sheds": sheds,
        "beats": stats.beats,
        "beats_failed": stats.failures,
        "plans": stats.plans,
        "fences": stats.fences,
        "beat_ms": stats.last_beat_latency.map(millis),
        "beat_age_ms": stats.last_beat_age.map(millis),
        "store_trouble": stats.trouble.map(|trouble| trouble.to_string()),
    });
    match told {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}

fn millis(duration: Duration) -> f64 {
    // Tenths are enough, and read better.
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

const PAGE: &str = include_str!("page.html");
