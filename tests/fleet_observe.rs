//! What operators see of a fleet: its size, whether the store answers, and whether this node is fenced.
//!
//! The driver of the node that is watched runs on the test's own thread, where the recorder is.

#![cfg(all(feature = "redis", feature = "metrics"))]

use std::time::Duration;
use tidegate::fleet::{DistributedGuard, DistributedGuardBuilder, EmptyStore, Estimate};
use tidegate::store::RedisStore;
use tidegate_test_support::{Board, PATIENCE, RedisServer, TcpProxy};
use tokio::runtime::{Builder, Handle};

fn builder(url: &str, node: &str) -> DistributedGuardBuilder {
    let store = RedisStore::new(url).expect("an address");
    DistributedGuard::builder(store, "backend")
        .node(node)
        .estimate(Estimate::Fixed(8))
        .heartbeat(Duration::from_millis(100))
        .ttl(Duration::from_millis(400))
        .drain(Duration::ZERO)
        .empty_store(EmptyStore::Trust)
}

/// Polls until `metric` of the fleet is at `value`.
async fn shows(board: &Board, metric: &str, value: f64) {
    let name = format!("tidegate_{metric}{{guard=backend}}");
    let polls = async {
        while board.find(&name) != Some(value) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, polls).await.is_ok(),
        "{name} is not {value}: {board:#?}"
    );
}

#[test]
fn gauges_follow_the_fleet_and_its_store() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let through = redis.url_through(proxy.address());
    let board = Board::default();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let story = async {
        let watched = builder(&through, "a").runtime(Handle::current());
        let watched = watched.build().expect("settings that work");
        watched.ready().await.expect("welcome");
        shows(&board, "fenced", 0.0).await;
        shows(&board, "store_up", 1.0).await;
        shows(&board, "fleet_limit", 8.0).await;
        shows(&board, "fleet_nodes", 1.0).await;
        shows(&board, "ceiling", 8.0).await;

        let other = builder(&redis.url(), "b").build().expect("settings");
        other.ready().await.expect("welcome");
        shows(&board, "fleet_nodes", 2.0).await;
        shows(&board, "ceiling", 4.0).await;

        proxy.refuse();
        proxy.cut();
        shows(&board, "store_up", 0.0).await;
        shows(&board, "fenced", 1.0).await;
        // Nobody has told this node otherwise.
        assert_eq!(board.read("tidegate_fleet_limit{guard=backend}"), 8.0);

        proxy.heal();
        shows(&board, "store_up", 1.0).await;
        shows(&board, "fenced", 0.0).await;
        other.close().await.expect("nothing runs");
        shows(&board, "fleet_nodes", 1.0).await;
        shows(&board, "ceiling", 8.0).await;
        watched.close().await.expect("nothing runs");
    };
    metrics::with_local_recorder(&board, || runtime.block_on(story));
}
