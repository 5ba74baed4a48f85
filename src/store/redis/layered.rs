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
mod tests {
    use super::*;
    use crate::layered::{Global, OriginCell, Told};
    use std::collections::BTreeMap;
    use std::time::Duration;
    use tidegate_test_support::RedisServer;

    /// What nodes may tell, and what they may not: in any order, repeated, of cells that were lost.
    #[tokio::test]
    async fn redis_counts_as_the_functions_do() {
        let Some(redis) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(redis.url()).expect("an address");
        let spaces = [Space::new("conformance", Duration::from_secs(60))];
        let mut rng = fastrand::Rng::with_seed(7);
        let mut cells: BTreeMap<(Key, u64), OriginCell> = BTreeMap::new();
        let mut told = 0;
        while told < 100_000 {
            if rng.u32(..20) == 0 {
                redis.cli(&["FLUSHALL"]);
                redis.cli(&["SCRIPT", "FLUSH"]);
                cells.clear();
            }
            // Few at a time leave little out; many are what a busy process tells.
            let most = [8, 500][rng.usize(..2)];
            let lines: Vec<FlushLine> = (0..rng.usize(1..most))
                .map(|_| {
                    let accepted = rng.u32(..40);
                    FlushLine {
                        policy: 0,
                        key: Key::of(&rng.u8(..3)),
                        sequence: rng.u64(1..3),
                        holder: rng.u64(..3),
                        told: Told {
                            accepted,
                            acknowledged: rng.u32(..=accepted),
                            known: rng.u64(..120),
                        },
                    }
                })
                .collect();
            let expected: Vec<Option<u64>> = lines
                .iter()
                .map(|line| {
                    let cell = cells.entry((line.key, line.sequence)).or_default();
                    Some(cell.tell(line.holder, line.told))
                })
                .collect();
            let answers = store.flush_cells(&spaces, &lines).await.expect("an answer");
            assert_eq!(answers.lines, expected);
            told += lines.len();

            let total = |key, sequence| cells.get(&(key, sequence)).map_or(0, OriginCell::total);
            let lines = [0u8, 1, 2, 3].map(|number| ReadLine {
                policy: 0,
                key: Key::of(&number),
                sequence: 2,
                previous: number % 2 == 0,
            });
            let expected = lines.map(|line| {
                Some(Totals {
                    current: total(line.key, 2),
                    previous: line.previous.then(|| total(line.key, 1)),
                })
            });
            let answers = store.read_cells(&spaces, &lines).await.expect("an answer");
            assert_eq!(answers.lines, expected);
        }
    }

    #[tokio::test]
    async fn a_cell_that_is_not_ours_fails_alone_and_all_together_are_trouble() {
        let Some(redis) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(redis.url()).expect("an address");
        let spaces = [Space::new("conformance", Duration::from_secs(60))];
        let key = Key::of("bad");
        let read = [ReadLine {
            policy: 0,
            key,
            sequence: 2,
            previous: false,
        }];
        let told = [FlushLine {
            policy: 0,
            key,
            sequence: 2,
            holder: 1,
            told: Told {
                accepted: 3,
                acknowledged: 0,
                known: 0,
            },
        }];
        redis.cli(&["SET", &cell(&spaces[0], key, 2), "not a cell"]);
        let answers = store.read_cells(&spaces, &read).await.expect("an answer");
        assert_eq!(answers.lines, [None]);
        let answers = store.flush_cells(&spaces, &told).await.expect("an answer");
        assert_eq!(answers.lines, [None]);
        redis.cli(&["ACL", "SETUSER", "default", "-hget", "-evalsha"]);
        store.read_cells(&spaces, &read).await.expect_err("refused");
        store
            .flush_cells(&spaces, &told)
            .await
            .expect_err("refused");
    }

    async fn pull(store: &RedisStore, spaces: &[Space], cursor: Cursor) -> Pulled {
        let pulled = store.pull_cells(spaces, "eu", &[cursor]).await;
        let pulled = pulled.expect("an answer").pop().expect("of one space");
        pulled.expect("nothing is refused")
    }

