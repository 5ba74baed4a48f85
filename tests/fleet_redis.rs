//! A fleet over a real Redis, through the public API: shares, pushes, and everything that can be wrong with a store.

#![cfg(feature = "redis")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidegate::fleet::{
    DistributedGuard, DistributedGuardBuilder, EmptyStore, Estimate, FleetError, NodeState, Outage,
};
use tidegate::store::{RedisStore, StoreErrorKind};
use tidegate::{ConcurrencyGuard, Criticality, Lease, Shed};
use tidegate_test_support::{Data, PATIENCE, RedisServer, TcpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: u32 = 8;

/// Short leases, so that the tests need not wait for the usual ones.
fn builder(url: &str, node: &str) -> DistributedGuardBuilder {
    let store = RedisStore::new(url).expect("an address");
    DistributedGuard::builder(store, "backend")
        .node(node)
        .estimate(Estimate::Fixed(LIMIT))
        .heartbeat(Duration::from_millis(250))
        .ttl(Duration::from_millis(1_000))
        .drain(Duration::from_millis(250))
}

fn guard(url: &str, node: &str) -> DistributedGuard {
    builder(url, node).build().expect("settings that work")
}

/// Nodes `a` and `b`, with their first shares.
async fn two(redis: &RedisServer) -> [DistributedGuard; 2] {
    let guards = ["a", "b"].map(|node| guard(&redis.url(), node));
    for guard in &guards {
        within(guard.ready()).await.expect("welcome");
    }
    guards
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it takes too long")
}

/// Polls until `done`, at most as long as a test may wait.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let polls = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, polls).await.is_ok(),
        "{what}: not within {PATIENCE:?}"
    );
}

fn take_all(guard: &DistributedGuard) -> Vec<Lease> {
    std::iter::from_fn(|| guard.try_acquire(Criticality::Default).ok()).collect()
}

fn trouble(guard: &DistributedGuard) -> Option<StoreErrorKind> {
    guard.stats().trouble.map(|error| error.kind())
}

#[tokio::test]
async fn i1_i2_two_nodes_share_one_limit_and_a_third_takes_its_part() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let [a, b] = two(&redis).await;
    until("both have half", || {
        a.stats().share == 4 && b.stats().share == 4
    })
    .await;
    let (mine, theirs) = (take_all(&a), take_all(&b));
    assert_eq!(mine.len() + theirs.len(), LIMIT as usize);
    let c = guard(&redis.url(), "c");
    until("the newcomer is heard", || c.stats().beats > 0).await;
    assert!(take_all(&c).is_empty(), "everything is in use");
    drop((mine, theirs));
    within(c.ready()).await.expect("welcome");
    until("everybody has a part", || {
        let shares = [&a, &b, &c].map(|guard| guard.stats().share);
        shares.iter().sum::<u32>() == LIMIT && shares.iter().all(|share| *share >= 2)
    })
    .await;
    for guard in [a, b, c] {
        within(guard.close()).await.expect("nothing runs");
    }
}

#[tokio::test]
async fn a_leaving_node_hands_over_at_once() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    // A heartbeat so long that only early beats and pushes can explain what happens.
    let slow = |node: &str| {
        let ms = Duration::from_millis;
        builder(&redis.url(), node)
            .heartbeat(ms(2_000))
            .ttl(ms(9_000))
            .empty_store(EmptyStore::Trust)
    };
    let (a, b) = (
        slow("a").build().expect("settings"),
        slow("b").build().expect("settings"),
    );
    within(a.ready()).await.expect("welcome");
    within(b.ready()).await.expect("welcome");
    within(a.close()).await.expect("nothing runs");
    let handed = async {
        while b.stats().share != LIMIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(1_500), handed)
            .await
            .is_ok(),
        "it waited for a heartbeat"
    );
}

