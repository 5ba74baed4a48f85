//! The layered limit over real Redis servers, through the public API: what is counted, and everything that can go wrong
//! with an origin, a global store and a clock.
//!
//! Windows are so long that none of them ends in a test; how well windows are kept is shown in virtual time.

#![cfg(feature = "redis")]

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};
use tidegate::layered::{Batch, LayeredLimiter, LayeredLimiterBuilder, Outage, Unheard};
use tidegate::limits::{Limits, Plan};
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};
use tidegate_test_support::{Data, PATIENCE, RedisServer, TcpProxy};

const LIMIT: u32 = 1_000;

fn store(url: &str) -> RedisStore {
    RedisStore::new(url).expect("an address")
}

/// In ten years, of which the present ones end with the decade.
fn so_many(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW).expect("a window within bounds")
}

/// In a window of half that length.
fn half_as_long(limit: u32) -> Quota {
    Quota::new(limit, Quota::MAX_WINDOW / 2).expect("a window within bounds")
}

fn builder(url: &str) -> LayeredLimiterBuilder {
    LayeredLimiter::builder(store(url), "test", so_many(LIMIT))
        .flush_every(Duration::from_millis(5))
        .patience(Duration::from_millis(500))
}

fn limiter(url: &str) -> LayeredLimiter {
    builder(url).build().expect("settings that work")
}

/// Asks `times` times in turn; answers how often it was allowed.
async fn ask(limiters: &[LayeredLimiter], key: &Key, times: u32) -> u32 {
    let mut allowed = 0;
    for turn in 0..times as usize {
        let decision = limiters[turn % limiters.len()].decide(key, 1).await;
        allowed += u32::from(decision.is_allowed());
    }
    allowed
}

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

/// What origin counts, over all cells.
fn counted(redis: &RedisServer) -> i64 {
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            sum = sum + redis.call('HGET', key, '#')
        end
        return sum";
    redis.cli(&["EVAL", script, "0"]).integer()
}

async fn caught_up(redis: &RedisServer, count: u32) {
    until("origin knows everything", || {
        counted(redis) == i64::from(count)
    })
    .await;
}

/// At least the limit; at most what three nodes may be ahead of origin more.
fn assert_about_the_limit(allowed: u32) {
    assert!(
        (LIMIT..=LIMIT + 3 * LIMIT / 32).contains(&allowed),
        "{allowed}"
    );
}

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
async fn a_batch_is_read_in_one_round_trip_and_booked_in_full_or_not_at_all() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let node = limiter(&redis.url());
    let spent = Key::of("spent");
    assert!(node.decide(&spent, LIMIT).await.is_allowed());
    let mut costs: Vec<(Key, u32)> = (0..99u32).map(|number| (Key::of(&number), 2)).collect();
    let fits = node
        .decide_batch(&costs, Batch::AllOrNothing)
        .await
        .expect("short");
    assert!(fits.iter().all(|decision| decision.is_allowed()));
    costs.push((spent, 1));
    let denied = node
        .decide_batch(&costs, Batch::AllOrNothing)
        .await
        .expect("short");
    assert!(!denied[99].is_allowed() && denied[0].is_allowed());
    assert_eq!(node.peek(&Key::of(&0u32)).remaining(), LIMIT - 2);
    let each = node
        .decide_batch(&costs, Batch::Independent)
        .await
        .expect("short");
    assert!(!each[99].is_allowed() && each[0].is_allowed());
    assert_eq!(node.peek(&Key::of(&0u32)).remaining(), LIMIT - 4);
    // The same key twice counts twice.
    let twice = [(Key::of("twice"), LIMIT / 2 + 1); 2];
    let twice = node
        .decide_batch(&twice, Batch::AllOrNothing)
        .await
        .expect("short");
    assert!(!twice[0].is_allowed());
    costs.push((Key::of("one more"), 1));
    assert!(node.decide_batch(&costs, Batch::Independent).await.is_err());
    node.close().await.expect("origin is there");
    assert_eq!(counted(&redis), i64::from(LIMIT) + 99 * 4);
}

/// How often a command was called.
fn calls(redis: &RedisServer, command: &str) -> u32 {
    let stats = redis.cli(&["INFO", "commandstats"]).text();
    let start = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&start));
    let calls = line.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

