//! One process: asks its limiter a fixed number of times a second and says what came of it.

use crate::{LIMIT, LOAD, SECONDS};
use std::io::Write;
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};

/// A process of `region`, which is not asked for the first `wait` seconds.
#[tokio::main]
pub(crate) async fn run(region: &str, origin: &str, global: &str, wait: usize) {
    let quota = Quota::new(LIMIT, Duration::from_secs(10)).expect("a window");
    let origin = RedisStore::new(origin).expect("an address");
    let limiter = LayeredLimiter::builder(origin, "example", quota)
        .global(RedisStore::new(global).expect("an address"), region)
        .build()
        .expect("settings that work");
    let key = Key::of("acme");
    let mut timer = tokio::time::interval(Duration::from_secs(1) / LOAD);
    for second in 0..SECONDS {
        let mut admitted = 0;
        for _ in 0..LOAD {
            timer.tick().await;
            if second >= wait && limiter.decide(&key, 1).await.is_allowed() {
                admitted += 1;
            }
        }
        let left = limiter.peek(&key).remaining();
        println!("second {second}: admitted {admitted}, left {left}");
        // Whoever reads may be gone.
        let _ = std::io::stdout().flush();
    }
    let _ = limiter.close().await;
}
