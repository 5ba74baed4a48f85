//! One look-up for all who ask for an identity at once, in a task of its own, and what becomes of its answer.
//!
//! ```text
//! join -> flight (a task) -> land: answer remembered, then the flight is gone, then all who wait are told
//!                  `-- error, late, panicked, dropped with its runtime: land as well
//! ```

use crate::key::Key;
use crate::observe;
use crate::tiers::answer::{Age, Answer, LimitOf, Said};
use crate::tiers::tier::TierLimit;
use crate::tiers::{Tier, Tiers};
use crate::time::LocalTime;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

type Failure = Box<dyn Error + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Result<Option<Tier>, Failure>> + Send>>;

/// The user's function.
pub(super) struct LookUp(Box<dyn Fn(String) -> Answering + Send + Sync>);

impl LookUp {
    pub(super) fn new<F, A, E>(look_up: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Option<Tier>>,
        E: Into<Failure>,
    {
        Self(Box::new(move |identity| {
            let answering = look_up(identity);
            Box::pin(async move { answering.await.map(Into::into).map_err(Into::into) })
        }))
    }
}

impl fmt::Debug for LookUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookUp(..)")
    }
}

/// The answer of a look-up, once it is there.
pub(super) type Awaited = watch::Receiver<Option<Arc<Answer>>>;

/// The look-ups under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Awaited>>);

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Awaited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tiers {
    /// Joins the look-up of `identity`, which begins if none is under way; none if there are too many.
    pub(super) fn join(&self, key: Key, identity: &str) -> Option<Awaited> {
        let inner = &*self.0;
        let (sender, awaited) = watch::channel(None);
        {
            let mut flights = inner.flights.lock();
            if let Some(known) = flights.get(&key) {
                return Some(known.clone());
            }
            // One may have landed since the caller has looked.
            let now = inner.parts.clock.now();
            if let Some(answer) = inner.parts.answers.peek(key)
                && answer.age(now) == Age::Fresh
            {
                sender.send_replace(Some(answer));
                return Some(awaited);
            }
            if flights.len() >= inner.parts.lookups {
                drop(flights);
                inner.counts.refused.fetch_add(1, Ordering::Relaxed);
                observe::tier_lookup("refused");
                return None;
            }
            flights.insert(key, awaited.clone());
        }
        let number = inner.counts.lookups.fetch_add(1, Ordering::Relaxed);
        // From here on it lands, whatever happens.
        let flight = Flight {
            tiers: self.clone(),
            key,
            number,
            sender,
            landed: false,
        };
        tokio::spawn(flight.fly(identity.to_owned()));
        Some(awaited)
    }

    /// The answer that the `outcome` of a look-up makes.
    fn answer(&self, flight: &Flight, outcome: Result<Option<Tier>, Failure>) -> Answer {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let said = outcome.and_then(|tier| match tier {
            None => Ok(Said::Unknown),
            Some(tier) => self.known(flight, tier, now),
        });
        let failed = said.is_err();
        let answer = match said {
            Ok(Said::Unknown) => {
                observe::tier_lookup("unknown");
                let until = now.saturating_add(parts.unknown_for);
                Answer::new(Said::Unknown, until, until)
            }
            Ok(said) => {
                observe::tier_lookup("found");
                let fresh_until = now.saturating_add(parts.ttl);
                Answer::new(
                    said,
                    fresh_until,
                    fresh_until.saturating_add(parts.stale_for),
                )
            }
            Err(error) => {
                self.0.counts.failures.fetch_add(1, Ordering::Relaxed);
                observe::tier_lookup("failed");
                if !self.0.counts.failing.swap(true, Ordering::Relaxed) {
                    observe::tier_lookups_fail(&*error);
                }
                let until = now.saturating_add(parts.pause);
                match parts.answers.peek(flight.key) {
                    Some(before) if before.age(now) != Age::Gone => before.kept_until(until),
                    _ => Answer::new(Said::Failed, until, until),
                }
            }
        };
        if !failed && self.0.counts.failing.swap(false, Ordering::Relaxed) {
            observe::tier_lookups_work();
        }
        answer
    }

    fn known(&self, flight: &Flight, tier: Tier, now: LocalTime) -> Result<Said, Failure> {
        let parts = &self.0.parts;
        let key = tier.counted_as.unwrap_or(flight.key);
        let limit = match tier.limit {
            TierLimit::Named(name) => LimitOf::Plan(name),
            TierLimit::Own(quota) => {
                let own = parts.own.of(quota, &parts.limits, now)?;
                LimitOf::Own(parts.accounts.tell(key, own, flight.number))
            }
        };
        Ok(Said::Known { limit, key })
    }
}

/// A look-up under way. Dropped before it has landed, it has failed.
struct Flight {
    tiers: Tiers,
    key: Key,
    /// Larger than that of all that began before.
    number: u64,
    sender: watch::Sender<Option<Arc<Answer>>>,
    landed: bool,
}

impl Flight {
    async fn fly(mut self, identity: String) {
        let parts = &self.tiers.0.parts;
        let look_up = (parts.look_up.0)(identity);
        let outcome = tokio::time::timeout(parts.patience, look_up).await;
        self.land(outcome.unwrap_or_else(|_| Err("it took too long".into())));
    }

    fn land(&mut self, outcome: Result<Option<Tier>, Failure>) {
        self.landed = true;
        let inner = &*self.tiers.0;
        let answer = Arc::new(self.tiers.answer(self, outcome));
        // In this order: who finds no flight finds the answer.
        inner.parts.answers.put(self.key, Arc::clone(&answer));
        inner.flights.lock().remove(&self.key);
        self.sender.send_replace(Some(answer));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.land(Err("it panicked, or its runtime has ended".into()));
        }
    }
}