#[tokio::test]
async fn several_policies_count_each_on_its_own_and_are_read_in_one_round_trip() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let node = || {
        let node = builder(&redis.url()).name("long");
        let node = node.also("half", half_as_long(LIMIT + 100));
        node.build().expect("settings that work")
    };
    let (first, key) = (node(), Key::of("alice"));
    for (cost, binding) in [(LIMIT - 10, "long"), (10, "long")] {
        let decision = first.decide(&key, cost).await;
        assert!(decision.is_allowed());
        assert_eq!(decision.policy().as_str(), binding);
    }
    assert!(!first.decide(&key, 1).await.is_allowed());
    first.close().await.expect("origin is there");
    assert_eq!(counted(&redis), 2 * i64::from(LIMIT));
    // Each message to origin asks for its time once; this one has nothing to tell.
    let before = (calls(&redis, "time"), calls(&redis, "hget"));
    let second = node();
    let denied = second.decide_each(&key, 1).await;
    assert_eq!(denied.binding().policy().as_str(), "long");
    let left = [0, 1].map(|at| denied.each()[at].remaining());
    assert_eq!(left, [0, 100]);
    second.close().await.expect("nothing to tell");
    let after = (calls(&redis, "time"), calls(&redis, "hget"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 4));
    // One that has the second policy alone counts with them.
    let alone = LayeredLimiter::builder(store(&redis.url()), "test", half_as_long(LIMIT + 100));
    let alone = alone.build().expect("settings that work");
    assert!(alone.decide(&key, 100).await.is_allowed());
    assert!(!alone.decide(&key, 1).await.is_allowed());
}

#[tokio::test]
async fn limits_of_a_plan_are_counted_by_all_processes_and_outlive_a_change() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let plan = |limit| {
        let plan = Plan::new().limit("api", Quota::per_hour(limit));
        plan.and_then(|plan| plan.route("*", "api"))
            .expect("a plan")
    };
    let process = || {
        let url = redis.url();
        let limits = Limits::made_by(&plan(10), move |limit| {
            let limiter = LayeredLimiter::for_limit(RedisStore::new(&url)?, "shop", limit);
            Ok(limiter
                .flush_every(Duration::from_millis(5))
                .build()?
                .into())
        });
        limits.expect("limits")
    };
    let (one, other) = (process(), process());
    let find = |limits: &Limits| limits.find("GET", None).expect("a limit");
    let key = Key::of("a");
    assert!(find(&one).decide(&key, 6).await.is_allowed());
    caught_up(&redis, 6).await;
    assert!(!find(&other).decide(&key, 5).await.is_allowed());
    one.change(&plan(20)).expect("limits");
    assert!(!find(&one).decide(&key, 15).await.is_allowed());
    assert!(find(&one).decide(&key, 14).await.is_allowed());
}

#[tokio::test]
async fn of_a_batch_of_independent_costs_on_one_key_what_fits_is_booked() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let quota = so_many(10);
    let limiter = LayeredLimiter::builder(store(&redis.url()), "api", quota);
    let limiter = limiter.build().expect("settings that work");
    let (one, other) = (Key::of("one"), Key::of("other"));
    let costs = [(one, 6), (one, 6), (other, 10), (one, 4), (one, 1)];
    let each = limiter.decide_batch(&costs, Batch::Independent).await;
    let each = each.expect("not too long");
    let allowed: Vec<bool> = each.iter().map(|it| it.is_allowed()).collect();
    assert_eq!(allowed, [true, false, true, true, false]);
    assert_eq!(limiter.peek(&one).remaining(), 0);
    // Of one that is all or nothing they count together.
    let costs = [(Key::of("third"), 6), (Key::of("third"), 6)];
    let all = limiter.decide_batch(&costs, Batch::AllOrNothing).await;
    assert!(all.expect("not too long").iter().all(|it| !it.is_allowed()));
    assert_eq!(limiter.peek(&Key::of("third")).remaining(), 10);
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
    let unheard = node.close().await.expect_err("one cell cannot be told");
    assert_eq!(unheard.units, 1);
    let script = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', 'tidegate:l1:*')) do
            if redis.call('TYPE', key).ok == 'hash' then sum = sum + redis.call('HGET', key, '#') end
        end
        return sum";
    assert_eq!(redis.cli(&["EVAL", script, "0"]).integer(), 1);
}

