//! How the quotas of a limiter are told to the script.

use crate::decision::{Decisions, Policy};
use crate::error::ConfigError;
use crate::quota::{Kind, Period, Quota, TICKS_PER_NANO};
use crate::rule::{Rule, RuleSet};
use crate::store::redis::rates::{Operation, StoreMoment};
use redis::Script;
use std::sync::Arc;

/// Quotas as the script takes them, and as the rules of this process that read its answers.
#[derive(Clone, Debug)]
pub(crate) struct Spelling {
    policies: Box<[Policy]>,
    rules: Box<[Rule]>,
    script: Arc<Script>,
    code: Box<str>,
}

impl Spelling {
    /// # Errors
    /// If a window is no whole number of microseconds, in which a Redis counts.
    pub(crate) fn new(policies: &[Policy]) -> Result<Self, ConfigError> {
        let step = include_str!("../lua/rates_step.lua");
        Self::with(policies, &short_way(policies), step)
    }

    /// As [`Self::new`], for limits of which processes take units in advance.
    pub(crate) fn leased(policies: &[Policy]) -> Result<Self, ConfigError> {
        Self::with(policies, "", include_str!("../lua/leases_step.lua"))
    }

    fn with(policies: &[Policy], short_way: &str, step: &str) -> Result<Self, ConfigError> {
        let mut words = String::new();
        let mut fields: Vec<Box<str>> = Vec::new();
        for policy in policies {
            let quota = policy.quota();
            let windowed = !matches!(quota.kind(), Kind::TokenBucket);
            if windowed && !quota.window_nanos().is_multiple_of(NANOS_PER_MICRO) {
                return Err(ConfigError::setting(
                    "a window that a store counts in",
                    format_args!("{:?}", quota.window()),
                    "round it to microseconds",
                ));
            }
            let field = distinct(&field(quota), &fields);
            let [a, b, c, d] = numbers(quota);
            words += &format!("'{}', '{field}', {a}, {b}, {c}, {d}, ", letter(quota));
            fields.push(field);
        }
        let quotas = format!("local QUOTAS, WORDS = {}, {{ {words}}}\n", policies.len());
        let parts = [
            include_str!("../lua/rates_call.lua"),
            short_way,
            &quotas,
            include_str!("../lua/rates_rules.lua"),
            include_str!("../lua/rates_clock.lua"),
            step,
        ];
        let code = parts.concat();
        Ok(Self {
            policies: policies.into(),
            rules: policies.iter().map(|policy| Rule::new(*policy)).collect(),
            script: Arc::new(Script::new(&code)),
            code: code.into(),
        })
    }

    pub(crate) const fn policies(&self) -> &[Policy] {
        &self.policies
    }

    pub(crate) const fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The script, with the quotas in it: a Redis keeps one for each limiter that differs.
    pub(crate) const fn script(&self) -> &Arc<Script> {
        &self.script
    }

    pub(in crate::store::redis) const fn code(&self) -> &str {
        &self.code
    }

    /// Whether chance decides here.
    pub(crate) fn needs_random(&self) -> bool {
        let suppress = |rule: &Rule| matches!(rule, Rule::Suppress(_));
        self.rules.iter().any(suppress)
    }

    /// What is to be done for a request that costs `cost`: what could never be allowed is only asked about.
    pub(crate) fn decide(&self, cost: u32, random: u32) -> Operation<'static> {
        if cost > 0 && self.can_fit(cost) {
            Operation::Decide { cost, random }
        } else {
            Operation::Ask(cost)
        }
    }

    /// What is said to a cost that could never be allowed, which needs no store; none if it could.
    pub(crate) fn never(&self, cost: u32) -> Option<Decisions> {
        if cost == 0 || self.can_fit(cost) {
            return None;
        }
        let rules = RuleSet::new(&self.policies);
        let nothing = vec![0; rules.words()];
        let at = StoreMoment::default().moment(0);
        Some(rules.ask_each(&nothing, cost, at).unknown())
    }

    fn can_fit(&self, cost: u32) -> bool {
        let fits = |policy: &Policy| {
            let quota = policy.quota();
            !quota.denies_all() && cost <= quota.burst_size()
        };
        self.policies.iter().all(fits)
    }
}

