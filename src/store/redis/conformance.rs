//! The scripts answer as the functions they spell: seeded walks through memory and a real Redis, reply by reply.
//!
//! Beats, losses, repetitions, reorderings, joins, crashes, leaves, clocks that drift and jump, flushed stores and
//! fail-overs to an older state on another server.

use crate::fleet::key_state::EmptyStore;
use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer};
use crate::fleet::walk::{Twin, walk_beside};
use crate::store::redis::hash;
use crate::store::{Exchange, RedisStore};
use std::sync::Arc;
use tidegate_test_support::RedisServer;

struct Redis {
    runtime: tokio::runtime::Runtime,
    servers: [RedisServer; 2],
    stores: [RedisStore; 2],
    key: Arc<str>,
    current: usize,
    backup: Option<Vec<u8>>,
}

impl Redis {
    fn start() -> Option<Self> {
        let servers = [RedisServer::start()?, RedisServer::start()?];
        let stores = servers
            .each_ref()
            .map(|server| RedisStore::new(server.url()).expect("an address"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Some(Self {
            runtime,
            servers,
            stores,
            key: Arc::from("} %s {conformance}"),
            current: 0,
            backup: None,
        })
    }

    fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let client = redis::Client::open(self.servers[self.current].url()).expect("an address");
        command
            .query(&mut client.get_connection().expect("a server of ours"))
            .expect("a command that works")
    }
}

impl Twin for Redis {
    fn beat(&mut self, beat: &Beat, empty: EmptyStore) -> Answer {
        let store = &self.stores[self.current];
        self.runtime
            .block_on(async { store.beat(&self.key, beat.clone(), empty).await })
            .expect("an answer")
    }

    fn commit(&mut self, commit: &Commit) -> CommitAnswer {
        let store = &self.stores[self.current];
        self.runtime
            .block_on(async { store.commit(&self.key, commit.clone()).await })
            .expect("an answer")
    }

    fn flush(&mut self) {
        self.run::<()>(&redis::cmd("FLUSHALL"));
    }

    fn back_up(&mut self) {
        self.backup = self.run(redis::cmd("DUMP").arg(hash(&self.key)));
    }

    fn restore(&mut self, server: u32) {
        self.current = server as usize;
        self.run::<()>(&redis::cmd("FLUSHALL"));
        // The scripts, too, are those of another server.
        self.run::<()>(redis::cmd("SCRIPT").arg("FLUSH"));
        if let Some(state) = &self.backup {
            self.run::<()>(redis::cmd("RESTORE").arg(hash(&self.key)).arg(0).arg(state));
        }
    }
}

#[test]
fn memory_and_redis_answer_alike_over_ten_thousand_messages() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let mut replies = 0;
    let mut seed = 0;
    while replies < 10_000 {
        redis.current = 0;
        redis.flush();
        redis.backup = None;
        replies += walk_beside(&mut redis, seed, 4_000, 2);
        seed += 1;
    }
    assert!(
        seed >= 6,
        "{seed} walks are too few to have met every outage policy and kind of store"
    );
}