#[tokio::test]
async fn regions_hear_of_each_other_also_after_the_global_store_was_away() {
    let (Some(eu), Some(us), Some(mut global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let region = |origin: &RedisServer, name: &str| {
        builder(&origin.url())
            .global(store(&global.url()), name)
            .global_every(Duration::from_millis(50))
            .build()
            .expect("settings that work")
    };
    let (eu, us) = ((region(&eu, "eu"), eu), (region(&us, "us"), us));
    let key = Key::of("alice");
    assert_eq!(ask(std::slice::from_ref(&eu.0), &key, 400).await, 400);
    // Its first decision there is taken on what the others are known to have used.
    until("it is heard of", || {
        us.0.peek(&key).remaining() == LIMIT || us.0.stats().keys > 0
    })
    .await;
    assert!(us.0.decide(&key, 1).await.is_allowed());
    until("us hears of eu", || {
        us.0.peek(&key).remaining() <= LIMIT - 401
    })
    .await;
    until("eu hears of us", || {
        eu.0.peek(&key).remaining() == LIMIT - 401
    })
    .await;
    global.kill();
    assert_eq!(ask(std::slice::from_ref(&eu.0), &key, 100).await, 100);
    assert_eq!(ask(std::slice::from_ref(&us.0), &key, 100).await, 100);
    until("trouble is seen", || eu.0.stats().global_failures > 0).await;
    assert_eq!(eu.0.peek(&key).remaining(), LIMIT - 501);
    global.restart(Data::Lose);
    for limiter in [&eu.0, &us.0] {
        until("both are heard again", || {
            limiter.peek(&key).remaining() == LIMIT - 601
        })
        .await;
    }
    // Another region's counts are not one's own: origin has 500 and 101.
    for (limiter, origin) in [&eu, &us] {
        limiter.close().await.expect("origin is there");
        assert!([500, 101].contains(&counted(origin)));
    }
}

#[tokio::test]
async fn a_region_that_closes_leaves_its_count_to_the_others() {
    let (Some(eu), Some(us), Some(global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let region = |origin: &RedisServer, name: &str| {
        builder(&origin.url())
            .patience(Duration::from_secs(60))
            .global(store(&global.url()), name)
            // Once when it begins, and then not in this test.
            .global_every(Duration::from_secs(600))
            .build()
            .expect("settings that work")
    };
    let (key, node) = (Key::of("alice"), region(&eu, "eu"));
    assert!(node.decide(&key, 300).await.is_allowed());
    node.close().await.expect("origin is there");
    let node = region(&us, "us");
    let mut asked = 0;
    until("us has heard of eu", || {
        asked += 1;
        node.check(&key, 1).remaining() + asked == LIMIT - 300
    })
    .await;
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

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_built() {
    let build = |quota| LayeredLimiter::builder(store("redis://127.0.0.1:1"), "a", quota);
    let quota = Quota::per_second(10);
    assert!(build(quota.burst(5)).build().is_err());
    assert!(build(quota.fixed()).build().is_err());
    assert!(build(quota.sliding()).build().is_ok());
    assert!(build(quota).also("hour", quota.fixed()).build().is_err());
    assert!(
        build(quota)
            .also("more", Quota::per_second(99))
            .build()
            .is_err()
    );
    assert!(
        build(quota)
            .also("default", Quota::per_hour(99))
            .build()
            .is_err()
    );
    assert!(
        build(quota)
            .also("hour", Quota::per_hour(99))
            .build()
            .is_ok()
    );
    assert!(build(quota).max_keys(0).build().is_err());
    let nowhere = || store("redis://127.0.0.1:1");
    let nameless = build(quota).global(nowhere(), "").build().unwrap_err();
    let said = nameless.to_string();
    assert!(
        said.contains("the name of a region") && said.contains("write 1 to 64 bytes"),
        "{said}"
    );
    let nowhere_at_all = LayeredLimiter::builder(nowhere(), "", quota).build();
    let said = nowhere_at_all.unwrap_err().to_string();
    assert!(said.contains("a namespace"), "{said}");
    assert!(build(quota).patience(Duration::ZERO).build().is_err());
    let closed = build(Quota::DENY_ALL)
        .build()
        .expect("it denies everything");
    assert!(!closed.decide(&Key::of("a"), 1).await.is_allowed());
}
