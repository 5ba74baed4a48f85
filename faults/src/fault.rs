//! What can happen, and how it is made to happen.

use crate::clock::{eventually, pause};
use crate::fleet::{Fleet, Store};
use crate::policy::Policy;
use crate::scale::Scale;
use clap::ValueEnum;
use std::time::Duration;
use tidegate_test_support::{Data, Direction, Missing, PATIENCE, RedisBuilder, Reply, since_1970};

/// A fault. What happens to one gateway happens to the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Fault {
    /// The store is killed (SIGKILL) and started again at once, empty.
    StoreRestarted,
    /// The store is killed and away for the outage, then empty.
    StoreLost,
    /// `FLUSHALL`: everything is gone, the server is the same.
    Flushed,
    /// `SCRIPT FLUSH`, ten times a second.
    ScriptsFlushed,
    /// Nothing gets to the store or back for the outage; then all of it arrives late.
    StoreAway,
    /// An answer takes 300 ms longer.
    #[value(name = "slow-300ms")]
    Slow300Ms,
    /// An answer takes two seconds longer.
    #[value(name = "slow-2s")]
    Slow2S,
    /// All connections to the store are reset ten times a second.
    Resets,
    /// One gateway and the store do not hear from one another.
    Partition,
    /// The store hears one gateway, which does not hear the store.
    HalfOpen,
    /// The store's wall clock is put forward by an hour, and stays so.
    ClockAhead,
    /// The store's wall clock is put back by an hour, and stays so.
    ClockBehind,
    /// One gateway is stopped (SIGSTOP) for as long as a lease.
    StoppedOnce,
    /// One gateway is stopped for five times as long.
    StoppedFive,
    /// One gateway is killed (SIGKILL) and is not replaced until the end.
    Killed,
    /// The store is killed and its replica promoted, which has not got the last writes.
    Promoted,
    /// The replica is promoted while the deposed master goes on to answer one gateway: two stores.
    Deposed,
    /// The same, with a master that takes no more writes by the time its replica is promoted.
    DeposedReadOnly,
    /// The same, with a master that takes no more writes three seconds later at the latest, which `drain` covers.
    DeposedForAWhile,
}

/// When a master with `min-replicas-max-lag 1` takes no more writes for certain: it looks once a second, and counts
/// whole ones.
const REFUSES_AFTER: Duration = Duration::from_secs(3);
/// By how much a clock is set wrong, in seconds.
const HOUR: i64 = 3_600;

impl Fault {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Whether it is told what it does under `policy`: the policies that differ only without a store are held against
    /// faults that take it away.
    #[must_use]
    pub const fn matters_under(self, policy: Policy) -> bool {
        match policy {
            Policy::FailClosed | Policy::SafeShare => true,
            Policy::Frozen | Policy::LocalOnly => {
                matches!(
                    self,
                    Self::StoreLost | Self::StoreAway | Self::Slow2S | Self::Partition
                )
            }
        }
    }

    /// What it takes to make it happen, and is not here.
    #[must_use]
    pub fn lacks(self) -> Option<Missing> {
        match self.store() {
            Store::OfItsOwnClock => RedisBuilder::lacks_for_own_clock(),
            Store::Alone | Store::Replicated | Store::ReplicatedOrReadOnly => None,
        }
    }

    /// The store that it happens to.
    #[must_use]
    pub const fn store(self) -> Store {
        match self {
            Self::Promoted | Self::Deposed => Store::Replicated,
            Self::DeposedReadOnly | Self::DeposedForAWhile => Store::ReplicatedOrReadOnly,
            Self::ClockAhead | Self::ClockBehind => Store::OfItsOwnClock,
            _ => Store::Alone,
        }
    }

    /// The settings under which it is promised what is.
    #[must_use]
    pub fn settings(self, scale: &Scale) -> Scale {
        let mut scale = scale.clone();
        if self == Self::DeposedForAWhile {
            scale.drain += REFUSES_AFTER;
        }
        scale
    }

    /// How long it lasts.
    #[must_use]
    pub const fn lasts(self, scale: &Scale) -> Duration {
        match self {
            Self::StoreLost | Self::StoreAway => scale.outage,
            Self::StoppedOnce => scale.ttl,
            Self::StoppedFive => scale.ttl.saturating_mul(5),
            // Both must live for longer than the promoted one learns.
            Self::DeposedForAWhile => scale.spell.saturating_add(REFUSES_AFTER),
            _ => scale.spell,
        }
    }

    /// Whether there are two stores that both deal slots, each by a limit of its own.
    #[must_use]
    pub const fn makes_two_stores(self) -> bool {
        matches!(self, Self::Deposed)
    }

    /// Whether everybody is without the store.
    #[must_use]
    pub const fn takes_the_store_away(self) -> bool {
        matches!(self, Self::StoreLost | Self::StoreAway)
    }