#[tokio::test]
async fn flushed_scripts_are_sent_again_and_nothing_is_lost() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let [a, b] = two(&redis).await;
    let held = take_all(&a);
    redis.cli(&["SCRIPT", "FLUSH"]);
    within(a.heartbeat()).await.expect("an answer");
    redis.cli(&["SCRIPT", "FLUSH"]);
    // Who joins makes a plan due, which is the other script.
    let c = guard(&redis.url(), "c");
    within(c.ready()).await.expect("welcome");
    for guard in [&a, &b, &c] {
        let stats = guard.stats();
        assert_eq!((stats.failures, stats.fences), (0, 0), "{stats:?}");
    }
    assert!(held.iter().all(|lease| !lease.token().is_cancelled()));
}

/// With the settings nobody touches: two nodes plan in turns, and what the estimator remembers goes through the store
/// each time. If it did not come back, no window would ever be long enough to let the limit grow.
#[tokio::test]
async fn i8_by_default_the_limit_grows_to_what_is_wanted_and_no_queue_forbids() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let guard = |node| {
        let store = RedisStore::new(redis.url()).expect("an address");
        let builder = DistributedGuard::builder(store, "backend").node(node);
        let guard = builder.empty_store(EmptyStore::Trust).build();
        guard.expect("settings that work")
    };
    let guards = [guard("a"), guard("b")];
    for guard in &guards {
        within(guard.ready()).await.expect("welcome");
    }
    assert!(guards[0].stats().limit <= 20, "where it begins");
    let done = Arc::new(AtomicU32::new(0));
    for client in 0..100 {
        let (guard, done) = (guards[client % 2].clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while done.load(Ordering::Relaxed) == 0 {
                let lease = guard.try_acquire(Criticality::Default);
                tokio::time::sleep(Duration::from_millis(10)).await;
                if let Ok(lease) = lease {
                    lease.success();
                }
            }
        });
    }
    until("the limit has grown", || {
        guards
            .iter()
            .all(|guard| guard.stats().limit >= 60 && guard.stats().plans > 0)
    })
    .await;
    // What they measured together is told to both.
    until("the fleet's latency is known", || {
        let ten = Some(Duration::from_millis(10));
        guards.iter().map(DistributedGuard::stats).all(|stats| {
            let known = stats.latency >= ten && stats.baseline >= ten && stats.queue.is_some();
            known && (0.5..=1.0).contains(&stats.brake)
        })
    })
    .await;
    done.store(1, Ordering::Relaxed);
}

#[tokio::test]
async fn i9_a_flushed_store_is_survived_and_never_over_admits() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let [a, b] = two(&redis).await;
    let held = take_all(&a);
    redis.cli(&["FLUSHALL"]);
    redis.cli(&["SCRIPT", "FLUSH"]);
    let newcomer = guard(&redis.url(), "c");
    until("the newcomer has been told four times", || {
        let more = [&a, &b, &newcomer].map(take_all);
        let running = held.len() + more.iter().map(Vec::len).sum::<usize>();
        assert!(running <= LIMIT as usize, "{running} in flight on {LIMIT}");
        newcomer.stats().beats >= 4
    })
    .await;
    drop(held);
    within(newcomer.ready()).await.expect("welcome");
}

#[tokio::test]
async fn i9_a_server_that_restarts_without_its_data_begins_a_new_epoch() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let [a, b] = two(&redis).await;
    until("both have half", || {
        a.stats().share == 4 && b.stats().share == 4
    })
    .await;
    let held = take_all(&a);
    redis.restart(Data::Lose);
    let before = [&a, &b].map(|guard| guard.stats().beats);
    until("both are heard by the new server", || {
        a.stats().beats > before[0] && b.stats().beats > before[1]
    })
    .await;
    until("both have been told four times more", || {
        let more = [&a, &b].map(take_all);
        let running = held.len() + more.iter().map(Vec::len).sum::<usize>();
        assert!(running <= LIMIT as usize, "{running} in flight on {LIMIT}");
        a.stats().beats >= before[0] + 5 && b.stats().beats >= before[1] + 5
    })
    .await;
    drop(held);
    until("the limit is shared again", || {
        a.stats().share + b.stats().share == LIMIT
    })
    .await;
    assert!(b.try_acquire(Criticality::Default).is_ok());
}

