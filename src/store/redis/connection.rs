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
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So many requests in a row given up by their callers, and the connection is made anew: the peer may be gone
/// without a word.
const SILENT_AFTER: u32 = 2;

/// How long an answer is listened for whose caller has given up.
const LATEST: Duration = Duration::from_secs(60);

/// What is to be done with such an answer.
pub(super) type Late = Box<dyn FnOnce(Value) + Send>;

type Attempt = Shared<BoxFuture<'static, Result<ConnectionManager, StoreError>>>;

pub(super) struct Connection {
    client: redis::Client,
    attempt: Mutex<Option<Attempt>>,
    /// Requests that were given up since the last one that was answered.
    unanswered: AtomicU32,
    subscribers: Arc<Subscribers>,
}

type Subscribers = Mutex<BTreeMap<String, mpsc::UnboundedSender<Push>>>;

impl Connection {
    pub(super) fn new(client: redis::Client) -> Self {
        Self {
            client,
            attempt: Mutex::new(None),
            unanswered: AtomicU32::new(0),
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
        script: &Script,
        name: &'static str,
        key: &str,
        words: &[String],
    ) -> Result<Value, StoreError> {
        self.replace_silent();
        let patience = Patience(&self.unanswered);
        let mut manager = self.manager().await?;
        let mut call = script.key(key);
        words.iter().for_each(|word| {
            call.arg(word);
        });
        let answered = call.invoke_async::<Value>(&mut manager).await;
        patience.rewarded();
        answered.map_err(|error| trouble(error, name))
    }

    /// Sends `pipeline` once and answers reply by reply: a refusal is a [`Value::ServerError`] in its place, and does
    /// not hide the others.
    pub(super) async fn pipeline(
        &self,
        pipeline: &redis::Pipeline,
        name: &'static str,
    ) -> Result<Vec<Value>, StoreError> {
        self.replace_silent();
        let patience = Patience(&self.unanswered);
        let mut manager = self.manager().await?;
        let answered = manager
            .req_packed_commands(pipeline, 0, pipeline.len())
            .await;
        patience.rewarded();
        answered.map_err(|error| trouble(error, name))
    }

    /// A connection on which nothing is answered any more is made anew.
    fn replace_silent(&self) {
        if self.unanswered.load(Ordering::Relaxed) >= SILENT_AFTER {
            self.unanswered.store(0, Ordering::Relaxed);
            self.forget();
        }
    }

    /// Sends `call`, an `EVALSHA` of `script`, once, or again if the server did not know the script and so has done
    /// nothing. Waits at most `patience`. A caller that is dropped before is no sign that the
    /// peer is silent. An answer that comes later, if it comes at all, is for `late`.
    pub(super) async fn invoke(
        self: &Arc<Self>,
        call: Cmd,
        script: &Arc<Script>,
        name: &'static str,
        patience: Duration,
        late: Option<Late>,
    ) -> Result<Value, StoreError> {
        self.replace_silent();
        let (connection, script) = (Arc::clone(self), Arc::clone(script));
        let mut answered = Box::pin(async move {
            let mut manager = connection.manager().await?;
            let mut answered = call.query_async::<Value>(&mut manager).await;
            let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
            if answered
                .as_ref()
                .is_err_and(|error| error.kind() == unknown)
            {
                let loaded = script.load_async(&mut manager).await;
                loaded.map_err(|error| trouble(error, name))?;
                answered = call.query_async::<Value>(&mut manager).await;
            }
            answered.map_err(|error| trouble(error, name))
        });
        match tokio::time::timeout(patience, &mut answered).await {
            Ok(answered) => {
                self.unanswered.store(0, Ordering::Relaxed);
                answered
            }
            Err(_) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                if let Some(late) = late {
                    tokio::spawn(async move {
                        if let Ok(Ok(value)) = tokio::time::timeout(LATEST, answered).await {
                            late(value);
                        }
                    });
                }
                Err(StoreError::new(
                    StoreErrorKind::Timeout,
                    format!("the Redis did not answer {name} within {patience:?}"),
                ))
            }
        }
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
                let attempt = tokio::spawn(attempt).map(|ended| {
                    ended.unwrap_or_else(|_| {
                        Err(StoreError::new(
                            StoreErrorKind::Unreachable,
                            "the attempt to connect was stopped",
                        ))
                    })
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

/// A caller waiting for an answer. Dropped before one came, it counts as given up.
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
mod tests {
    use super::*;

    #[test]
    fn servers_older_than_6_2_are_refused_by_name() {
        for (version, welcome) in [
            ("6.0.16", false),
            ("5.0.7", false),
            ("6.2.0", true),
            ("7.4.1", true),
            ("8.0.0", true),
        ] {
            let checked = check_version(&format!(
                "# Server\r\nredis_version:{version}\r\nrun_id:abc\r\n"
            ));
            assert_eq!(checked.is_ok(), welcome, "{version}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), StoreErrorKind::Unsupported);
                assert!(error.to_string().contains(version), "{error}");
            }
        }
        assert_eq!(
            check_version("hello").expect_err("no version").kind(),
            StoreErrorKind::Protocol
        );
    }
}
