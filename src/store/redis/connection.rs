//! One multiplexed connection: made in the background, checked once, made again when it breaks or falls silent.

use crate::fleet::message::Push;
use crate::store::redis::trouble::trouble;
use crate::store::redis::wire;
use crate::store::{StoreError, StoreErrorKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, Script, ServerErrorKind, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long one attempt to connect may take, with all that is asked of the server in it. It goes on when its callers have
/// given up, and nothing shorter ends it: on a slow link every next one would take as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So many requests in a row given up by their callers and not answered since, and the connection is made anew: the peer
/// may be gone without a word.
const SILENT_AFTER: u32 = 2;

/// How long an answer is listened for whose caller has given up.
const LATEST: Duration = Duration::from_secs(60);

type Attempt = Shared<BoxFuture<'static, Result<ConnectionManager, StoreError>>>;

pub(super) struct Connection {
    client: redis::Client,
    attempt: Mutex<Option<Attempt>>,
    /// Requests that were sent and given up since anything was answered last, late or not.
    unanswered: Arc<AtomicU32>,
    subscribers: Arc<Subscribers>,
}

/// How far a call has come.
#[derive(Debug, Default)]
struct Sending {
    sent: AtomicBool,
    given_up: AtomicBool,
}

type Subscribers = Mutex<BTreeMap<String, mpsc::UnboundedSender<Push>>>;

impl Connection {
    pub(super) fn new(client: redis::Client) -> Self {
        Self {
            client,
            attempt: Mutex::new(None),
            unanswered: Arc::default(),
            subscribers: Arc::default(),
        }
    }

    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let mut manager = self.manager().await?;
        // A write that changes nothing, to find read-only replicas.
        let deleted: redis::RedisResult<Value> = redis::cmd("DEL")
            .arg("tidegate:1:check")
            .query_async(&mut manager)
            .await;
        deleted.map(drop).map_err(|error| trouble(error, "DEL"))
    }

    /// Runs `script`, once: what is lost on the way is reported, not repeated.
    pub(super) async fn call(
        &self,
        script: &'static Script,
        name: &'static str,
        key: &str,
        words: &[String],
    ) -> Result<Value, StoreError> {
        self.replace_silent();
        let mut manager = self.manager().await?;
        let mut call = script.key(key);
        words.iter().for_each(|word| {
            call.arg(word);
        });
        let answered = async move { call.invoke_async::<Value>(&mut manager).await };
        self.hear(answered, name).await
    }

    /// Sends `pipeline` once and answers reply by reply: a refusal is a [`Value::ServerError`] in its place, and does
    /// not hide the others.
    pub(super) async fn pipeline(
        &self,
        pipeline: impl Into<Arc<redis::Pipeline>>,
        name: &'static str,
    ) -> Result<Vec<Value>, StoreError> {
        self.replace_silent();
        let mut manager = self.manager().await?;
        let pipeline = pipeline.into();
        let answered = async move {
            manager
                .req_packed_commands(&pipeline, 0, pipeline.len())
                .await
        };
        self.hear(answered, name).await
    }

    /// Waits for an answer. One whose caller has given up is listened for all the same: a peer that answers late is
    /// slow, and not gone.
    async fn hear<T: Send + 'static>(
        &self,
        answered: impl Future<Output = redis::RedisResult<T>> + Send + 'static,
        name: &'static str,
    ) -> Result<T, StoreError> {
        let patience = Patience(&self.unanswered);
        let unanswered = Arc::clone(&self.unanswered);
        let heard = tokio::spawn(async move {
            let answered = tokio::time::timeout(LATEST, answered).await;
            if answered.is_ok() {
                unanswered.store(0, Ordering::Relaxed);
            }
            answered
        });
        let answered = heard.await;
        patience.rewarded();
        match answered {
            Ok(Ok(answered)) => answered.map_err(|error| trouble(error, name)),
            Ok(Err(_)) | Err(_) => Err(StoreError::new(
                StoreErrorKind::Timeout,
                format!("the Redis did not answer {name} within {LATEST:?}"),
            )),
        }
    }

    /// A connection on which nothing is answered any more is made anew.
    fn replace_silent(&self) {
        if self.unanswered.load(Ordering::Relaxed) >= SILENT_AFTER {
            self.unanswered.store(0, Ordering::Relaxed);
            self.forget();
        }
    }

    /// Sends `call`, an `EVALSHA` of `script`, once, or again if the server did not know the script and so has done
    /// nothing. Waits at most `patience`. A caller that is dropped before is no sign that the peer is silent.
    pub(super) async fn invoke(
        self: &Arc<Self>,
        call: Cmd,
        script: &Arc<Script>,
        name: &'static str,
        patience: Duration,
    ) -> Result<Value, StoreError> {
        self.invoke_or_hear_late(call, script, name, patience, drop)
            .await
    }

    /// As [`Self::invoke`]. An answer that comes later, if it comes at all, is for `late`.
    pub(super) async fn invoke_or_hear_late(
        self: &Arc<Self>,
        call: Cmd,
        script: &Arc<Script>,
        name: &'static str,
        patience: Duration,
        late: impl FnOnce(Value) + Send + 'static,
    ) -> Result<Value, StoreError> {
        self.replace_silent();
        let sending = Arc::new(Sending::default());
        let answered = Arc::clone(self).answered(call, script, name, &sending);
        let mut answered = Box::pin(answered);
        if let Ok(answered) = tokio::time::timeout(patience, &mut answered).await {
            return self.was_answered(answered);
        }
        sending.given_up.store(true, Ordering::Relaxed);
        // What was not sent yet must not be: its caller has been told that it was not decided.
        if sending.sent.load(Ordering::Relaxed) {
            let unanswered = Arc::clone(&self.unanswered);
            tokio::spawn(async move {
                if let Ok(answered) = tokio::time::timeout(LATEST, answered).await {
                    unanswered.store(0, Ordering::Relaxed);
                    if let Ok(value) = answered {
                        late(value);
                    }
                }
            });
        }
        Err(self.was_silent(&sending.sent, name, patience))
    }

    fn answered(
        self: Arc<Self>,
        call: Cmd,
        script: &Arc<Script>,
        name: &'static str,
        sending: &Arc<Sending>,
    ) -> impl Future<Output = Result<Value, StoreError>> + Send + 'static {
        let (script, sending) = (Arc::clone(script), Arc::clone(sending));
        async move { self.send(call, &script, name, &sending).await }
    }

    async fn send(
        &self,
        call: Cmd,
        script: &Script,
        name: &'static str,
        sending: &Sending,
    ) -> Result<Value, StoreError> {
        let mut manager = self.manager().await?;
        sending.sent.store(true, Ordering::Relaxed);
        let mut answered = call.query_async::<Value>(&mut manager).await;
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        if answered
            .as_ref()
            .is_err_and(|error| error.kind() == unknown)
            // Whoever was told meanwhile that it was not decided must not find it done.
            && !sending.given_up.load(Ordering::Relaxed)
        {
            let loaded = script.load_async(&mut manager).await;
            loaded.map_err(|error| trouble(error, name))?;
            answered = call.query_async::<Value>(&mut manager).await;
        }
        answered.map_err(|error| trouble(error, name))
    }

    fn was_answered(&self, answered: Result<Value, StoreError>) -> Result<Value, StoreError> {
        self.unanswered.store(0, Ordering::Relaxed);
        answered
    }

    /// What was not sent, because it waited for a connection, says nothing of the peer.
    fn was_silent(&self, sent: &AtomicBool, name: &'static str, patience: Duration) -> StoreError {
        if sent.load(Ordering::Relaxed) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        StoreError::new(
            StoreErrorKind::Timeout,
            format!("the Redis did not answer {name} within {patience:?}"),
        )
    }

    /// Sends what is pushed on `channel` to `sender`, until it is closed.
    pub(super) fn subscribe(&self, channel: String, sender: mpsc::UnboundedSender<Push>) {
        let mut subscribers = lock(&self.subscribers);
        let left: Vec<String> = subscribers
            .iter()
            .filter(|(_, sender)| sender.is_closed())
            .map(|(channel, _)| channel.clone())
            .collect();
        left.iter()
            .for_each(|channel| drop(subscribers.remove(channel)));
        subscribers.insert(channel.clone(), sender);
        drop(subscribers);
        // A connection that is yet to be made subscribes to all; one that is there, to this.
        let attempt = lock(&self.attempt).clone();
        if let Some(attempt) = attempt {
            tokio::spawn(async move {
                if let Ok(mut manager) = attempt.await {
                    for channel in left {
                        // Best effort: pushes only save time.
                        let _ = manager.unsubscribe(channel).await;
                    }
                    let _ = manager.subscribe(channel).await;
                }
            });
        }
    }

    fn forget(&self) {
        lock(&self.attempt).take();
    }

    /// The connection, or the attempt to make it, which goes on when its callers have given up.
    async fn manager(&self) -> Result<ConnectionManager, StoreError> {
        let attempt = lock(&self.attempt)
            .get_or_insert_with(|| {
                let attempt = connect(self.client.clone(), Arc::clone(&self.subscribers));
                let attempt = tokio::time::timeout(CONNECT_TIMEOUT, attempt);
                let unreachable =
                    |why: &str| Err(StoreError::new(StoreErrorKind::Unreachable, why));
                let attempt = tokio::spawn(attempt).map(move |ended| match ended {
                    Ok(Ok(made)) => made,
                    Ok(Err(_)) => unreachable("the Redis did not answer whoever connects"),
                    Err(_) => unreachable("the attempt to connect was stopped"),
                });
                attempt.boxed().shared()
            })
            .clone();
        let made = attempt.clone().await;
        if made.is_err() {
            let mut current = lock(&self.attempt);
            if current
                .as_ref()
                .is_some_and(|current| current.ptr_eq(&attempt))
            {
                current.take();
            }
        }
        made
    }
}

