//! Many decisions on one way to a store, and what becomes of them when nobody waits any more.

use crate::decision::Decision;
use crate::key::Key;
use crate::limiter::BatchError;
use crate::limiter::batch::within_bounds;
use crate::limiter::count::Booking;
use crate::limiter::finished::Finished;
use crate::limiter::held::Held;
use crate::limiter::remote::Remote;
use futures_util::future::join_all;

/// Decides on each of `checks` by itself.
pub(crate) async fn decide_many<L: Remote>(
    limiter: &L,
    checks: &[(Key, u32)],
) -> Result<Vec<Decision>, BatchError> {
    within_bounds(checks)?;
    let decide = |(key, cost): &(Key, u32)| {
        let (key, cost) = (*key, *cost);
        async move {
            let (decisions, _) = limiter.weigh(key, cost, Booking::Spent).await;
            limiter.count(decisions.binding());
            *decisions.binding()
        }
    };
    Ok(join_all(checks.iter().map(decide)).await)
}

/// Books all of `checks`, or gives back those that were booked. Dropped before, it gives back what is known to be.
pub(crate) async fn decide_all<L: Remote>(
    limiter: &L,
    checks: &[(Key, u32)],
) -> Result<Vec<Decision>, BatchError> {
    within_bounds(checks)?;
    let booked = book_all(limiter.clone(), checks.to_vec()).await?;
    Ok(kept(booked))
}

/// As [`decide_all`]. Dropped before, it gives back what was booked as soon as that is known.
pub(crate) async fn decide_all_or_undo<L: Remote>(
    limiter: &L,
    checks: &[(Key, u32)],
) -> Result<Vec<Decision>, BatchError> {
    within_bounds(checks)?;
    let booked = Finished::new(book_all(limiter.clone(), checks.to_vec())).await?;
    Ok(kept(booked))
}

fn kept<L: Remote>(booked: Vec<Held<L>>) -> Vec<Decision> {
    let decisions = booked.iter().map(|held| *held.decisions().binding());
    let decisions = decisions.collect();
    booked.into_iter().for_each(Held::keep);
    decisions
}

/// All of `checks` until they are settled, or none.
async fn book_all<L: Remote>(
    limiter: L,
    checks: Vec<(Key, u32)>,
) -> Result<Vec<Held<L>>, BatchError> {
    let hold = |(key, cost): &(Key, u32)| limiter.hold(*key, *cost);
    let answers = join_all(checks.iter().map(hold)).await;
    let mut booked: Vec<Held<L>> = Vec::with_capacity(answers.len());
    let mut denied = None;
    for (at, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(held) => booked.push(held),
            Err(decision) => denied = denied.or(Some(BatchError::Denied { at, decision })),
        }
    }
    if let Some(denied) = denied {
        // The last first: several on one key come back as if they had never been.
        let cancel = booked.into_iter().rev().map(|held| held.settled(0));
        join_all(cancel).await;
        return Err(denied);
    }
    Ok(booked)
}
