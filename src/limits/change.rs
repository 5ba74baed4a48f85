//! What differs between two plans, for logs and for people.

use crate::decision::Policy;
use crate::limits::plan::Plan;
use std::collections::BTreeMap;
use std::fmt;

/// One thing that became different with a new plan. Its `Display` form is a line for people.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A limit.
    Limit {
        /// Its name.
        name: Box<str>,
        /// Its policies before; none if it is new.
        before: Box<[Policy]>,
        /// Its policies now; none if it is gone.
        now: Box<[Policy]>,
    },
    /// A route.
    Route {
        /// As in the plan.
        route: Box<str>,
        /// The name of its limit before, if it had one.
        before: Option<Box<str>>,
        /// The name of its limit now, if it has one.
        now: Option<Box<str>>,
    },
    /// The most keys of each limit.
    MaxKeys {
        /// Before.
        before: usize,
        /// Now.
        now: usize,
    },
}

/// All changes, the limits first.
pub(super) fn changes(before: &Plan, now: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, before, now) in differences(&before.limits, &now.limits) {
        changes.push(Change::Limit {
            name: name.clone(),
            before: before.cloned().unwrap_or_default(),
            now: now.cloned().unwrap_or_default(),
        });
    }
    for (route, before, now) in differences(&before.routes, &now.routes) {
        changes.push(Change::Route {
            route: route.to_string().into(),
            before: before.cloned(),
            now: now.cloned(),
        });
    }
    if before.max_keys != now.max_keys {
        changes.push(Change::MaxKeys {
            before: before.max_keys.get(),
            now: now.max_keys.get(),
        });
    }
    changes
}

type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

fn differences<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = Difference<'a, K, V>> {
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    now.keys()
        .chain(gone)
        .map(|key| (key, before.get(key), now.get(key)))
        .filter(|(_, before, now)| before != now)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { name, before, now } => {
                let (before, now) = (Quotas(before), Quotas(now));
                write!(f, "limit {name}: {before} -> {now}")
            }
            Self::Route { route, before, now } => {
                let or_none = |it: &Option<Box<str>>| it.clone().unwrap_or_else(|| "none".into());
                let (before, now) = (or_none(before), or_none(now));
                write!(f, "route {route}: {before} -> {now}")
            }
            Self::MaxKeys { before, now } => write!(f, "max_keys: {before} -> {now}"),
        }
    }
}

/// The quotas of a limit, as people write them.
struct Quotas<'a>(&'a [Policy]);

impl fmt::Display for Quotas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("none");
        };
        write!(f, "{}", first.quota())?;
        others
            .iter()
            .try_for_each(|it| write!(f, ", {}", it.quota()))
    }
}
