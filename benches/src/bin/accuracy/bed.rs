//! Servers, links and the limiters behind them.

use crate::case::{Case, WINDOW};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tidegate::Quota;
use tidegate::layered::LayeredLimiter;
use tidegate::leased::LeasedLimiter;
use tidegate::store::RedisStore;
use tidegate::strict::StrictLimiter;
use tidegate_test_support::{RedisServer, TcpProxy};

/// Servers and links for all cases.
pub(crate) struct Bed {
    pub(crate) origins: Vec<RedisServer>,
    pub(crate) global: RedisServer,
    links: Mutex<HashMap<(usize, u64), TcpProxy>>,
}

impl Bed {
    pub(crate) fn start() -> Option<Self> {
        Some(Self {
            origins: vec![RedisServer::start()?, RedisServer::start()?],
            global: RedisServer::start()?,
            links: Mutex::default(),
        })
    }

    /// A connection of its own to the origin of `region`.
    pub(crate) fn origin(&self, region: usize, round_trip: u64) -> RedisStore {
        let server = &self.origins[region];
        let mut links = self.links.lock().expect("nothing panics under this lock");
        let link = links.entry((region, round_trip)).or_insert_with(|| {
            let link = TcpProxy::start(server.address());
            link.delay(Duration::from_millis(round_trip) / 2);
            link
        });
        RedisStore::new(server.url_through(link.address())).expect("an address")
    }

    pub(crate) fn leased_nodes(&self, case: &Case) -> Vec<LeasedLimiter> {
        let quota = Quota::new(case.limit, WINDOW).expect("a window").sliding();
        let name = case.name();
        let node = |_| {
            let store = self.origin(0, case.round_trip);
            let builder = LeasedLimiter::builder(store, &name, quota);
            let builder = builder.patience(Duration::from_secs(2));
            builder.build().expect("settings that work")
        };
        (0..case.nodes).map(node).collect()
    }

    pub(crate) fn strict_nodes(&self, case: &Case) -> Vec<StrictLimiter> {
        let quota = Quota::new(case.limit, WINDOW).expect("a window").sliding();
        let name = case.name();
        let node = |_| {
            let store = self.origin(0, case.round_trip);
            let builder = StrictLimiter::builder(store, &name, quota);
            let builder = builder.patience(Duration::from_secs(2));
            builder.build().expect("settings that work")
        };
        (0..case.nodes).map(node).collect()
    }

    pub(crate) fn nodes(&self, name: &str, case: &Case) -> Vec<LayeredLimiter> {
        let quota = Quota::new(case.limit, WINDOW).expect("a window");
        (0..case.nodes * case.regions)
            .map(|number| {
                let region = number % case.regions;
                let origin = self.origin(region, case.round_trip);
                let mut builder = LayeredLimiter::builder(origin, name, quota);
                if case.regions > 1 {
                    let store = RedisStore::new(self.global.url()).expect("an address");
                    builder = builder.global(store, ["eu", "us"][region]);
                }
                builder.build().expect("settings that work")
            })
            .collect()
    }
}
