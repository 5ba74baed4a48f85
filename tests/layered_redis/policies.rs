//! Batches, several policies at once, and limits of a plan.

use crate::{LIMIT, builder, caught_up, counted, half_as_long, limiter, so_many, store};
use std::time::Duration;
use tidegate::layered::{Batch, LayeredLimiter};
use tidegate::limits::{Limits, Plan};
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

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
