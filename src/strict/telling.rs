//! Telling the store what was admitted without it: before the next question about a key, and all that is left in the
//! background.

use crate::key::Key;
use crate::store::redis::rates::Operation;
use crate::store::{StoreError, StoreErrorKind};
use crate::strict::StrictLimiter;
use crate::strict::asking::away;
use crate::strict::handle::Inner;
use crate::strict::unheard::{NoRoom, What};
use futures_util::future::join_all;
use std::sync::atomic::Ordering;

impl StrictLimiter {
    /// Tells the store what was admitted on `key` without it, one message after the other, each until it was heard.
    pub(super) async fn tell(&self, key: Key) -> Result<(), StoreError> {
        let inner = &*self.0;
        let (parts, unheard) = (inner.parts(), &inner.unheard);
        let began = parts.clock.now();
        let waits = inner.telling_lines.has(&key);
        let place = inner.telling_lines.join(key);
        let Ok(_turn) = tokio::time::timeout(parts.patience, place.turn()).await else {
            return Err(unheard_of());
        };
        if waits && unheard.has_message(key) {
            // Who was in front has told it in vain.
            return Err(unheard_of());
        }
        if !inner.may_ask() {
            unheard.unheard(key, inner.moment());
            return Err(away());
        }
        loop {
            let left = parts.clock.now().since(began);
            let left = parts.patience.saturating_sub(left);
            if left.is_zero() {
                return Err(unheard_of());
            }
            let sent = unheard.next(key, inner.moment());
            let Some(sent) = sent.map_err(|NoRoom| unheard_of())? else {
                return Ok(());
            };
            let mut telling = Telling {
                inner,
                key,
                heard: false,
            };
            let (units, id) = (&*sent.units, Some(sent.id));
            let operation = match sent.what {
                What::Admitted => Operation::Book { units, id },
                What::TakenBack => Operation::Undo { units, id },
            };
            let ask = || parts.rates.ask(key, operation, left);
            inner.ask_once(ask).await?;
            telling.heard = true;
        }
    }
}

fn unheard_of() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unreachable,
        "the store has not confirmed yet what was admitted without it",
    )
}

/// A message in hand. Dropped before the store has confirmed it, it is the next one's to repeat.
struct Telling<'a> {
    inner: &'a Inner,
    key: Key,
    heard: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let moment = self.inner.moment();
        match self.heard {
            true => self.inner.unheard.heard(self.key, moment),
            false => self.inner.unheard.unheard(self.key, moment),
        }
    }
}

/// The turn to tell everything, which one task has at a time. Dropped with it, also where its runtime has ended or it
/// panicked, it is the next one's.
pub(super) struct TellingAll(StrictLimiter);

impl TellingAll {
    pub(super) fn begin(limiter: &StrictLimiter) -> Option<Self> {
        let telling = limiter.0.telling.swap(true, Ordering::AcqRel);
        (!telling).then(|| Self(limiter.clone()))
    }
}

impl Drop for TellingAll {
    fn drop(&mut self) {
        self.0.0.telling.store(false, Ordering::Release);
    }
}

/// Tells everything that is untold, a few keys at a time, until it is told or the store fails.
pub(super) async fn tell_all(turn: TellingAll) {
    let limiter = &turn.0;
    loop {
        let keys = limiter.0.unheard.some(AT_A_TIME);
        if keys.is_empty() {
            break;
        }
        let told = join_all(keys.into_iter().map(|key| limiter.tell(key))).await;
        if told.iter().any(Result::is_err) {
            break;
        }
    }
}

const AT_A_TIME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;
    use crate::store::RedisStore;

    #[test]
    fn the_turn_to_tell_everything_ends_with_its_task() {
        let nowhere = RedisStore::new("redis://127.0.0.1:1").unwrap();
        let limiter = StrictLimiter::builder(nowhere, "telling", Quota::per_hour(1));
        let limiter = limiter.build().unwrap();
        let turn = TellingAll::begin(&limiter).expect("nobody tells yet");
        assert!(TellingAll::begin(&limiter).is_none());
        // As a runtime does that ends before it was polled.
        drop(tell_all(turn));
        assert!(TellingAll::begin(&limiter).is_some());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let turn = TellingAll::begin(&limiter).expect("the last one has ended");
        let task = runtime.spawn(async move {
            let _turn = turn;
            std::future::pending::<()>().await;
        });
        assert!(TellingAll::begin(&limiter).is_none());
        drop(runtime);
        assert!(task.is_finished() && TellingAll::begin(&limiter).is_some());
    }
}
