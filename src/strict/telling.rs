//! Telling the store what was admitted without it and what goes back: before the next question about a key, and all that
//! is left in the background, until it was heard.

use crate::key::Key;
use crate::store::redis::rates::Operation;
use crate::store::{StoreError, StoreErrorKind};
use crate::strict::StrictLimiter;
use crate::strict::asking::away;
use crate::strict::unheard::{NoRoom, What};
use futures_util::future::join_all;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

impl StrictLimiter {
    /// Tells the store what it does not know of `key`, one message after the other. What it has not confirmed is told again
    /// in the background.
    pub(super) async fn tell(&self, key: Key) -> Result<(), StoreError> {
        let mut rest = Rest {
            limiter: self,
            left: true,
        };
        let told = self.tell_now(key).await;
        rest.left = told.is_err();
        told
    }

    /// Tells what is left in the background, where there is a runtime to do so, until the store has confirmed it or it
    /// has come back by itself.
    pub(super) fn tell_the_rest(&self, begin: Begin) {
        if self.0.unheard.is_left()
            && let Some(turn) = TellingAll::begin(self)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tell_all(turn, begin));
        }
    }

    async fn tell_now(&self, key: Key) -> Result<(), StoreError> {
        let inner = &*self.0;
        let (parts, unheard) = (inner.parts(), &inner.unheard);
        let began = parts.clock.now();
        let waits = inner.telling_lines.has(&key);
        let place = inner.telling_lines.join(key);
        let Ok(_turn) = tokio::time::timeout(parts.patience, place.turn()).await else {
            return Err(unheard_of());
        };
        if waits && unheard.has_message(key) {
            // Who was in front has told it in vain. What goes back need not be heard first.
            return match unheard.only_gives_back(key) {
                true => Ok(()),
                false => Err(unheard_of()),
            };
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
                limiter: self,
                key,
                heard: false,
            };
            let id = Some(sent.id);
            let operation = match &sent.what {
                What::Admitted(units) => Operation::Book { units, id },
                What::GivesBack(each) => Operation::GiveBack { each, id },
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
        "the store has not confirmed yet what it was told of the key",
    )
}

/// A message in hand. Dropped before the store has confirmed it, it is the next one's to repeat.
struct Telling<'a> {
    limiter: &'a StrictLimiter,
    key: Key,
    heard: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let inner = &*self.limiter.0;
        if self.heard {
            inner.unheard.heard(self.key, inner.moment());
            // What was denied before something went back may fit now.
            inner.parts().denied.forget(self.key);
        } else {
            inner.unheard.unheard(self.key, inner.moment());
        }
    }
}

/// What may be left when somebody has told of a key, or waits no longer to do so.
struct Rest<'a> {
    limiter: &'a StrictLimiter,
    left: bool,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if self.left {
            self.limiter.tell_the_rest(Begin::AfterAPause);
        }
    }
}

/// The turn to tell everything, which one task has at a time. Dropped with it, also where its runtime has ended or it
/// panicked, it is the next one's.
pub(super) struct TellingAll(StrictLimiter);

impl TellingAll {
    pub(super) fn begin(limiter: &StrictLimiter) -> Option<Self> {
        let telling = &limiter.0.telling;
        let taken = telling.load(Ordering::Acquire) || telling.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(limiter.clone()))
    }
}

impl Drop for TellingAll {
    fn drop(&mut self) {
        self.0.0.telling.store(false, Ordering::Release);
    }
}

/// When the background begins to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begin {
    AtOnce,
    /// The store has just not answered.
    AfterAPause,
}

/// Tells everything that is left, a few keys at a time. After a failure it pauses, each time twice as long, as the circuit
/// breaker does, unless that finds the store again meanwhile.
async fn tell_all(turn: TellingAll, begin: Begin) {
    let limiter = turn.0.clone();
    let inner = &*limiter.0;
    let mut turn = Some(turn);
    let (shortest, longest) = inner.breaker().pauses();
    let mut pause = shortest;
    let mut failed = begin == Begin::AfterAPause;
    // What is left while the turn ends found it taken.
    while let Some(held) = turn.take() {
        while inner.unheard.is_left() {
            if failed {
                let _ = tokio::time::timeout(pause, inner.back.notified()).await;
                pause = pause.saturating_mul(2).min(longest);
                let mut looks = inner.unheard.looks();
                while looks > 0 {
                    looks = looks.saturating_sub(inner.unheard.forget_some(inner.moment()));
                    tokio::task::yield_now().await;
                }
            }
            let keys = inner.unheard.some(AT_A_TIME);
            let told = join_all(keys.into_iter().map(|key| limiter.tell_now(key))).await;
            failed = told.iter().any(Result::is_err);
            if !failed {
                pause = shortest;
            }
        }
        drop(held);
        if inner.unheard.is_left() {
            turn = TellingAll::begin(&limiter);
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
        drop(tell_all(turn, Begin::AtOnce));
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
