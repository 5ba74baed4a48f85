//! Redis as origin and as global store of the layered limit: short scripts, many cells a round trip.
//!
//! Each cell is a hash of its own, which lives for two windows and a minute; the braces of its key name one cell at
//! origin, and everything of one limit at the global store. A cell that Redis refuses (somebody else's key, say) fails
//! alone.

use crate::key::Key;
use crate::layered::{Cursor, FlushLine, ImportLine, PublishLine, Pulled, ReadLine, Space, Totals};
use crate::store::redis::RedisStore;
use crate::store::redis::trouble::trouble;
use crate::store::{StoreError, StoreErrorKind};
use redis::{FromRedisValue, Pipeline, RedisError, Script, ServerError, ServerErrorKind, Value};
use std::sync::{Arc, LazyLock};

static FLUSH: LazyLock<(Script, &str)> =
    LazyLock::new(|| script(include_str!("lua/layered_flush.lua")));
static PUBLISH: LazyLock<(Script, &str)> =
    LazyLock::new(|| script(include_str!("lua/layered_publish.lua")));
static PULL: LazyLock<(Script, &str)> =
    LazyLock::new(|| script(include_str!("lua/layered_pull.lua")));

/// The most changes in one pull.
const PULLED_AT_ONCE: usize = 500;

/// The answers to a message, with origin's time when it answered. A line that it refused is `None`.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    pub(crate) lines: Vec<Option<T>>,
}

impl RedisStore {
    /// The counts of these cells, in one round trip.
    pub(crate) async fn read_cells(
        &self,
        spaces: &[Space],
        lines: &[ReadLine],
    ) -> Result<Answers<Totals>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1 + 2 * lines.len());
        pipeline.cmd("TIME");
        for line in lines {
            let space = &spaces[usize::from(line.policy)];
            pipeline.hget(cell(space, line.key, line.sequence), "#");
            if line.previous {
                pipeline.hget(cell(space, line.key, line.sequence.saturating_sub(1)), "#");
            }
        }
        let words = self.connection.pipeline(pipeline, "a read").await?;
        cells_alone(words.get(1..).unwrap_or_default(), "a read")?;
        let mut words = words.into_iter();
        let mut word = || words.next().ok_or_else(|| malformed("a read"));
        let time = time(word()?)?;
        let mut answers = Vec::with_capacity(lines.len());
        for line in lines {
            let current = count(word()?);
            let previous = if line.previous {
                count(word()?).map(Some)
            } else {
                Some(None)
            };
            answers.push(
                current
                    .zip(previous)
                    .map(|(current, previous)| Totals { current, previous }),
            );
        }
        Ok(Answers {
            time,
            lines: answers,
        })
    }

    /// Tells what nodes accepted, in one round trip; answers what is known then.
    pub(crate) async fn flush_cells(
        &self,
        spaces: &[Space],
        lines: &[FlushLine],
    ) -> Result<Answers<u64>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(2 + lines.len());
        pipeline.cmd("TIME");
        for line in lines {
            let space = &spaces[usize::from(line.policy)];
            pipeline
                .cmd("EVALSHA")
                .arg(FLUSH.0.get_hash())
                .arg(1)
                .arg(cell(space, line.key, line.sequence))
                .arg(format!("{:x}", line.holder))
                .arg(line.told.accepted)
                .arg(line.told.acknowledged)
                .arg(line.told.known)
                .arg(space.keep_ms());
        }
        let words = self.scripts(pipeline, &FLUSH, "a flush").await?;
        cells_alone(words.get(1..).unwrap_or_default(), "a flush")?;
        let mut words = words.into_iter();
        let time = time(words.next().ok_or_else(|| malformed("a flush"))?)?;
        Ok(Answers {
            time,
            lines: words.map(count).collect(),
        })
    }

    /// Tells the global store what this region counts; for each line, whether it was heard.
    pub(crate) async fn publish_cells(
        &self,
        spaces: &[Space],
        region: &str,
        lines: &[PublishLine],
        fresh_epoch: u64,
    ) -> Result<Vec<bool>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1 + lines.len());
        for line in lines {
            let space = &spaces[usize::from(line.policy)];
            let name = name(line.key, line.sequence);
            pipeline
                .cmd("EVALSHA")
                .arg(PUBLISH.0.get_hash())
                .arg(3)
                .arg(global(space, "changes"))
                .arg(global(space, "meta"))
                .arg(global(space, &name))
                .arg(region)
                .arg(line.total)
                .arg(name)
                .arg(line.sequence.saturating_sub(2))
                .arg(fresh_epoch)
                .arg(space.keep_ms());
        }
        let words = self.scripts(pipeline, &PUBLISH, "a publication").await?;
        cells_alone(&words, "a publication")?;
        Ok(words
            .into_iter()
            .map(|word| count(word).is_some())
            .collect())
    }

    /// What has changed at the global store since the cursors, one for each space, in one round trip. A space that is
    /// refused fails alone.
    pub(crate) async fn pull_cells(
        &self,
        spaces: &[Space],
        region: &str,
        cursors: &[Cursor],
    ) -> Result<Vec<Result<Pulled, StoreError>>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(spaces.len());
        for (space, cursor) in spaces.iter().zip(cursors) {
            pipeline
                .cmd("EVALSHA")
                .arg(PULL.0.get_hash())
                .arg(2)
                .arg(global(space, "changes"))
                .arg(global(space, "meta"))
                .arg(region)
                .arg(cursor.epoch)
                .arg(format!("{:016x}", cursor.server))
                .arg(cursor.version)
                .arg(PULLED_AT_ONCE)
                .arg(global(space, ""));
        }
        let words = self.scripts(pipeline, &PULL, "a pull").await?;
        if let Some(error) = all_refused(&words).first() {
            return Err(trouble(RedisError::from((*error).clone()), "a pull"));
        }
        if words.len() != spaces.len() {
            return Err(malformed("a pull"));
        }
        let pulled = (0..).zip(words).map(|(policy, word)| match word {
            Value::ServerError(error) => Err(trouble(RedisError::from(error), "a pull")),
            word => read_pulled(policy, word).ok_or_else(|| malformed("a pull")),
        });
        Ok(pulled.collect())
    }

    /// Runs a pipeline of one script's calls; again if the server does not know the script: each of its calls may be
    /// repeated.
    async fn scripts(
        &self,
        pipeline: Pipeline,
        (_, source): &(Script, &str),
        what: &'static str,
    ) -> Result<Vec<Value>, StoreError> {
        let pipeline = Arc::new(pipeline);
        let mut words = self
            .connection
            .pipeline(Arc::clone(&pipeline), what)
            .await?;
        let unknown = |word: &Value| matches!(word, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
        if words.iter().any(unknown) {
            let mut load = Pipeline::with_capacity(1);
            load.cmd("SCRIPT").arg("LOAD").arg(source);
            self.connection.pipeline(load, what).await?;
            words = self.connection.pipeline(pipeline, what).await?;
        }
        Ok(words)
    }
}