/// A caller waiting for an answer to what was sent. Dropped before one came, it counts as given up.
struct Patience<'a>(&'a AtomicU32);

impl Patience<'_> {
    fn rewarded(self) {
        self.0.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connects, checks the server and subscribes.
async fn connect(
    client: redis::Client,
    subscribers: Arc<Subscribers>,
) -> Result<ConnectionManager, StoreError> {
    let dispatch = Arc::clone(&subscribers);
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Callers give up by themselves, each at its own time.
        .set_response_timeout(None)
        .set_push_sender(move |info: PushInfo| {
            deliver(&dispatch, info);
            Ok::<(), redis::aio::SendError>(())
        })
        .set_automatic_resubscription();
    let mut manager = ConnectionManager::new_with_config(client, config)
        .await
        .map_err(|error| trouble(error, "connecting"))?;
    let info: redis::RedisResult<String> = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut manager)
        .await;
    check_version(&info.map_err(|error| trouble(error, "INFO"))?)?;
    let channels: Vec<String> = lock(&subscribers).keys().cloned().collect();
    for channel in channels {
        manager
            .subscribe(channel)
            .await
            .map_err(|error| trouble(error, "SUBSCRIBE"))?;
    }
    Ok(manager)
}

/// Scripts need what came with 6.2.
fn check_version(info: &str) -> Result<(), StoreError> {
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .map(str::trim);
    let malformed = || {
        StoreError::new(
            StoreErrorKind::Protocol,
            "INFO names no redis_version: is the server a Redis?",
        )
    };
    let version = version.ok_or_else(malformed)?;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 2) => Ok(()),
        (Some(_), Some(_)) => Err(StoreError::new(
            StoreErrorKind::Unsupported,
            format!("the server is Redis {version}: a fleet needs 6.2 or newer"),
        )),
        _ => Err(malformed()),
    }
}

fn deliver(subscribers: &Subscribers, info: PushInfo) {
    if info.kind != PushKind::Message {
        return;
    }
    let mut words = info
        .data
        .into_iter()
        .map(|word| String::from_redis_value(word).ok());
    if let (Some(Some(channel)), Some(Some(line))) = (words.next(), words.next())
        && let Some(push) = wire::push(&line)
        && let Some(sender) = lock(subscribers).get(&channel)
    {
        // A guard that has ended is removed with the next subscription.
        let _ = sender.send(push);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
