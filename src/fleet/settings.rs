//! What all nodes of a key agree on: leases, policies and their revision.
//!
//! The settings travel with every beat as one canonical line and are stored with the key. A node that joins with
//! others and no higher revision is refused with the name of the field; a higher revision takes over for the fleet,
//! so that a rolling deploy can change them. Who was in before stays, plans by the fleet's settings and keeps its own
//! lease, heartbeat and outage policy, until its process is replaced.

use std::fmt;
use std::time::Duration;

/// What a node does with its share when its lease has run out without an answer from the store.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outage {
    /// Admit nothing until the store answers again. Keeps I1 and I2.
    #[default]
    FailClosed,
    /// Admit what the local estimator alone allows, which begins with the last share. Gives up I1 and I2 for the outage:
    /// every estimator leaves a queue of its own at the backend, and nothing but the number of nodes times the estimator's
    /// maximum bounds them. Eight nodes of the default estimator had 2.8 times what the backend takes in flight at most,
    /// 1.6 on average, in an outage of 30 s (`sim/scenarios/store-away-30s-local-only.toml`); 32 nodes 3.1 and 1.8.
    LocalOnly,
    /// Keep the last share for at most `hold` after the fence. The store keeps it reserved as long, so I2 holds.
    Frozen {
        /// How long after the fence, at most.
        hold: Duration,
    },
    /// Keep `slots` of the share for at most `hold` after the fence; the rest goes back to the fleet as under
    /// `FailClosed`. The store keeps these slots reserved, so I2 holds.
    SafeShare {
        /// How many slots, at most; never more than the limit divided by the number of nodes.
        slots: u32,
        /// How long after the fence, at most.
        hold: Duration,
    },
}

/// When budget that a node gives up may go to another.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Handoff {
    /// After its holder has acknowledged the lower share and reported its in-flight at or below it. Keeps I2.
    #[default]
    Acknowledged,
    /// As soon as the lower share is committed; reserves `max(share, last reported in-flight)`. Keeps I1; in-flight
    /// is bounded only once the grants have arrived.
    Committed,
}

/// How the fleet's limit is found.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Estimate {
    /// One controller on what all nodes measure together: it finds the backend's capacity and follows it.
    ///
    /// # A node that reports what is not true
    /// It moves the limit by its part of what is known, within the minimum and the maximum of
    /// [`limits`](crate::fleet::DistributedGuardBuilder::limits): set a maximum that the backend survives. One of eight
    /// nodes with about equal work moves nothing; one of two, or one with most of the work, all of it; one of three
    /// or four moves it by refusals that never were. What it says it has in flight is held for it, so too much keeps slots from the others. What is
    /// impossible, such as a counter that goes back or more slot-time than slots, is left out. Nobody is
    /// admitted above the limit for any of it; but who has more in flight than it says breaks I2 by as much.
    #[default]
    Fleet,
    /// The lower median of the nodes' own limits. A node judges how much of its share is in use, so that the limit
    /// moves however small the shares are; but with fewer slots than nodes each learns from its turns alone, and that
    /// takes minutes (from 20 to a capacity of 100 over 128 nodes three, in simulation). [`Fleet`](Self::Fleet) takes
    /// seconds.
    Median,
    /// The smallest of the nodes' own limits; else as [`Median`](Self::Median).
    Min,
    /// Always the same.
    Fixed(u32),
}

/// How the fleet's limit is divided.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Allocation {
    /// Weighted max-min fairness over demand.
    #[default]
    MaxMin,
    /// The same for everybody.
    EqualSplit,
    /// A satisfied node keeps what it uses and one more; the rest is split over the hungry.
    DemandProportional,
}