/// All refused is trouble, as with a replica; but for somebody else's keys, of which is told again and again, at times in
/// a message of their own.
fn cells_alone(words: &[Value], what: &'static str) -> Result<(), StoreError> {
    let mut refused = all_refused(words).into_iter();
    match refused.find(|error| !is_of_another_kind(error)) {
        Some(error) => Err(trouble(RedisError::from(error.clone()), what)),
        None => Ok(()),
    }
}

/// The refusals, if there is nothing else.
fn all_refused(words: &[Value]) -> Vec<&ServerError> {
    let refused = words.iter().map(|word| match word {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    refused.collect::<Option<_>>().unwrap_or_default()
}

/// Whether a script has found somebody else's key in the place of its own. Redis 6.2 has the word in its text alone.
fn is_of_another_kind(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    error.code() == "WRONGTYPE" || details.contains("WRONGTYPE")
}

fn script(source: &'static str) -> (Script, &'static str) {
    (Script::new(source), source)
}

/// The clock of the server.
fn time(word: Value) -> Result<u64, StoreError> {
    let (seconds, micros): (u64, u64) =
        FromRedisValue::from_redis_value(word).map_err(|_| malformed("TIME"))?;
    Ok(seconds * 1_000_000_000 + micros * 1_000)
}

/// A count; none is 0. `None` if the server refused this cell.
fn count(word: Value) -> Option<u64> {
    Option::<u64>::from_redis_value(word)
        .ok()
        .map(Option::unwrap_or_default)
}

/// Leaves out the lines of cells that are not ours.
fn read_pulled(policy: u8, word: Value) -> Option<Pulled> {
    let words: Vec<String> = FromRedisValue::from_redis_value(word).ok()?;
    let [epoch, server, version, found, lines @ ..] = words.as_slice() else {
        return None;
    };
    let cursor = Cursor {
        epoch: epoch.parse().ok()?,
        server: u64::from_str_radix(server, 16).ok()?,
        version: version.parse().ok()?,
    };
    let lines = lines.chunks_exact(3).filter_map(|line| {
        let (key, sequence) = line[0].split_once(':')?;
        Some(ImportLine {
            policy,
            key: Key::from_u128(u128::from_str_radix(key, 16).ok()?),
            sequence: sequence.parse().ok()?,
            own: line[1].parse().ok()?,
            foreign: line[2].parse().ok()?,
        })
    });
    Some(Pulled {
        cursor,
        more: found.parse::<usize>().ok()? >= PULLED_AT_ONCE,
        lines: lines.collect(),
    })
}

fn malformed(what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Protocol,
        format!("the answer to {what} has another shape than it should: is the server a Redis?"),
    )
}

fn cell(space: &Space, key: Key, sequence: u64) -> String {
    format!(
        "tidegate:l1:{{{}:{:032x}}}:{sequence}",
        space.name,
        key.to_u128()
    )
}

fn global(space: &Space, name: &str) -> String {
    format!("tidegate:g1:{{{}}}:{name}", space.name)
}

fn name(key: Key, sequence: u64) -> String {
    format!("{:032x}:{sequence}", key.to_u128())
}

#[cfg(test)]
mod tests;