    /// Makes it happen.
    pub(crate) fn begin(self, fleet: &mut Fleet, scale: &Scale) {
        match self {
            Self::StoreRestarted => fleet.redis.restart(Data::Lose),
            Self::StoreLost => fleet.redis.kill(),
            Self::Flushed => drop(fleet.redis.cli(&["FLUSHALL"])),
            Self::ScriptsFlushed | Self::Resets => {}
            Self::StoreAway => fleet.links.iter().for_each(|link| link.hold()),
            Self::Slow300Ms => slow(fleet, Duration::from_millis(300)),
            Self::Slow2S => slow(fleet, Duration::from_secs(2)),
            Self::Partition => fleet.victim().1.hold(),
            Self::HalfOpen => fleet.victim().1.hold_one_way(Direction::Responses),
            Self::ClockAhead => set_clock(fleet, HOUR),
            Self::ClockBehind => set_clock(fleet, -HOUR),
            Self::StoppedOnce | Self::StoppedFive => fleet.victim().0.process.stop(),
            Self::Killed => fleet
                .gateways
                .last_mut()
                .expect("there are gateways")
                .process
                .kill(),
            Self::Promoted => {
                fall_behind(fleet, scale);
                fleet.redis.kill();
                promote(fleet);
                redirect(fleet, fleet.links.len());
            }
            Self::Deposed => {
                fall_behind(fleet, scale);
                promote(fleet);
                redirect(fleet, fleet.links.len() - 1);
            }
            Self::DeposedForAWhile => {
                let (_, link) = fleet.replica.as_ref().expect("the drill has a replica");
                link.hold();
                promote(fleet);
                redirect(fleet, fleet.links.len() - 1);
            }
            Self::DeposedReadOnly => {
                fall_behind(fleet, scale);
                let refused = eventually(PATIENCE, || {
                    matches!(fleet.redis.cli(&["SET", "tide", "low"]), Reply::Error(_))
                });
                assert!(refused, "the master goes on to take writes");
                promote(fleet);
                redirect(fleet, fleet.links.len() - 1);
            }
        }
    }

    /// Makes it happen again, ten times a second while it lasts.
    pub(crate) fn go_on(self, fleet: &Fleet) {
        match self {
            Self::ScriptsFlushed => drop(fleet.redis.cli(&["SCRIPT", "FLUSH"])),
            Self::Resets => fleet.links.iter().for_each(|link| link.cut()),
            _ => {}
        }
    }

    /// Makes it end.
    pub(crate) fn end(self, fleet: &mut Fleet) {
        match self {
            Self::StoreLost => fleet.redis.restart(Data::Lose),
            Self::StoreAway | Self::Slow300Ms | Self::Slow2S | Self::Partition | Self::HalfOpen => {
                fleet.links.iter().for_each(|link| link.heal())
            }
            Self::StoppedOnce | Self::StoppedFive => fleet.victim().0.process.cont(),
            Self::Killed => fleet.replace_victim(),
            Self::Deposed | Self::DeposedReadOnly | Self::DeposedForAWhile => {
                redirect(fleet, fleet.links.len())
            }
            Self::StoreRestarted
            | Self::Flushed
            | Self::ScriptsFlushed
            | Self::Resets
            | Self::ClockAhead
            | Self::ClockBehind
            | Self::Promoted => {}
        }
    }
}

fn slow(fleet: &Fleet, round_trip: Duration) {
    fleet
        .links
        .iter()
        .for_each(|link| link.delay(round_trip / 2));
}

/// Steps the store's clock, and makes sure that it did.
fn set_clock(fleet: &Fleet, ahead: i64) {
    fleet.redis.set_clock(ahead);
    let shown = fleet.redis.clock().as_secs() as i64 - since_1970().as_secs() as i64;
    // A machine that does other things may be asked a little late.
    assert!(
        (ahead - 60..=ahead + 60).contains(&shown),
        "the store's clock is {shown} s ahead instead of {ahead}"
    );
}

/// Lets the replica miss that one gateway's slots went to the others.
fn fall_behind(fleet: &Fleet, scale: &Scale) {
    let (_, link) = fleet.replica.as_ref().expect("the drill has a replica");
    link.hold();
    fleet.load.send_to(fleet.others());
    pause(scale.ttl);
    fleet.load.send_to(fleet.addresses());
}

fn promote(fleet: &mut Fleet) {
    let (replica, _) = fleet.replica.as_ref().expect("the drill has a replica");
    fleet.committed.follow(replica.address());
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
}

/// Leads so many of the gateways to the replica, if they are not there yet.
fn redirect(fleet: &Fleet, many: usize) {
    let (replica, _) = fleet.replica.as_ref().expect("the drill has a replica");
    fleet
        .links
        .iter()
        .take(many)
        .for_each(|link| link.redirect(replica.address()));
}
