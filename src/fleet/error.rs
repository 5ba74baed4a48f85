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
        field: &'static str,
        /// Its value here.
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
                let theirs = Settings::read(line);
                let field = theirs
                    .as_ref()
                    .and_then(|theirs| ours.difference(theirs))
                    .unwrap_or("protocol");
                let value = |line: &str| {
                    line.split(';')
                        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == field))
                        .map_or_else(String::new, |(_, value)| value.to_owned())
                };
                Self::SettingsMismatch {
                    key: Arc::clone(key),
                    field,
                    ours: value(&ours.to_string()),
                    theirs: value(line),
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
