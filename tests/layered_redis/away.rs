//! A global store that is away for several windows: each region holds the limit by itself, and when the store is back every
//! request is counted once everywhere. `--bin accuracy` of the benches does the same for a minute.
//!
//! Windows end here, so that what is asserted of them is how many were admitted, and of all of them together, under a
//! second policy, what is counted in the end.

use crate::{so_many, store, until};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::layered::LayeredLimiter;
use tidegate::{Key, Quota};
use tidegate_test_support::{Load, RedisServer, TcpProxy, since_1970};

const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: u32 = 200;
/// Of the second policy: more than both regions admit in this test, and so little that it is told.
const ALL: u32 = 2_500;

struct Region {
    node: LayeredLimiter,
    /// Admitted, by the window in which it was asked for and answered; none of two windows.
    admitted: Arc<Mutex<BTreeMap<Option<u128>, u32>>>,
}

impl Region {
    fn new(origin: &RedisServer, global: &str, name: &str) -> Self {
        let quota = Quota::new(LIMIT, WINDOW).expect("a window");
        let builder = LayeredLimiter::builder(store(&origin.url()), "away", quota)
            .also("all", so_many(ALL))
            .global(store(global), name)
            .global_every(Duration::from_millis(50))
            .patience(Duration::from_millis(200));
        Self {
            node: builder.build().expect("settings that work"),
            admitted: Arc::default(),
        }
    }

    /// Offers twice the limit for so many windows.
    async fn offer(&self, windows: u32) {
        let load = Load {
            limit: LIMIT,
            window: WINDOW,
            requests: 2 * LIMIT,
            windows,
            skip: 0,
            nodes: 1,
        };
        let ask = |_| {
            let (node, admitted) = (self.node.clone(), Arc::clone(&self.admitted));
            async move {
                let window = || since_1970().as_nanos() / WINDOW.as_nanos();
                let asked = window();
                let allowed = node.decide(&Key::of("hot"), 1).await.is_allowed();
                if allowed {
                    let within = Some(asked).filter(|asked| *asked == window());
                    let mut admitted = admitted.lock().expect("nothing panics under it");
                    *admitted.entry(within).or_default() += 1;
                }
                allowed
            }
        };
        load.offer(ask).await;
    }

    fn admitted(&self) -> u32 {
        let admitted = self.admitted.lock().expect("nothing panics under it");
        admitted.values().sum()
    }

    /// What is counted here of all regions, over all windows.
    fn counted(&self) -> u32 {
        ALL - self.node.peek_each(&Key::of("hot")).each()[1].remaining()
    }
}

#[tokio::test]
async fn while_the_global_store_is_away_a_region_holds_its_limit_and_then_all_is_counted_once() {
    let (Some(eu), Some(us), Some(global)) = (
        RedisServer::start(),
        RedisServer::start(),
        RedisServer::start(),
    ) else {
        return;
    };
    let link = TcpProxy::start(global.address());
    let url = global.url_through(link.address());
    let regions = [("eu", &eu), ("us", &us)];
    let regions = regions.map(|(name, origin)| Region::new(origin, &url, name));
    let [eu, us] = &regions;
    tokio::join!(eu.offer(1), us.offer(1));
    link.refuse();
    for region in &regions {
        let failures = || region.node.stats().global_failures;
        until("trouble is seen", || failures() > 0).await;
    }
    tokio::join!(eu.offer(2), us.offer(2));
    // Then it is there and does not answer.
    link.heal();
    link.hold();
    tokio::join!(eu.offer(1), us.offer(1));
    for region in &regions {
        let mut windows = region.admitted.lock().expect("nothing panics").clone();
        windows.remove(&None);
        assert!(
            windows
                .values()
                .all(|admitted| *admitted <= LIMIT + LIMIT / 20),
            "{windows:?}"
        );
        assert!(windows.values().any(|admitted| *admitted > LIMIT / 2));
    }
    link.cut();
    link.heal();
    let all = eu.admitted() + us.admitted();
    for region in &regions {
        until("everything is heard of", || region.counted() >= all).await;
    }
    tokio::join!(eu.offer(1), us.offer(1));
    let all = eu.admitted() + us.admitted();
    assert!(all < ALL, "nobody was denied by the second policy");
    for region in &regions {
        until("everything is heard of", || region.counted() >= all).await;
        assert_eq!(region.counted(), all);
    }
}
