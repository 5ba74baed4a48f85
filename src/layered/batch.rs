//! Several costs in one call: read together, booked together or each by itself.

use crate::decision::Decision;
use crate::key::Key;
use crate::layered::LayeredLimiter;
use crate::layered::tiers::Holds;
use crate::limiter::BatchError;
use crate::limiter::count::Booking;
use crate::limiter::remote::{Attempt, Remote};

/// How the costs of a batch hang together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Batch {
    /// All of them are booked, or none.
    AllOrNothing,
    /// Each is booked if it fits beside those before it.
    Independent,
}

/// More in a batch than one batch may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a batch of {costs} is too long; split it into ones of at most {most}", most = LayeredLimiter::MAX_BATCH)]
pub struct BatchTooLong {
    /// How many there were.
    pub costs: usize,
}

impl From<BatchTooLong> for BatchError {
    fn from(too_long: BatchTooLong) -> Self {
        Self::TooMany {
            checks: too_long.costs,
        }
    }
}

impl LayeredLimiter {
    /// The most costs of one batch.
    pub const MAX_BATCH: usize = 100;

    /// Books several costs, as they stand at one moment; the answers are in their order. Keys that must be read are read in one
    /// round trip.
    ///
    /// Of [`Batch::AllOrNothing`] costs of one key are added up; when one is denied, none is booked, and the others tell
    /// whether they would have fit.
    ///
    /// # Errors
    /// If there are more than [`Self::MAX_BATCH`].
    ///
    /// # Cancel safety
    /// As [`Self::decide`].
    pub async fn decide_batch(
        &self,
        costs: &[(Key, u32)],
        batch: Batch,
    ) -> Result<Vec<Decision>, BatchTooLong> {
        if costs.len() > Self::MAX_BATCH {
            return Err(BatchTooLong { costs: costs.len() });
        }
        // Of those that are booked by themselves each has its own answer.
        let together = batch == Batch::AllOrNothing;
        let mut merged: Vec<(Key, u32)> = Vec::with_capacity(costs.len());
        let places: Vec<usize> = costs
            .iter()
            .map(|(key, cost)| {
                let known = merged.iter().position(|(known, _)| known == key);
                let at = known.filter(|_| together);
                let at = at.unwrap_or_else(|| {
                    merged.push((*key, 0));
                    merged.len() - 1
                });
                merged[at].1 = merged[at].1.saturating_add(*cost);
                at
            })
            .collect();
        let shared = &*self.0.shared;
        let mut began = None;
        let decisions = loop {
            // Reservations are held while nothing is awaited, so a dropped future leaves none.
            let now = self.patient_moment(&mut began);
            let mut waiting = None;
            let mut attempts: Vec<(Decision, Holds)> = merged
                .iter()
                .map(
                    |(key, cost)| match self.attempt_at(*key, *cost, Booking::Kept, &now) {
                        Attempt::Decided((decisions, holds))
                        | Attempt::Final((decisions, holds)) => (*decisions.binding(), holds),
                        // The others are asked for all the same, so that all are read together.
                        Attempt::Asked(seen) => {
                            waiting.get_or_insert((*key, seen));
                            (*self.ask(*key, *cost).binding(), Holds::default())
                        }
                    },
                )
                .collect();
            let all = attempts.iter().all(|(decision, _)| decision.is_allowed());
            let book = waiting.is_none() && (all || batch == Batch::Independent);
            for ((key, cost), (_, holds)) in merged.iter().zip(&mut attempts) {
                if holds.any() {
                    let actual = if book { *cost } else { 0 };
                    self.settle(*key, std::mem::take(holds), *cost, actual);
                }
            }
            match waiting {
                Some((key, seen)) => shared.shard(key).answer_after(seen).await,
                None => break attempts,
            }
        };
        let answers = places.into_iter().map(|at| decisions[at].0);
        Ok(answers.inspect(|decision| self.count(decision)).collect())
    }
}
