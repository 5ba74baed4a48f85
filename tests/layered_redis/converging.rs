//! Nodes of one region: what they admit together, and what they ask of origin for it.

use crate::{
    LIMIT, ask, assert_about_the_limit, builder, caught_up, counted, limiter, so_many, store, until,
};
use std::time::{Duration, SystemTime};
use tidegate::Key;
use tidegate::layered::LayeredLimiter;
use tidegate_test_support::{RedisServer, TcpProxy};

#[tokio::test]
async fn three_nodes_share_one_limit_and_origin_counts_each_accept_once() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 3].map(|()| limiter(&redis.url()));
    let allowed = ask(&nodes, &Key::of("alice"), 2 * LIMIT).await;
    assert_about_the_limit(allowed);
    for node in &nodes {
        node.close().await.expect("origin is there");
        let stats = node.stats();
        assert_eq!(
            (stats.failures, stats.expired, stats.overflowed),
            (0, 0, 0),
            "{stats:?}"
        );
    }
    assert_eq!(counted(&redis), i64::from(allowed));
    // Cells do not stay for ever.
    let script = "return redis.call('PTTL', redis.call('KEYS', 'tidegate:l1:*')[1])";
    assert!(redis.cli(&["EVAL", script, "0"]).integer() > 0);
}

#[tokio::test]
async fn concurrent_callers_of_a_cold_key_share_one_read() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    proxy.delay(Duration::from_millis(20));
    let node = limiter(&redis.url_through(proxy.address()));
    let key = Key::of("alice");
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.decide(&key, 1).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.expect("no panic").is_allowed());
    }
    assert_eq!(node.stats().reads, 1);
}

#[tokio::test]
async fn a_burst_over_five_cold_nodes_spends_the_limit_little_more_than_once() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    proxy.delay(Duration::from_millis(10));
    let url = redis.url_through(proxy.address());
    let key = Key::of("bulk");
    let mut callers = Vec::new();
    for _ in 0..5 {
        let quota = so_many(162_000);
        let node = LayeredLimiter::builder(store(&url), "burst", quota);
        let node = node.build().expect("settings that work");
        callers.extend((0..200).map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.decide(&key, 1_500).await.is_allowed() })
        }));
    }
    let mut spent = 0;
    for caller in callers {
        spent += 1_500 * u32::from(caller.await.expect("no panic"));
    }
    assert!((160_000..=194_400).contains(&spent), "{spent}");
}

#[tokio::test]
async fn a_node_whose_clock_is_two_seconds_off_counts_with_the_others() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let off = Duration::from_secs(2);
    let node = |wall| {
        builder(&redis.url())
            .wall_clock(wall)
            .build()
            .expect("settings")
    };
    let nodes = [node(now), node(now + off), node(now.saturating_sub(off))];
    let allowed = ask(&nodes, &Key::of("alice"), 2 * LIMIT).await;
    assert_about_the_limit(allowed);
    for node in &nodes {
        node.close().await.expect("origin is there");
    }
    let cells = redis.cli(&["EVAL", "return #redis.call('KEYS', 'tidegate:l1:*')", "0"]);
    assert!(cells.integer() <= 2, "all count in the same windows");
}

#[tokio::test]
async fn a_settled_limiter_is_quiet_and_its_task_ends_with_the_last_handle() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let node = limiter(&redis.url_through(proxy.address()));
    assert!(node.clone().decide(&Key::of("alice"), 7).await.is_allowed());
    // Not flushed yet, or only just: the last handle goes all the same.
    drop(node);
    caught_up(&redis, 7).await;
    until("its connection is closed", || proxy.open() == 0).await;
}
