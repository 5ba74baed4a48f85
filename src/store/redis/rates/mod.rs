//! Rate limits in a Redis: one script that spells the rules, and its answers.
//!
//! The state of a key is one hash, with a field for each rule and window. The limit is in no name, so that a limit may
//! change and keep its counts. Time is the server's own, in microseconds since 2020.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod put_back;
mod spelling;
mod standing;
#[cfg(test)]
mod vectors;

pub(crate) use self::spelling::Spelling;
pub(super) use self::standing::read_words;
pub(crate) use self::standing::{Standing, StoreMoment};

use crate::key::Key;
use crate::store::{RedisStore, StoreError};
use redis::{Cmd, Value};
use std::sync::Arc;
use std::time::Duration;

/// What is to be done on a key.
#[derive(Clone, Debug)]
pub(crate) enum Operation<'a> {
    /// Books so many units under every quota, if all allow it.
    Decide { cost: u32, random: u32 },
    /// How things stand for such a cost.
    Ask(u32),
    /// Books units whether they fit or not; a number for each quota.
    Book {
        units: &'a [u64],
        id: Option<MessageId>,
    },
    /// Gives back the units that were booked last; a number for each quota.
    Undo {
        units: &'a [u64],
        id: Option<MessageId>,
    },
    /// Gives back units of a booking.
    GiveBack {
        units: u32,
        booked: StoreMoment,
        /// What had been given back on the key before the booking.
        given_back: u64,
        /// Of each quota.
        marks: &'a [u64],
    },
}

/// By which a message is known again: one that is repeated changes nothing, nor does one that was overtaken by a later
/// one of its sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MessageId {
    /// Below 2^53, as all numbers of a script.
    pub(crate) sender: u64,
    /// Of the sender's messages on a key each is greater than the one before.
    pub(crate) number: u64,
}

/// The limits of one limiter, as a Redis counts them.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    store: RedisStore,
    namespace: Box<str>,
    spelling: Arc<Spelling>,
}

impl Rates {
    pub(crate) fn new(store: RedisStore, namespace: &str, spelling: Spelling) -> Self {
        Self {
            store,
            namespace: namespace.into(),
            spelling: Arc::new(spelling),
        }
    }

    /// Whether both count in the same namespace.
    pub(crate) fn counts_with(&self, other: &Self) -> bool {
        self.namespace == other.namespace
    }

    pub(crate) fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    pub(super) const fn store(&self) -> &RedisStore {
        &self.store
    }

    /// Asks once, and waits at most `patience`: what is lost on the way may have happened.
    pub(crate) async fn ask(
        &self,
        key: Key,
        operation: Operation<'_>,
        patience: Duration,
    ) -> Result<Standing, StoreError> {
        let (call, name) = self.call(key, &operation, None);
        let value =
            self.store
                .connection
                .invoke(call, self.spelling.script(), name, patience, None);
        Standing::read(&value.await?, &self.spelling)
    }

    /// As [`Self::ask`]. If the answer comes when nobody waits for it any more, and it says that something was booked,
    /// `late` is called.
    pub(crate) async fn ask_or_hear_late(
        &self,
        key: Key,
        operation: Operation<'_>,
        patience: Duration,
        late: impl FnOnce() + Send + 'static,
    ) -> Result<Standing, StoreError> {
        let (call, name) = self.call(key, &operation, None);
        let spelling = Arc::clone(&self.spelling);
        let late = move |value: Value| {
            if Standing::read(&value, &spelling).is_ok_and(|standing| standing.booked()) {
                late();
            }
        };
        let connection = &self.store.connection;
        let value = connection.invoke(
            call,
            self.spelling.script(),
            name,
            patience,
            Some(Box::new(late)),
        );
        Standing::read(&value.await?, &self.spelling)
    }

    /// As [`Self::ask`], at a moment of the caller's. For tests: one counter has one clock, the server's.
    #[cfg(test)]
    async fn ask_at(
        &self,
        key: Key,
        operation: Operation<'_>,
        now: Option<StoreMoment>,
        patience: Duration,
    ) -> Result<Standing, StoreError> {
        let (call, name) = self.call(key, &operation, now);
        let value =
            self.store
                .connection
                .invoke(call, self.spelling.script(), name, patience, None);
        Standing::read(&value.await?, &self.spelling)
    }

    /// The script with all that it is told; without a moment it asks the server for it.
    fn call(
        &self,
        key: Key,
        operation: &Operation<'_>,
        now: Option<StoreMoment>,
    ) -> (Cmd, &'static str) {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.spelling.script().get_hash());
        let id = match *operation {
            Operation::Book { id, .. } | Operation::Undo { id, .. } => id,
            _ => None,
        };
        call.arg(if id.is_some() { 2 } else { 1 });
        call.arg(self.key(key, "rates"));
        if id.is_some() {
            call.arg(self.key(key, "heard"));
        }
        let moment = now.map_or_else(String::new, |now| now.as_micros().to_string());
        let (name, units) = match *operation {
            // No more words than the script needs: each takes the server a tenth of the time of a decision.
            Operation::Decide { cost, random } => {
                call.arg(cost);
                if self.spelling.needs_random() {
                    call.arg(moment).arg(random);
                } else if now.is_some() {
                    call.arg(moment);
                }
                return (call, "decide");
            }
            Operation::Ask(units) => ("ask", Units::All(units)),
            Operation::Book { units, .. } => ("book", Units::Each(units)),
            Operation::Undo { units, .. } => ("undo", Units::Each(units)),
            Operation::GiveBack { units, .. } => ("give back", Units::All(units)),
        };
        call.arg(name).arg(moment).arg(0);
        match units {
            Units::All(units) => self.spelling.rules().iter().for_each(|_| {
                call.arg(units);
            }),
            Units::Each(units) => {
                let quotas = self.spelling.rules().len();
                assert_eq!(units.len(), quotas, "a number for each quota");
                call.arg(units);
            }
        }
        if let Some(MessageId { sender, number }) = id {
            call.arg(sender).arg(number);
        }
        if let Operation::GiveBack {
            booked,
            given_back,
            marks,
            ..
        } = operation
        {
            call.arg(given_back).arg(booked.as_micros());
            for (rule, mark) in self.spelling.rules().iter().zip(*marks) {
                for word in spelling::mark_words(rule, *mark) {
                    call.arg(word);
                }
            }
        }
        (call, name)
    }

    /// The key of a hash: in one slot of a cluster, and apart from all other namespaces.
    pub(super) fn key(&self, key: Key, what: &str) -> String {
        format!(
            "tidegate:1:{{{}:{:032x}}}:{what}",
            self.namespace,
            key.to_u128()
        )
    }
}

/// Units under the quotas of a limiter.
enum Units<'a> {
    All(u32),
    Each(&'a [u64]),
}