    /// Puts what is there under the names that begin with `from` in the place of what begins with `to`.
    fn copy(redis: &RedisServer, from: &str, to: &str) {
        let script =
            "for _, key in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do redis.call('DEL', key) end
            for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
                redis.call('COPY', key, ARGV[2] .. string.sub(key, #ARGV[1] + 1))
            end
            return 1";
        let copied = redis.cli(&["EVAL", script, "0", from, to]);
        assert_eq!(copied.integer(), 1);
    }

    #[tokio::test]
    async fn what_regions_publish_is_pulled_once_by_cursor() {
        let Some(redis) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(redis.url()).expect("an address");
        let spaces = [Space::new("conformance", Duration::from_secs(60))];
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut global, mut read) = (Global::default(), Cursor::default());
        let mut cursor = Cursor::default();
        let mut seen: BTreeMap<(Key, u64), (u64, u64)> = BTreeMap::new();
        let mut earlier = None;
        for round in 0..100 {
            let region = ["eu", "us", "asia"][rng.usize(..3)];
            let lines: Vec<PublishLine> = (0..rng.usize(1..20))
                .map(|_| PublishLine {
                    policy: 0,
                    key: Key::of(&rng.u8(..30)),
                    sequence: rng.u64(100..102),
                    total: rng.u64(1..1_000),
                })
                .collect();
            for line in &lines {
                global.publish(region, line, 5);
            }
            let heard = store.publish_cells(&spaces, region, &lines, 5).await;
            assert!(heard.expect("an answer").iter().all(|heard| *heard));
            if round % 3 == 0 {
                let pulled = pull(&store, &spaces, cursor).await;
                assert!(!pulled.more && pulled.cursor.epoch == 5);
                let expected = global.pull("eu", read);
                assert_eq!(pulled.lines, expected.lines);
                assert_eq!(pulled.cursor.version, expected.cursor.version);
                assert_eq!(
                    pulled.cursor.goes_on_from(cursor),
                    expected.cursor.goes_on_from(read)
                );
                (cursor, read) = (pulled.cursor, expected.cursor);
                for line in pulled.lines {
                    seen.insert((line.key, line.sequence), (line.own, line.foreign));
                }
                let again = pull(&store, &spaces, cursor).await;
                assert!(again.lines.is_empty() && again.cursor == cursor);
            }
            // Now and then it goes back to what it knew, and does not say so.
            match (round % 20, &earlier) {
                (5, _) => {
                    copy(&redis, "tidegate:", "earlier:");
                    earlier = Some(global.clone());
                }
                (15, Some(known)) => {
                    copy(&redis, "earlier:", "tidegate:");
                    global = known.clone();
                }
                _ => {}
            }
        }
        let everything = global.pull("eu", Cursor::default()).lines;
        assert!(everything.iter().all(|line| {
            let (own, foreign) = seen[&(line.key, line.sequence)];
            own >= line.own && foreign >= line.foreign
        }));
        // A store that lost everything says so, and what is over is forgotten.
        redis.cli(&["FLUSHALL"]);
        let line = |sequence| PublishLine {
            policy: 0,
            key: Key::of(&0u8),
            sequence,
            total: 9,
        };
        let lines = [line(1), line(200)];
        store
            .publish_cells(&spaces, "us", &lines, 6)
            .await
            .expect("an answer");
        let pulled = pull(&store, &spaces, cursor).await;
        assert_eq!((pulled.cursor.epoch, pulled.lines.len()), (6, 1));
        assert_eq!(
            (pulled.lines[0].sequence, pulled.lines[0].foreign),
            (200, 9)
        );
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_out_alone() {
        let Some(redis) = RedisServer::start() else {
            return;
        };
        let store = RedisStore::new(redis.url()).expect("an address");
        let spaces = ["first", "second"].map(|name| Space::new(name, Duration::from_secs(60)));
        let line = |policy, number: u32| PublishLine {
            policy,
            key: Key::of(&number),
            sequence: 100,
            total: 9,
        };
        let cell = |line: &PublishLine| {
            let name = name(line.key, line.sequence);
            global(&spaces[usize::from(line.policy)], &name)
        };
        let (string, word) = (line(0, 1), line(0, 2));
        let lines = [line(0, 0), string, word, line(0, 3), line(1, 0)];
        let heard = store.publish_cells(&spaces, "us", &lines, 5).await;
        assert_eq!(heard.expect("an answer"), [true; 5]);
        redis.cli(&["DEL", &cell(&string)]);
        redis.cli(&["SET", &cell(&string), "not a cell"]);
        redis.cli(&["HSET", &cell(&word), "us", "many"]);
        let changes = global(&spaces[0], "changes");
        redis.cli(&["ZADD", &changes, "0.5", "not a name"]);
        let cursors = [Cursor::default(); 2];
        let pulled = store.pull_cells(&spaces, "eu", &cursors).await;
        let pulled = pulled.expect("an answer");
        let [first, second] = pulled.as_slice() else {
            panic!("two spaces");
        };
        let first = first.as_ref().expect("its list is there");
        let keys: Vec<Key> = first.lines.iter().map(|line| line.key).collect();
        assert_eq!(keys, [Key::of(&0u32), Key::of(&3u32)]);
        assert_eq!(first.cursor.version, 4);
        assert_eq!(second.as_ref().expect("its list is there").lines.len(), 1);
        // A message with nothing but bad cells is not trouble.
        for (lines, expected) in [
            (vec![string], vec![false]),
            (vec![string, line(0, 4)], vec![false, true]),
        ] {
            let heard = store.publish_cells(&spaces, "us", &lines, 5).await;
            assert_eq!(heard.expect("an answer"), expected);
        }
        redis.cli(&["DEL", &changes]);
        redis.cli(&["SET", &changes, "not a list"]);
        let pulled = store.pull_cells(&spaces, "eu", &cursors).await;
        let pulled = pulled.expect("an answer");
        assert!(pulled[0].is_err() && pulled[1].is_ok(), "{pulled:?}");
        let lines = [line(0, 5), line(1, 5)];
        let heard = store.publish_cells(&spaces, "us", &lines, 5).await;
        assert_eq!(heard.expect("an answer"), [false, true]);
    }
}
