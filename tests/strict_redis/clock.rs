//! A server whose wall clock is stepped.

use crate::{PATIENCE, limiter};
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;

/// A real server's clock, where libfaketime is installed; what may be said of any hour is in the unit tests.
#[tokio::test]
async fn nobody_waits_an_hour_because_the_servers_clock_was_put_back_by_one() {
    let Some(server) = RedisServer::start_with_own_clock() else {
        return;
    };
    let second = Quota::per_second(5);
    let quotas = [
        second,
        second.fixed(),
        second.sliding(),
        second.sliding_log(),
    ];
    for (number, quota) in quotas.into_iter().enumerate() {
        let limiter = limiter(&server, quota);
        let key = Key::of(&(number as u64));
        for ahead in [0, -3_600, 3_600, 0] {
            server.set_clock(ahead);
            let admitted = limiter.until_ready(&key, 1, PATIENCE).await;
            assert!(admitted.is_allowed(), "{quota:?} keeps out at {ahead} s");
            while limiter.decide(&key, 1).await.is_allowed() {}
        }
    }
}