#[tokio::test]
async fn a_store_that_is_down_at_the_start_is_waited_for() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    redis.kill();
    let a = guard(&redis.url(), "a");
    until("it is said", || {
        trouble(&a) == Some(StoreErrorKind::Unreachable)
    })
    .await;
    assert_eq!(a.try_acquire(Criticality::Default).err(), Some(Shed::Cold));
    redis.restart(Data::Lose);
    within(a.ready()).await.expect("welcome");
    assert!(trouble(&a).is_none());
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    let Some(redis) = RedisServer::builder().password("right").start() else {
        return;
    };
    let wrong = redis.url().replace("right", "wrong");
    assert_ne!(wrong, redis.url());
    let error = within(guard(&wrong, "a").ready())
        .await
        .expect_err("it cannot work");
    let FleetError::Store { source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(source.kind(), StoreErrorKind::Denied);
    assert!(source.to_string().contains("user or password"), "{source}");
    assert!(
        !format!("{error:?} {source}").contains("wrong@"),
        "it repeats the password"
    );
    within(guard(&redis.url(), "b").ready())
        .await
        .expect("the right one works");
}

#[tokio::test]
async fn a_read_only_replica_is_named() {
    let Some(master) = RedisServer::start() else {
        return;
    };
    let Some(replica) = RedisServer::builder().replica_of(&master).start() else {
        return;
    };
    let a = guard(&replica.url(), "a");
    until("it is said", || {
        trouble(&a) == Some(StoreErrorKind::ReadOnly)
    })
    .await;
    let said = a.stats().trouble.expect("trouble").to_string();
    assert!(said.contains("address of the primary"), "{said}");
    let store = RedisStore::new(replica.url()).expect("an address");
    assert_eq!(
        within(store.check()).await.expect_err("no writes").kind(),
        StoreErrorKind::ReadOnly
    );
}

