//! Redis as the store of a fleet: two short scripts a key, and pushes on the same connection.
//!
//! Redis 6.2 or newer (RESP3, and `INFO` within scripts). The state of a key is one hash; each step is one script
//! call on it. The server's `run_id` is compared in every step, so that a restart or a fail-over begins a new epoch
//! (I9). `TIME` is never asked: a key's time is advanced by its nodes alone (I11).
//!
//! # Guarantees
//! With asynchronous replication a deposed master that still answers is a second store: up to twice the limit while
//! both live. Nothing is over-admitted if it takes no more writes by the time its replica is promoted, or later by no
//! more than what [`drain`](crate::fleet::DistributedGuardBuilder::drain) has to spare: the promoted replica grants
//! nothing for one lease and a drain, and a node's last lease from the deposed master must have ended by then. With
//! `min-replicas-to-write 1` and `min-replicas-max-lag m` a master takes no more writes m + 2 seconds after it has
//! lost its replica: promote no sooner (`down-after-milliseconds` of Sentinel), or have `drain` that much longer.

#[cfg(feature = "sim")]
pub(crate) mod calls;
#[cfg(test)]
mod conformance;
mod connection;
pub(crate) mod layered;
mod leases;
pub(crate) mod rates;
mod trouble;
mod wire;

use self::connection::Connection;
use crate::error::ConfigError;
use crate::fleet::key_state::EmptyStore;
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push};
use crate::store::{Exchange, Reply, StoreError};
use redis::{IntoConnectionInfo, ProtocolVersion, Script, Value};
use std::fmt;
use std::sync::{Arc, LazyLock};
use tokio::sync::mpsc;

/// A Redis server, or anything that speaks its protocol and runs its scripts, as the store of a fleet or of
/// [strict rate limits](crate::strict).
///
/// Cheap to clone; clones share the connection, which is made at the first beat and again whenever it breaks.
/// Guards and limiters of one process over the same server should share one.
///
/// # Examples
/// ```no_run
/// use tidegate::fleet::DistributedGuard;
/// use tidegate::store::RedisStore;
///
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let guard = DistributedGuard::builder(store, "inference").node("a").build()?;
/// # Ok::<(), tidegate::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisStore {
    connection: Arc<Connection>,
}

const STATE: &str = include_str!("lua/state.lua");
static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[STATE, include_str!("lua/beat.lua")].concat()));
static COMMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[STATE, include_str!("lua/commit.lua")].concat()));

impl RedisStore {
    /// The server at `url`: `redis://[user:password@]host:port[/database]`, or `redis+unix:///path`.
    ///
    /// Does not connect: a server that is down when the program starts is waited for.
    ///
    /// # Errors
    /// If `url` is not the address of a Redis.
    pub fn new(url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let refuse = |_| {
            // Not the address itself: it may hold a password.
            ConfigError::setting(
                "the address of the Redis",
                "what it is",
                "write it as redis://host:port",
            )
        };
        let info = url.as_ref().into_connection_info().map_err(refuse)?;
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let client = redis::Client::open(info.set_redis_settings(settings)).map_err(refuse)?;
        Ok(Self {
            connection: Arc::new(Connection::new(client)),
        })
    }

    /// Connects now, to find out whether the server can serve a fleet.
    ///
    /// # Errors
    /// If it cannot be reached, refuses the credentials, takes no writes or is older than Redis 6.2.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.connection.check().await
    }

    fn call(
        &self,
        script: &'static LazyLock<Script>,
        name: &'static str,
        key: &str,
        words: Vec<String>,
    ) -> Reply<Value> {
        let connection = Arc::clone(&self.connection);
        let hash = hash(key);
        Box::pin(async move { connection.call(script, name, &hash, &words).await })
    }
}

/// The key of the hash. The braces keep everything of a key in one slot of a cluster.
fn hash(key: &str) -> String {
    format!("tidegate:1:{{{key}}}")
}

/// Where grants of a key are pushed; the incarnation is appended.
fn channel(key: &str) -> String {
    format!("tidegate:1:{{{key}}}:")
}

impl Exchange for RedisStore {
    fn when_empty(&self) -> EmptyStore {
        EmptyStore::Learn
    }

    fn beat(&self, key: &Arc<str>, beat: Beat, empty: EmptyStore) -> Reply<Answer> {
        let reply = self.call(&BEAT, "beat", key, wire::beat(&beat, empty));
        Box::pin(async move { wire::answer(beat.sequence, reply.await?) })
    }

    fn commit(&self, key: &Arc<str>, commit: Commit) -> Reply<CommitAnswer> {
        let reply = self.call(&COMMIT, "commit", key, wire::commit(&commit, &channel(key)));
        Box::pin(async move { wire::commit_answer(reply.await?) })
    }

    fn subscribe(&self, key: &Arc<str>, incarnation: u64) -> mpsc::UnboundedReceiver<Push> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.connection
            .subscribe(format!("{}{incarnation}", channel(key)), sender);
        receiver
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the address: it may hold a password.
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_refused_without_repeating_its_password() {
        let error = RedisStore::new("http://user:secret@nowhere")
            .expect_err("not a Redis")
            .to_string();
        assert!(error.contains("write it as redis://host:port"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    /// A server whose clock is stepped, or another one after a fail-over, changes nothing: nobody asks it.
    #[test]
    fn i11_the_scripts_never_ask_the_servers_clock() {
        for script in [
            STATE,
            include_str!("lua/beat.lua"),
            include_str!("lua/commit.lua"),
        ] {
            let code = script
                .lines()
                .filter(|line| !line.trim_start().starts_with("--"));
            for line in code {
                for asks in [
                    "'TIME'",
                    "os.",
                    "EXPIREAT",
                    "'PTTL'",
                    "'TTL'",
                    "'EXPIRETIME'",
                ] {
                    assert!(!line.contains(asks), "{line}");
                }
            }
        }
    }

    #[test]
    fn what_is_printed_holds_no_password() {
        let store = RedisStore::new("redis://user:secret@127.0.0.1:1").expect("an address");
        assert!(!format!("{store:?}").contains("secret"));
    }
}
