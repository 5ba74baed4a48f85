//! Regions that hear of each other over a global store.

use crate::{LIMIT, ask, builder, counted, half_as_long, store, until};
use std::time::Duration;
use tidegate::Key;
use tidegate::layered::LayeredLimiter;
use tidegate_test_support::{Data, RedisServer};

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

/// Loaded from a snapshot it has the same epoch, and has seen fewer changes than the regions have read.
#[tokio::test]
async fn regions_hear_of_each_other_after_the_global_store_came_back_with_older_data() {
    let (Some(eu), Some(us), Some(asia), Some(mut global)) = (
        RedisServer::start(),
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
    let (eu, us, asia) = (region(&eu, "eu"), region(&us, "us"), region(&asia, "asia"));
    let key = Key::of("alice");
    assert!(eu.decide(&key, 300).await.is_allowed());
    let knows = |limiter: &LayeredLimiter, used| limiter.peek(&key).remaining() == LIMIT - used;
    assert!(us.decide(&key, 1).await.is_allowed());
    until("they know of each other", || {
        knows(&us, 301) && knows(&eu, 301)
    })
    .await;
    global.cli(&["SAVE"]);
    let mut used = 301;
    for _ in 0..10 {
        assert!(eu.decide(&key, 10).await.is_allowed());
        assert!(us.decide(&key, 10).await.is_allowed());
        used += 20;
        until("they know of each other", || {
            knows(&us, used) && knows(&eu, used)
        })
        .await;
    }
    global.kill();
    for limiter in [&eu, &us] {
        until("trouble is seen", || limiter.stats().global_failures > 0).await;
    }
    global.restart(Data::Keep);
    assert!(eu.decide(&key, 10).await.is_allowed());
    until("us hears of eu", || knows(&us, used + 10)).await;
    assert!(us.decide(&key, 10).await.is_allowed());
    until("eu hears of us", || knows(&eu, used + 20)).await;
    // And who has not known before.
    assert!(asia.decide(&key, 1).await.is_allowed());
    until("asia hears of both", || knows(&asia, used + 21)).await;
}

#[tokio::test]
async fn somebody_elses_key_at_the_global_store_troubles_that_cell_or_that_policy_alone() {
    let (Some(eu), Some(us), Some(global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let region = |origin: &RedisServer, name: &str| {
        builder(&origin.url())
            .also("half", half_as_long(LIMIT))
            .global(store(&global.url()), name)
            .global_every(Duration::from_millis(50))
            .build()
            .expect("settings that work")
    };
    let (eu, us) = (region(&eu, "eu"), region(&us, "us"));
    let spoil = |pattern: &str, most: &str| {
        let script = "local spoiled = 0
            for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
                if not string.match(key, 'meta$') and spoiled < tonumber(ARGV[2]) then
                    redis.call('DEL', key)
                    redis.call('SET', key, 'not ours')
                    spoiled = spoiled + 1
                end
            end
            return spoiled";
        let spoiled = redis_count(&global, &["EVAL", script, "0", pattern, most]);
        assert_eq!(spoiled, most.parse::<i64>().expect("a number"));
    };
    let [bad, good, last] = ["bad", "good", "last"].map(Key::of);
    assert!(eu.decide(&bad, 300).await.is_allowed());
    until("it is published", || redis_count(&global, &["DBSIZE"]) == 6).await;
    spoil("tidegate:g1:*:*:*", "2");
    let left = |key| {
        let each = us.peek_each(key);
        [0, 1].map(|at| each.each()[at].remaining())
    };
    for key in [&bad, &good] {
        assert!(us.decide(key, 1).await.is_allowed());
    }
    assert!(eu.decide(&bad, 1).await.is_allowed());
    assert!(eu.decide(&good, 300).await.is_allowed());
    until("the other key is heard of", || {
        left(&good) == [LIMIT - 301; 2]
    })
    .await;
    assert_eq!(us.stats().global_failures, 0);
    // The list of one of the two policies.
    spoil("tidegate:g1:*:changes", "1");
    assert!(us.decide(&last, 1).await.is_allowed());
    assert!(eu.decide(&last, 300).await.is_allowed());
    until("the other policy is heard of", || {
        left(&last).contains(&(LIMIT - 301))
    })
    .await;
    assert_ne!(left(&last), [LIMIT - 301; 2]);
    until("trouble is counted", || us.stats().global_failures > 0).await;
}

fn redis_count(redis: &RedisServer, arguments: &[&str]) -> i64 {
    redis.cli(arguments).integer()
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