/// Answers every command with `info` (to INFO) or `other`, as a server that is something else would.
async fn impostor(info: &'static str, other: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read) = stream.read(&mut buffer).await {
                    if read == 0 {
                        return;
                    }
                    let asked = String::from_utf8_lossy(&buffer[..read]).to_uppercase();
                    // Commands are arrays; count them, for pipelines.
                    for command in asked
                        .split("\r\n*")
                        .map(|part| part.trim_start_matches('*'))
                    {
                        let reply = if command.contains("HELLO") {
                            "%1\r\n+server\r\n+redis\r\n".to_owned()
                        } else if command.contains("INFO") {
                            format!("${}\r\n{info}\r\n", info.len())
                        } else if command.contains("EVALSHA") {
                            other.to_owned()
                        } else {
                            "+OK\r\n".to_owned()
                        };
                        if stream.write_all(reply.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn a_server_older_than_6_2_is_refused_by_its_version() {
    let url = impostor("redis_version:6.0.16\r\nrun_id:abc", "+OK\r\n").await;
    let error = within(guard(&url, "a").ready()).await.expect_err("too old");
    let source = error.source().expect("the store's word").to_string();
    assert!(
        source.contains("6.0.16") && source.contains("6.2 or newer"),
        "{source}"
    );
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_and_no_slot() {
    for other in ["+OK\r\n", "*2\r\n+member\r\n+x\r\n", ":7\r\n"] {
        let url = impostor("redis_version:7.2.4\r\nrun_id:abc", other).await;
        let a = guard(&url, "a");
        let error = within(a.ready()).await.expect_err("not a store");
        let source = error.source().expect("the store's word").to_string();
        assert!(source.contains("another shape"), "{source}");
        assert!(a.try_acquire(Criticality::Default).is_err());
    }
}

#[tokio::test]
async fn i11_a_silent_link_fences_the_node_and_cancels_its_work() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let fenced = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&fenced);
    let a = builder(&redis.url_through(proxy.address()), "a")
        .on_fenced(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .expect("settings that work");
    within(a.ready()).await.expect("welcome");
    let lease = a.try_acquire(Criticality::Default).expect("a slot");
    let token = lease.token();
    proxy.hold();
    within(token.cancelled()).await;
    assert_eq!(a.stats().state, NodeState::Fenced);
    assert_eq!(
        a.try_acquire(Criticality::Default).err(),
        Some(Shed::Fenced)
    );
    until("the hook was called", || fenced.load(Ordering::SeqCst) == 1).await;
    drop(lease);
    proxy.heal();
    until("it has a share again", || a.stats().share == LIMIT).await;
    until("the cancelled slot is back", || a.stats().in_flight == 0).await;
    let lease = a.try_acquire(Criticality::Default).expect("a slot");
    assert!(!lease.token().is_cancelled());
}

#[tokio::test]
async fn one_failed_beat_does_not_close_the_gate() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let a = builder(&redis.url_through(proxy.address()), "a")
        .ttl(Duration::from_secs(20))
        .empty_store(EmptyStore::Trust)
        .build()
        .expect("settings that work");
    within(a.ready()).await.expect("welcome");
    proxy.refuse();
    until("a beat has failed", || a.stats().failures > 0).await;
    assert!(
        a.try_acquire(Criticality::Default).is_ok(),
        "the lease is still good"
    );
    proxy.heal();
    until("beats are answered again", || a.stats().trouble.is_none()).await;
}

#[tokio::test]
async fn a_store_that_takes_more_than_half_a_heartbeat_is_heard() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let slow = |node| {
        builder(&redis.url_through(proxy.address()), node)
            .heartbeat(Duration::from_millis(500))
            .ttl(Duration::from_secs(20))
            .empty_store(EmptyStore::Trust)
            .build()
            .expect("settings that work")
    };
    let a = slow("a");
    within(a.ready()).await.expect("welcome");
    proxy.delay(Duration::from_millis(150));
    until("answers are too late", || a.stats().failures > 0).await;
    let before = a.stats().beats;
    until("answers are waited for", || a.stats().beats >= before + 4).await;
    // Plans, too, are heard of in time.
    let b = slow("b");
    within(b.ready()).await.expect("welcome");
}

#[tokio::test]
async fn i10_a_second_live_process_of_one_name_is_refused_with_its_name() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let a = guard(&redis.url(), "twin");
    within(a.ready()).await.expect("welcome");
    let b = guard(&redis.url(), "twin");
    let error = within(b.ready()).await.expect_err("the name is taken");
    assert!(matches!(error, FleetError::DuplicateName { .. }), "{error}");
    assert!(error.to_string().contains("\"twin\""), "{error}");
    until("the first goes on", || a.stats().share == LIMIT).await;
}

#[tokio::test]
async fn other_settings_are_refused_with_the_field_and_both_values() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let a = guard(&redis.url(), "a");
    within(a.ready()).await.expect("welcome");
    let b = builder(&redis.url(), "b")
        .estimate(Estimate::Fixed(9))
        .build()
        .expect("settings");
    let error = within(b.ready())
        .await
        .expect_err("other settings")
        .to_string();
    assert!(
        error.contains("estimate is fixed:9 here and fixed:8 in the fleet"),
        "{error}"
    );
    let c = builder(&redis.url(), "c")
        .estimate(Estimate::Fixed(10))
        .revision(1)
        .build()
        .expect("settings");
    within(c.ready())
        .await
        .expect("a higher revision takes over");
    until("for everybody", || a.stats().limit == 10).await;
    let d = guard(&redis.url(), "d");
    let error = within(d.ready())
        .await
        .expect_err("it is too late for these settings");
    assert!(
        error
            .to_string()
            .contains("estimate is fixed:8 here and fixed:10 in the fleet"),
        "{error}"
    );
    within(a.heartbeat()).await.expect("who was in stays");
}

#[tokio::test]
async fn i4_closing_with_work_running_says_so_and_leaves_when_it_ends() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let a = builder(&redis.url(), "a")
        .drain_timeout(Duration::from_millis(200))
        .build()
        .expect("settings");
    within(a.ready()).await.expect("welcome");
    let lease = a.try_acquire(Criticality::Default).expect("a slot");
    let still = within(a.close()).await.expect_err("one is running");
    assert_eq!(still.in_flight, 1);
    assert_eq!(
        a.try_acquire(Criticality::Default).err(),
        Some(Shed::Closed)
    );
    lease.success();
    within(a.close()).await.expect("it has ended");
    assert_eq!(a.stats().state, NodeState::Left);
    assert_eq!(a.stats().in_flight, 0);
}

