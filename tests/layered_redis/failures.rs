//! An origin that is killed, silent or away, and what it hears when it is back.

use crate::{LIMIT, ask, assert_about_the_limit, builder, caught_up, counted, limiter, until};
use std::num::NonZeroU32;
use std::time::Duration;
use tidegate::Key;
use tidegate::layered::{Batch, Outage, Unheard};
use tidegate_test_support::{Data, RedisServer, TcpProxy};

#[tokio::test]
async fn an_origin_killed_in_the_middle_is_caught_up_with_when_it_is_back() {
    for data in [Data::Keep, Data::Lose] {
        let Some(mut redis) = RedisServer::builder().persistent().start() else {
            return;
        };
        let nodes = [(); 3].map(|()| limiter(&redis.url()));
        let key = Key::of("alice");
        assert_eq!(ask(&nodes, &key, 600).await, 600);
        caught_up(&redis, 600).await;
        redis.kill();
        // From what the nodes know.
        assert_eq!(ask(&nodes, &key, 150).await, 150);
        redis.restart(data);
        until("all nodes have found it", || {
            nodes.iter().all(|node| node.stats().up)
        })
        .await;
        let allowed = 750 + ask(&nodes, &key, LIMIT).await;
        assert_about_the_limit(allowed);
        for node in &nodes {
            node.close().await.expect("origin is back");
        }
        // Also what was lost, since every node that knew of it is there.
        assert_eq!(counted(&redis), i64::from(allowed), "{data:?}");
    }
}

/// Loaded from a snapshot it knows all nodes, and less than they have told it.
#[tokio::test]
async fn an_origin_restarted_from_an_older_snapshot_counts_everything_once() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 3].map(|()| limiter(&redis.url()));
    let key = Key::of("alice");
    assert_eq!(ask(&nodes, &key, 300).await, 300);
    caught_up(&redis, 300).await;
    redis.cli(&["SAVE"]);
    assert_eq!(ask(&nodes, &key, 300).await, 300);
    caught_up(&redis, 600).await;
    redis.kill();
    assert_eq!(ask(&nodes, &key, 150).await, 150);
    redis.restart(Data::Keep);
    until("all nodes have found it", || {
        nodes.iter().all(|node| node.stats().up)
    })
    .await;
    let allowed = 750 + ask(&nodes, &key, LIMIT).await;
    assert_about_the_limit(allowed);
    for node in &nodes {
        node.close().await.expect("origin is back");
    }
    assert_eq!(counted(&redis), i64::from(allowed));
}

#[tokio::test]
async fn while_origin_is_silent_nobody_waits_but_the_first() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let node = limiter(&redis.url_through(proxy.address()));
    assert!(node.decide(&Key::of("warm"), 1).await.is_allowed());
    caught_up(&redis, 1).await;
    proxy.hold();
    assert!(node.decide(&Key::of("cold"), 1).await.is_allowed());
    let waits = node.stats().waits;
    for number in 0..500u32 {
        assert!(node.decide(&Key::of(&number), 1).await.is_allowed());
    }
    assert_eq!(node.stats().waits, waits);
    proxy.heal();
    caught_up(&redis, 502).await;
}

#[tokio::test]
async fn in_a_long_outage_each_of_so_many_nodes_has_its_part() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let nodes = NonZeroU32::new(4).expect("not 0");
    let node = builder(&redis.url()).outage(Outage::Share { nodes });
    let node = node.build().expect("settings that work");
    redis.kill();
    // At first it decides alone, from what it knows.
    assert!(node.check(&Key::of("early"), LIMIT).is_allowed());
    let mut number = 0u32;
    until("the outage is long", || {
        number += 1;
        !node.check(&Key::of(&number), LIMIT / 4 + 1).is_allowed()
    })
    .await;
    let key = Key::of("alice");
    assert!(node.decide(&key, LIMIT / 4).await.is_allowed());
    let denied = node.decide(&key, 1).await;
    assert!(
        !denied.is_allowed() && denied.retry_after().is_some(),
        "{denied:?}"
    );
}

#[test]
fn closing_says_what_origin_did_not_hear_also_when_the_task_has_ended_before() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let work = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all();
        runtime.build().expect("a runtime")
    };
    let (own, theirs) = (work(), work());
    let limiter = builder(&redis.url()).runtime(theirs.handle().clone());
    let limiter = limiter.build().expect("settings that work");
    theirs.shutdown_background();
    own.block_on(until("the task ends", || !limiter.stats().up));
    assert!(limiter.check(&Key::of("untold"), 2).is_allowed());
    for _ in 0..2 {
        let closed = own.block_on(limiter.close());
        assert_eq!(closed, Err(Unheard { units: 2 }));
    }

    let limiter = builder(&redis.url()).build().expect("settings that work");
    let told = own.block_on(limiter.decide(&Key::of("told"), 1));
    assert!(told.is_allowed());
    for _ in 0..2 {
        assert_eq!(own.block_on(limiter.close()), Ok(()));
    }
    // It decides on, and nobody hears of that.
    assert!(limiter.check(&Key::of("late"), 4).is_allowed());
    let closed = own.block_on(limiter.close());
    assert_eq!(closed, Err(Unheard { units: 4 }));
}

#[tokio::test]
async fn somebody_elses_key_in_the_place_of_a_cell_troubles_that_cell_alone() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let node = limiter(&redis.url());
    let (bad, good) = (Key::of("bad"), Key::of("good"));
    assert!(node.decide(&bad, 1).await.is_allowed());
    caught_up(&redis, 1).await;
    let script = "local key = redis.call('KEYS', 'tidegate:l1:*')[1]
        redis.call('DEL', key)
        return redis.call('SET', key, 'not a cell')";
    redis.cli(&["EVAL", script, "0"]);
    let costs = [(bad, 1), (good, 1)];
    let both = node
        .decide_batch(&costs, Batch::AllOrNothing)
        .await
        .expect("short");
    assert!(both.iter().all(|decision| decision.is_allowed()));
    // Alone in its messages it is no trouble either, and so near the limit that each decision would hear of origin first
    // it is asked about and told of no more often than a failure is repeated.
    let before = node.stats();
    let began = tokio::time::Instant::now();
    let cost = LIMIT / 2;
    assert!(node.decide(&bad, cost).await.is_allowed());
    for _ in 0..100 {
        assert!(node.decide(&bad, 1).await.is_allowed());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(node.stats().up);
    }
    let after = node.stats();
    // Twice, as one that comes while a refusal is on its way may be told at once.
    let turns = 2 * (2 + began.elapsed().as_millis() as u64 / 300);
    assert_eq!(after.failures, before.failures);
    let (reads, writes) = (after.reads - before.reads, after.writes - before.writes);
    assert!(reads <= turns && writes <= turns, "{reads} {writes}");
    let unheard = node.close().await.expect_err("one cell cannot be told");
    assert_eq!(unheard.units, 1 + u64::from(cost) + 100);
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            if redis.call('TYPE', key).ok == 'hash' then sum = sum + redis.call('HGET', key, '#') end
        end
        return sum";
    assert_eq!(redis.cli(&["EVAL", script, "0"]).integer(), 1);
}