/// How the script decides under one quota of a usual rule, without what several or the others need.
fn short_way(policies: &[Policy]) -> String {
    let [policy] = policies else {
        return String::new();
    };
    let quota = policy.quota();
    let code = match quota.kind() {
        Kind::TokenBucket => include_str!("../lua/rates_bucket.lua"),
        Kind::FixedWindow => include_str!("../lua/rates_fixed.lua"),
        Kind::SlidingWindow => include_str!("../lua/rates_sliding.lua"),
        Kind::SlidingLog | Kind::Suppress | Kind::Calendar(_) => return String::new(),
    };
    let [a, b, c, d] = numbers(quota);
    let field = field(quota);
    format!("local FIELD, A, B, C, D = '{field}', {a}, {b}, {c}, {d}\n{code}")
}

/// A mark of [`Rule::mark`] as the script takes it.
pub(super) const fn mark_words(rule: &Rule, mark: u64) -> [u64; 2] {
    match rule {
        Rule::Gcra(_) => split(mark),
        Rule::SlidingLog(_) => [mark / NANOS_PER_MICRO, 0],
        _ => [mark, 0],
    }
}

/// Ticks as whole microseconds and the rest.
pub(super) const fn split(ticks: u64) -> [u64; 2] {
    [ticks / TICKS_PER_MICRO, ticks % TICKS_PER_MICRO]
}

const fn letter(quota: &Quota) -> &'static str {
    match quota.kind() {
        Kind::TokenBucket => "g",
        Kind::FixedWindow => "f",
        Kind::SlidingWindow => "s",
        Kind::SlidingLog => "l",
        Kind::Suppress => "p",
        Kind::Calendar(_) => "c",
    }
}

/// The field of the hash: all that the meaning of a count depends on, which the limit does not.
fn field(quota: &Quota) -> Box<str> {
    match quota.kind() {
        Kind::Calendar(calendar) => {
            let period = period(calendar.period());
            format!("c{period}{:+}", calendar.offset_minutes()).into()
        }
        _ => format!("{}{}", letter(quota), quota.window_nanos()).into(),
    }
}

/// `field`, or with a number behind it if there is one like it.
fn distinct(field: &str, fields: &[Box<str>]) -> Box<str> {
    let mut own: Box<str> = field.into();
    let mut number = 1;
    while fields.contains(&own) {
        number += 1;
        own = format!("{field}/{number}").into();
    }
    own
}

fn numbers(quota: &Quota) -> [i64; 4] {
    // All are below 2^53.
    let limit = i64::from(quota.limit());
    let micros = (quota.window_nanos() / NANOS_PER_MICRO) as i64;
    match quota.kind() {
        Kind::TokenBucket => {
            // Where nothing is allowed nothing is counted.
            let open = quota.interval_ticks().filter(|_| !quota.denies_all());
            let interval = open.unwrap_or(0);
            let [whole, rest] = split(interval);
            let [tolerance, part] = split(interval * u64::from(quota.burst_size()));
            [whole, rest, tolerance, part].map(|number| number as i64)
        }
        Kind::FixedWindow | Kind::SlidingWindow | Kind::SlidingLog => [micros, limit, 0, 0],
        Kind::Suppress => [micros, limit, quota.burst_size().into(), 0],
        Kind::Calendar(calendar) => {
            let offset = i64::from(calendar.offset_minutes()) * 60_000_000;
            [offset, limit, period(calendar.period()), 0]
        }
    }
}

const fn period(period: Period) -> i64 {
    match period {
        Period::Hour => 1,
        Period::Day => 2,
        Period::Month => 3,
    }
}

const NANOS_PER_MICRO: u64 = 1_000;
pub(super) const TICKS_PER_MICRO: u64 = TICKS_PER_NANO * NANOS_PER_MICRO;
