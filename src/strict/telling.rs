//! Telling the store what was admitted without it: before the next question about a key, and all that is left in the
//! background.

use crate::key::Key;
use crate::store::StoreError;
use crate::store::redis::rates::Operation;
use crate::strict::StrictLimiter;
use crate::strict::handle::{Inner, away};
use futures_util::future::join_all;
use std::sync::atomic::Ordering;

impl StrictLimiter {
    /// Tells the store what was admitted on `key` without it.
    pub(super) async fn tell(&self, key: Key) -> Result<(), StoreError> {
        let inner = &*self.0;
        let untold = &inner.parts().untold;
        if !inner.may_ask() {
            return Err(away());
        }
        let Some(units) = untold.take(key, inner.moment()) else {
            return Ok(());
        };
        let telling = Telling {
            inner,
            key,
            units: Some(units),
        };
        let units = telling.units.as_ref().expect("nothing was told yet");
        let parts = inner.parts();
        let book = || parts.rates.ask(key, Operation::Book(units), parts.patience);
        inner.ask_once(book).await?;
        telling.heard();
        Ok(())
    }
}

/// Units that the store is being told. Dropped before it has confirmed them, they are still to be told: then they may
/// count twice, and never not at all.
struct Telling<'a> {
    inner: &'a Inner,
    key: Key,
    units: Option<Box<[u64]>>,
}

impl Telling<'_> {
    fn heard(mut self) {
        self.units = None;
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if let Some(units) = self.units.take() {
            let untold = &self.inner.parts().untold;
            untold.add_each(self.key, &units, self.inner.moment());
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
    let untold = &limiter.0.parts().untold;
    loop {
        let keys = untold.some(AT_A_TIME);
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
