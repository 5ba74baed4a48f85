//! The scripts of layered limits and the functions they spell, on a real server.

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
