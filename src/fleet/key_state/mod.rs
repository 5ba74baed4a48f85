//! The state of one key and its two atomic steps, beat and commit: what every store must reproduce.
//!
//! The memory store runs these functions; the Redis scripts are their only other spelling and are held to them by
//! seeded differential runs. Nothing here reads a clock: store time comes with the beats (I11).
//!
//! | file | what |
//! |---|---|
//! | `epoch` | one life of the state, and a beat in it |
//! | `lives` | who may live under a name: joining, renewing, coming back, being refused |
//! | `token` | whose turn it is to plan, and what becomes of the plan |

#[cfg(all(test, feature = "fleet"))]
mod canonical;
mod epoch;
mod lives;
mod token;

#[cfg(feature = "fleet")]
pub(crate) use self::token::TOKEN_LIFE;

use crate::fleet::key_state::epoch::Epoch;
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Committed, Grant, Push};

/// What a store does when it knows nothing of a key and the node neither.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum EmptyStore {
    /// An empty store looks like a lost one: wait one lease time before the first grant. For shared stores.
    #[default]
    Learn,
    /// Grant at once. Safe if the store cannot lose its data without ending the nodes too (the memory store);
    /// otherwise, after a loss, nodes that restart are given what others still use, up to twice the limit.
    Trust,
}

/// The state of one key.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct KeyState {
    epoch: Option<Epoch>,
}

impl KeyState {
    /// One report-and-renew: the atomic step behind I1, I2, I9, I10 and I11.
    pub(crate) fn beat(&mut self, beat: &Beat, server: &str, empty: EmptyStore) -> Answer {
        let lost = self.epoch.as_ref().is_some_and(|life| {
            &*life.server != server
                || (beat.epoch == Some(life.epoch)
                    && (beat.generation > life.generation || beat.echo > life.stamp))
        });
        if self.epoch.is_none() || lost {
            let trusted =
                self.epoch.is_none() && empty == EmptyStore::Trust && beat.epoch.is_none();
            self.epoch = Some(Epoch::begin(beat, server, trusted, self.epoch.as_ref()));
        }
        self.epoch.as_mut().expect("begun above").beat(beat)
    }

    /// Writes a plan, if nothing came between. Answers also who must be told.
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        server: &str,
    ) -> (CommitAnswer, Vec<(u64, Push)>) {
        match &mut self.epoch {
            Some(life) if life.epoch == commit.epoch && &*life.server == server => {
                life.commit(commit)
            }
            _ => {
                let answer = CommitAnswer {
                    outcome: Committed::OtherEpoch,
                    epoch: self.epoch.as_ref().map_or(0, |life| life.epoch),
                    grant: Grant::default(),
                    target: 0,
                    limit: 0,
                    plan: 0,
                    nodes: 0,
                    ticket: None,
                };
                (answer, Vec::new())
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
impl KeyState {
    /// The sum of I1, and that of I3: what is committed, and what nobody else may have.
    pub(crate) fn committed(&self) -> (u64, u64) {
        let records = self.epoch.iter().flat_map(|epoch| epoch.records.values());
        records.fold((0, 0), |(shares, reserved), record| {
            let (share, hold) = (record.grant.share, record.reserved(true));
            (shares + u64::from(share), reserved + u64::from(hold))
        })
    }

    /// The epoch and its store time.
    pub(crate) fn time(&self) -> Option<(u64, crate::time::StoreTime)> {
        self.epoch.as_ref().map(|epoch| (epoch.epoch, epoch.time))
    }

    /// What nobody else may have because of `incarnation`.
    #[cfg(feature = "sim")]
    pub(crate) fn held_by(&self, incarnation: u64) -> u32 {
        let records = self.epoch.as_ref().map(|epoch| &epoch.records);
        let record = records.and_then(|records| records.get(&incarnation));
        record.map_or(0, |record| record.reserved(true))
    }

    /// Whether this epoch has committed a plan.
    pub(crate) fn has_planned(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.committed > 0)
    }
}

#[cfg(test)]
impl KeyState {
    /// What nobody else may have, with or without what is not yet acknowledged.
    pub(crate) fn reserved(&self, acknowledged: bool) -> u64 {
        let records = self.epoch.iter().flat_map(|epoch| epoch.records.values());
        records
            .map(|record| u64::from(record.reserved(acknowledged)))
            .sum()
    }
}