#[tokio::test]
async fn an_unnamed_node_draws_a_name() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let store = RedisStore::new(redis.url()).expect("an address");
    let a = DistributedGuard::builder(store.clone(), "backend")
        .build()
        .expect("settings");
    let b = DistributedGuard::builder(store, "backend")
        .build()
        .expect("settings");
    assert!(a.node().starts_with("node-"));
    assert_ne!(a.node(), b.node());
}

/// Fences a node under `outage` and answers it with the switch of its link.
async fn cut_off(redis: &RedisServer, outage: Outage) -> (DistributedGuard, TcpProxy) {
    let proxy = TcpProxy::start(redis.address());
    let a = builder(&redis.url_through(proxy.address()), "a")
        .outage(outage)
        // Learning would last as long as the policy may hold slots.
        .empty_store(EmptyStore::Trust)
        .build()
        .expect("settings");
    within(a.ready()).await.expect("welcome");
    until("it has everything", || a.stats().share == LIMIT).await;
    proxy.hold();
    (a, proxy)
}

#[tokio::test]
async fn frozen_keeps_the_last_share_for_its_time_and_no_longer() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let hold = Duration::from_millis(2_000);
    let (a, _proxy) = cut_off(&redis, Outage::Frozen { hold }).await;
    until("beats fail", || a.stats().failures > 2).await;
    assert_eq!(take_all(&a).len(), LIMIT as usize);
    until("the time is over", || a.stats().state == NodeState::Fenced).await;
    assert_eq!(
        a.try_acquire(Criticality::Default).err(),
        Some(Shed::Fenced)
    );
}

#[tokio::test]
async fn safe_share_keeps_its_slots_while_the_others_take_the_rest() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let outage = Outage::SafeShare {
        slots: 2,
        hold: Duration::from_secs(30),
    };
    let (a, proxy) = cut_off(&redis, outage).await;
    let b = builder(&redis.url(), "b")
        .outage(outage)
        // Learning would last as long as the policy may hold slots.
        .empty_store(EmptyStore::Trust)
        .build()
        .expect("settings");
    until("it is fenced", || a.stats().state == NodeState::Fenced).await;
    assert_eq!(take_all(&a).len(), 2);
    until("the other has the rest", || b.stats().share == LIMIT - 2).await;
    let held = take_all(&a);
    assert_eq!(held.len() + take_all(&b).len(), LIMIT as usize);
    drop(held);
    proxy.heal();
    // To one slot: while nobody is refused, a share that is off by no more than that stays where it is (I7).
    until("they share again", || {
        let (a, b) = (a.stats().share, b.stats().share);
        a + b == LIMIT && a.abs_diff(b) <= 2
    })
    .await;
}

#[tokio::test]
async fn local_only_goes_on_by_its_own_estimate() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let (a, proxy) = cut_off(&redis, Outage::LocalOnly).await;
    until("it is on its own", || a.stats().state == NodeState::Fenced).await;
    let lease = a
        .try_acquire(Criticality::Default)
        .expect("a slot of its own");
    assert!(!lease.token().is_cancelled(), "nothing is cancelled");
    assert_eq!(a.stats().share, a.stats().local_limit);
    proxy.heal();
    until("the fleet decides again", || {
        a.stats().state == NodeState::Active && a.stats().share == LIMIT
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let proxy = TcpProxy::start(redis.address());
    let a = guard(&redis.url_through(proxy.address()), "a");
    within(a.ready()).await.expect("welcome");
    let before = proxy.accepted();
    proxy.hold();
    until("it tries anew", || proxy.accepted() > before).await;
    proxy.heal();
    until("it has a share again", || a.stats().share == LIMIT).await;
}
