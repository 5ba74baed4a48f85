//! A decision of a layered limit on a key that is warm, beside trypema's hybrid limiter: both decide in memory and tell a
//! Redis in the background.
//!
//! Texts are turned into keys each time, as a request has them; trypema's `inc` takes an owned key, which is made before.

use crate::slices::measure;
use crate::table::Table;
use crate::{Candidate, Clocks};
use std::hint::black_box;
use tidegate::layered::LayeredLimiter;
use tidegate::store::RedisStore;
use tidegate::{Key, Quota};
use tidegate_test_support::RedisServer;
use tokio::runtime::Runtime;

const TEXT: &str = "customer-000000000000001";

/// The Redis that they tell, and the runtime on which the peer does.
#[derive(Debug)]
pub struct Bed {
    runtime: Runtime,
    server: RedisServer,
}

impl Bed {
    /// None without a Redis on this machine.
    ///
    /// # Panics
    /// Without a runtime's threads, or if the Redis there is does not answer.
    #[must_use]
    pub fn start() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Some(Self {
            runtime,
            server: RedisServer::start()?,
        })
    }
}

/// Measures them; an empty table without a Redis.
///
/// # Panics
/// As [`Bed::start`].
#[must_use]
pub fn table() -> Table {
    let rows = Bed::start().map(|bed| measure(501, candidates(&Clocks::ready(), &bed)));
    Table::new(
        "a warm decision of many processes",
        rows.unwrap_or_default(),
    )
}

/// Every candidate, for the table or a profiler.
///
/// # Panics
/// If the Redis does not answer.
#[must_use]
pub fn candidates<'a>(clocks: &Clocks, bed: &'a Bed) -> Vec<Candidate<'a>> {
    let Bed { runtime, server } = bed;
    // Nobody reaches it here, and nobody comes near.
    let quota = Quota::per_hour(u32::MAX);
    let store = RedisStore::new(server.url()).expect("an address");
    let builder = LayeredLimiter::builder(store, "warm", quota).clock(clocks.limits.clone());
    let waits = builder.build().expect("settings that work");
    let _ = runtime.block_on(waits.decide(&Key::of(TEXT), 1));
    let at_once = waits.clone();
    let list = vec![
        Candidate::batch("layered, awaited", move |calls| {
            runtime.block_on(async {
                for _ in 0..calls {
                    let _ = black_box(waits.decide(&Key::of(TEXT), 1).await);
                }
            });
        }),
        Candidate::new("layered, at once", move || at_once.check(&Key::of(TEXT), 1)),
    ];
    #[cfg(feature = "peers")]
    let list = {
        let peers = ["trypema hybrid, awaited", "trypema hybrid, at once"];
        let own = list.into_iter().zip(peers);
        let own = own.map(|(it, peer)| it.times(peer).at_most(1.0));
        own.chain(peers::candidates(runtime, &server.url()))
            .collect()
    };
    list
}

#[cfg(feature = "peers")]
mod peers {
    //! The same by trypema.

    use super::TEXT;
    use crate::Candidate;
    use std::hint::black_box;
    use std::sync::Arc;
    use tokio::runtime::Runtime;
    use trypema::hybrid::HybridRateLimiterProvider;
    use trypema::redis::{RedisKey, RedisKeyRef};
    use trypema::{RateLimit, RateLimiterBuilder, WindowSize};

    pub(super) fn candidates<'a>(runtime: &'a Runtime, url: &str) -> [Candidate<'a>; 2] {
        let rate = RateLimit::per_second(1e6).expect("a rate");
        let key = RedisKey::try_from(TEXT.to_owned()).expect("a key");
        let provider = runtime.block_on(async {
            let client = redis::Client::open(url).expect("an address");
            let connection = client.get_connection_manager().await.expect("a Redis");
            let window = WindowSize::hours(1).expect("a window");
            let builder = HybridRateLimiterProvider::builder(connection).window_size(window);
            let provider = builder.build().expect("settings that work");
            let first = provider.absolute().inc(&key, &rate, 1).await;
            let _ = first.expect("a decision");
            provider
        });
        let at_once = Arc::clone(&provider);
        [
            Candidate::batch("trypema hybrid, awaited", move |calls| {
                runtime.block_on(async {
                    for _ in 0..calls {
                        let _ = black_box(provider.absolute().inc(&key, &rate, 1).await);
                    }
                });
            }),
            Candidate::new("trypema hybrid, at once", move || {
                let key = RedisKeyRef::try_from(TEXT).expect("a key");
                at_once.absolute().try_inc(key, 1)
            }),
        ]
    }
}
