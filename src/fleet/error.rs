//! Why a node is not, or no longer, part of its fleet.

use crate::fleet::member::Refusal;
use crate::fleet::settings::Settings;
use crate::store::StoreError;
use std::sync::Arc;

/// Why a node is not, or no longer, part of the fleet.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Another live process has the same name.
    #[error(
        "another live process is node {name:?} of key {key:?}: give every process a name of its own"
    )]
    DuplicateName {
        /// The key.
        key: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
    /// The fleet runs with other settings.
    #[error(
        "{field} is {ours} here and {theirs} in the fleet of key {key:?}: use the same settings on every node, or a \
         higher revision to change them for all"
    )]
    SettingsMismatch {
        /// The key.
        key: Arc<str>,
        /// The first field that differs.
        field: String,
        /// Its value here; `unknown` if this version has no such field.
        ours: String,
        /// Its value in the fleet.
        theirs: String,
    },
    /// The store cannot serve a fleet, and waiting will not help.
    #[error("the store cannot serve key {key:?}")]
    Store {
        /// The key.
        key: Arc<str>,
        /// What is wrong.
        #[source]
        source: Arc<StoreError>,
    },
    /// The guard was closed.
    #[error("the guard is closed")]
    Closed,
}

impl FleetError {
    pub(super) fn refused(
        refusal: &Refusal,
        key: &Arc<str>,
        name: &Arc<str>,
        ours: &Settings,
    ) -> Self {
        match refusal {
            Refusal::DuplicateName => Self::DuplicateName {
                key: Arc::clone(key),
                name: Arc::clone(name),
            },
            Refusal::OtherSettings(line) => {
                let [field, ours, theirs] = difference(&ours.to_string(), line);
                Self::SettingsMismatch {
                    key: Arc::clone(key),
                    field,
                    ours,
                    theirs,
                }
            }
        }
    }
}

/// Closing took too long: requests are still running.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{in_flight} requests were still running when the time to drain was over; the node leaves when they end"
)]
#[non_exhaustive]
pub struct StillDraining {
    /// How many.
    pub in_flight: u32,
}

/// The first field in which two canonical lines differ, with its values: of the fleet's first, which may be a newer
/// version's and have fields and values that mean nothing here.
fn difference(ours: &str, theirs: &str) -> [String; 3] {
    const UNKNOWN: &str = "unknown";
    let differs = |line: &str, other: &str| {
        let pairs: Vec<&str> = other.split(';').collect();
        let mut own = line.split(';').map(str::to_owned);
        own.find(|pair| !pairs.contains(&pair.as_str()))
    };
    let value = |line: &str, field: &str| {
        let mut pairs = line.split(';').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| *name == field)
            .map_or_else(|| UNKNOWN.to_owned(), |(_, value)| value.to_owned())
    };
    let pair = differs(theirs, ours).or_else(|| differs(ours, theirs));
    let pair = pair.unwrap_or_default();
    let field = pair.split_once('=').map_or(&*pair, |(field, _)| field);
    [field.to_owned(), value(ours, field), value(theirs, field)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_also_one_that_this_version_does_not_know() {
        let ours = Settings::default().to_string();
        for (theirs, expected) in [
            (
                ours.replace("estimate=fleet", "estimate=tea-leaves"),
                ["estimate", "fleet", "tea-leaves"],
            ),
            (
                ours.replace("protocol=1", "protocol=9"),
                ["protocol", "1", "9"],
            ),
            (format!("{ours};colour=blue"), ["colour", "unknown", "blue"]),
            (
                ours.replace(";max_limit=10000", ""),
                ["max_limit", "10000", "unknown"],
            ),
        ] {
            assert_eq!(difference(&ours, &theirs), expected, "{theirs}");
        }
    }
}