/// The settings of a key. Equal on all its nodes.
///
/// # Defaults
/// heartbeat 500 ms, ttl 2 s, fence margin a tenth of the ttl, drain 1 s, limit from 1 to 10 000 starting at 20,
/// revision 0, and the first value of every policy.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Settings {
    pub(crate) revision: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) ttl: Duration,
    pub(crate) margin: Duration,
    /// How long work may go on after the fence: the grace of a cancellation, or the longest request.
    pub(crate) drain: Duration,
    pub(crate) outage: Outage,
    pub(crate) handoff: Handoff,
    pub(crate) estimate: Estimate,
    pub(crate) allocation: Allocation,
    pub(crate) min_limit: u32,
    pub(crate) max_limit: u32,
    pub(crate) initial_limit: u32,
}

/// The version of messages and state. A node refuses a key of another version, by name; a version that is to run
/// together with this one must read both.
pub(crate) const PROTOCOL: u32 = 1;

impl Default for Settings {
    fn default() -> Self {
        let ttl = Duration::from_secs(2);
        Self {
            revision: 0,
            heartbeat: Duration::from_millis(500),
            ttl,
            margin: ttl / 10,
            drain: Duration::from_secs(1),
            outage: Outage::default(),
            handoff: Handoff::default(),
            estimate: Estimate::default(),
            allocation: Allocation::default(),
            min_limit: 1,
            max_limit: 10_000,
            initial_limit: 20,
        }
    }
}

impl Settings {
    /// How far one beat may move the store time (H of I11): two heartbeats.
    pub(crate) fn slack(&self) -> Duration {
        2 * self.heartbeat
    }

    /// How long after the last beat, without the slack, a record may still be in use in full.
    pub(crate) fn reclaim(&self) -> Duration {
        let frozen = match self.outage {
            Outage::Frozen { hold } => hold,
            Outage::FailClosed | Outage::LocalOnly | Outage::SafeShare { .. } => Duration::ZERO,
        };
        self.ttl + self.drain + frozen
    }

    /// All of it, with the slack: from a beat to when nothing that it granted is in use.
    pub(crate) fn lease(&self) -> Duration {
        self.reclaim() + self.linger() + self.slack()
    }

    /// How long after that the safe slots may still be in use.
    pub(crate) const fn linger(&self) -> Duration {
        match self.outage {
            Outage::SafeShare { hold, .. } => hold,
            Outage::FailClosed | Outage::LocalOnly | Outage::Frozen { .. } => Duration::ZERO,
        }
    }

    /// The most slots a node may keep through an outage.
    pub(crate) const fn safe_slots(&self) -> u32 {
        match self.outage {
            Outage::SafeShare { slots, .. } => slots,
            Outage::FailClosed | Outage::LocalOnly | Outage::Frozen { .. } => 0,
        }
    }
}

/// The canonical line, without the revision, which travels by itself.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "protocol={PROTOCOL};heartbeat={}us;ttl={}us;margin={}us;drain={}us;outage=",
            self.heartbeat.as_micros(),
            self.ttl.as_micros(),
            self.margin.as_micros(),
            self.drain.as_micros(),
        )?;
        match self.outage {
            Outage::FailClosed => f.write_str("fail-closed"),
            Outage::LocalOnly => f.write_str("local-only"),
            Outage::Frozen { hold } => write!(f, "frozen:{}us", hold.as_micros()),
            Outage::SafeShare { slots, hold } => {
                write!(f, "safe-share:{slots}:{}us", hold.as_micros())
            }
        }?;
        f.write_str(match self.handoff {
            Handoff::Acknowledged => ";handoff=acknowledged",
            Handoff::Committed => ";handoff=committed",
        })?;
        match self.estimate {
            Estimate::Fleet => f.write_str(";estimate=fleet"),
            Estimate::Median => f.write_str(";estimate=median"),
            Estimate::Min => f.write_str(";estimate=min"),
            Estimate::Fixed(limit) => write!(f, ";estimate=fixed:{limit}"),
        }?;
        f.write_str(match self.allocation {
            Allocation::MaxMin => ";allocation=max-min",
            Allocation::EqualSplit => ";allocation=equal-split",
            Allocation::DemandProportional => ";allocation=demand-proportional",
        })?;
        write!(
            f,
            ";min_limit={};max_limit={};initial_limit={}",
            self.min_limit, self.max_limit, self.initial_limit
        )
    }
}

