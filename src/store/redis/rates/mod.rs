//! Rate limits in a Redis: one script that spells the rules, and its answers.
//!
//! The state of a key is one hash, with a field for each rule and window. The limit is in no name, so that a limit may
//! change and keep its counts. Time is the server's own, in microseconds since 2020.

#[cfg(test)]
mod changing;
#[cfg(test)]
mod conformance;
mod giving_back;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod put_back;
mod spelling;
mod standing;
#[cfg(test)]
mod vectors;

pub(crate) use self::giving_back::{Booking, GiveBack};
pub(crate) use self::spelling::Spelling;
pub(super) use self::standing::read_words;
pub(crate) use self::standing::{Standing, StoreMoment};

use crate::key::Key;
use crate::store::{RedisStore, StoreError};
use redis::{Cmd, RedisWrite, ToRedisArgs, Value};
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
    /// Gives back units, one after the other.
    GiveBack {
        each: &'a [GiveBack],
        id: Option<MessageId>,
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
    /// Whether it may have been heard before. Where nobody knows any more, nothing is given back.
    pub(crate) again: bool,
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
        self.invoke(call, name, patience).await
    }

    /// As [`Self::ask`]. If the answer comes when nobody waits for it any more, and it says that something was booked,
    /// `late` is called.
    pub(crate) async fn ask_or_hear_late(
        &self,
        key: Key,
        operation: Operation<'_>,
        patience: Duration,
        late: impl FnOnce(Standing) + Send + 'static,
    ) -> Result<Standing, StoreError> {
        let (call, name) = self.call(key, &operation, None);
        let spelling = Arc::clone(&self.spelling);
        let late = move |value: Value| {
            if let Ok(standing) = Standing::read(&value, &spelling)
                && standing.booked()
            {
                late(standing);
            }
        };
        let (connection, script) = (&self.store.connection, self.spelling.script());
        let value = connection.invoke_or_hear_late(call, script, name, patience, late);
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
        self.invoke(call, name, patience).await
    }

    async fn invoke(
        &self,
        call: Cmd,
        name: &'static str,
        patience: Duration,
    ) -> Result<Standing, StoreError> {
        let (connection, script) = (&self.store.connection, self.spelling.script());
        let value = connection.invoke(call, script, name, patience);
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
        let id = match operation {
            Operation::Book { id, .. } | Operation::GiveBack { id, .. } => *id,
            Operation::Decide { .. } | Operation::Ask(_) => None,
        };
        call.arg(if id.is_some() { 2 } else { 1 });
        call.arg(self.key(key, "rates"));
        if id.is_some() {
            call.arg(self.key(key, "heard"));
        }
        let moment = now.map_or_else(String::new, |now| now.as_micros().to_string());
        let rules = self.spelling.rules();
        let name = match *operation {
            // No more words than the script needs: each takes the server a tenth of the time of a decision.
            Operation::Decide { cost, random } => {
                call.arg(cost);
                if self.spelling.needs_random() {
                    call.arg(moment).arg(random);
                } else if now.is_some() {
                    call.arg(moment);
                }
                "decide"
            }
            Operation::Ask(units) => {
                call.arg("ask").arg(moment).arg(0);
                rules.iter().for_each(|_| {
                    call.arg(units);
                });
                "ask"
            }
            Operation::Book { units, id } => {
                assert_eq!(units.len(), rules.len(), "a number for each quota");
                call.arg("book").arg(moment).arg(0).arg(units);
                if let Some(id) = id {
                    call.arg(id);
                }
                "book"
            }
            Operation::GiveBack { each, id } => {
                call.arg("give back").arg(moment).arg(0);
                match id {
                    Some(id) => call.arg(id),
                    None => call.arg(&["", "", ""]),
                };
                each.iter().for_each(|it| it.write(&mut call, rules));
                "give back"
            }
        };
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

impl ToRedisArgs for MessageId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let words = [self.sender, self.number, self.again.into()];
        (&words).write_redis_args(out);
    }

    fn num_of_args(&self) -> usize {
        3
    }
}