impl Settings {
    /// Reads a canonical line back; `None` if this version cannot: it does not guess.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut settings = Self::default();
        for pair in line.split(';') {
            let (field, value) = pair.split_once('=')?;
            let number = || value.parse::<u32>().ok();
            match field {
                "protocol" if number()? == PROTOCOL => {}
                "heartbeat" => settings.heartbeat = micros(value)?,
                "ttl" => settings.ttl = micros(value)?,
                "margin" => settings.margin = micros(value)?,
                "drain" => settings.drain = micros(value)?,
                "outage" => settings.outage = outage(value)?,
                "handoff" => {
                    settings.handoff = match value {
                        "acknowledged" => Handoff::Acknowledged,
                        "committed" => Handoff::Committed,
                        _ => return None,
                    }
                }
                "estimate" => {
                    settings.estimate = match value.split_once(':') {
                        None if value == "fleet" => Estimate::Fleet,
                        None if value == "median" => Estimate::Median,
                        None if value == "min" => Estimate::Min,
                        Some(("fixed", limit)) => Estimate::Fixed(limit.parse().ok()?),
                        _ => return None,
                    }
                }
                "allocation" => {
                    settings.allocation = match value {
                        "max-min" => Allocation::MaxMin,
                        "equal-split" => Allocation::EqualSplit,
                        "demand-proportional" => Allocation::DemandProportional,
                        _ => return None,
                    }
                }
                "min_limit" => settings.min_limit = number()?,
                "max_limit" => settings.max_limit = number()?,
                "initial_limit" => settings.initial_limit = number()?,
                _ => return None,
            }
        }
        Some(settings)
    }
}

fn micros(value: &str) -> Option<Duration> {
    let number = value
        .strip_suffix("us")
        .and_then(|number| number.parse().ok());
    number.map(Duration::from_micros)
}

fn outage(value: &str) -> Option<Outage> {
    let mut parts = value.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("fail-closed"), None, ..) => Some(Outage::FailClosed),
        (Some("local-only"), None, ..) => Some(Outage::LocalOnly),
        (Some("frozen"), Some(hold), None, None) => Some(Outage::Frozen {
            hold: micros(hold)?,
        }),
        (Some("safe-share"), Some(slots), Some(hold), None) => Some(Outage::SafeShare {
            slots: slots.parse().ok()?,
            hold: micros(hold)?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_line_is_read_back() {
        let hold = Duration::from_secs(30);
        for outage in [
            Outage::FailClosed,
            Outage::LocalOnly,
            Outage::Frozen { hold },
            Outage::SafeShare { slots: 3, hold },
        ] {
            for (estimate, allocation, handoff) in [
                (Estimate::Fleet, Allocation::MaxMin, Handoff::Acknowledged),
                (Estimate::Median, Allocation::MaxMin, Handoff::Acknowledged),
                (Estimate::Min, Allocation::EqualSplit, Handoff::Committed),
                (
                    Estimate::Fixed(24),
                    Allocation::DemandProportional,
                    Handoff::Acknowledged,
                ),
            ] {
                let settings = Settings {
                    outage,
                    estimate,
                    allocation,
                    handoff,
                    ..Settings::default()
                };
                assert_eq!(Settings::read(&settings.to_string()), Some(settings));
            }
        }
    }

    #[test]
    fn a_line_of_another_protocol_is_not_guessed_at() {
        let line = Settings::default().to_string();
        assert_eq!(
            Settings::read(&line.replace("protocol=1", "protocol=9")),
            None
        );
        assert_eq!(Settings::read(&line.replace("max-min", "max-max")), None);
        assert_eq!(Settings::read(&format!("{line};colour=blue")), None);
    }
}
