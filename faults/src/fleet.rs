//! Gateways over one Redis, each by a link of its own, before one backend that counts.

use crate::clock::eventually;
use crate::committed::Committed;
use crate::gateway::Gateway;
use crate::load::Load;
use crate::policy::Policy;
use crate::scale::{Estimate, Scale};
use std::net::SocketAddr;
use tidegate_test_support::{Backend, PATIENCE, RedisServer, TcpProxy};

/// Everything a drill needs. Its processes end with it.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: who asks, before whom it asks.
    /// Clients, three times as many as the limit.
    pub load: Load,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// Their links to the store, in the same order.
    pub links: Vec<TcpProxy>,
    /// A copy of the store, if the drill needs one, and its link to the store.
    pub replica: Option<(RedisServer, TcpProxy)>,
    /// The store.
    pub redis: RedisServer,
    /// The backend, which serves all who come if the limit is given.
    pub backend: Backend,
    pub(crate) committed: Committed,
    policy: Policy,
    scale: Scale,
}

/// What the store must be for a drill.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Store {
    /// One server.
    Alone,
    /// One server, whose wall clock can be set.
    OfItsOwnClock,
    /// A server and its replica.
    Replicated,
    /// The same, and the server takes no writes when it has not heard of its replica for a second.
    ReplicatedOrReadOnly,
}

impl Fleet {
    /// Starts everything and waits until the limit is shared, and was used to the last slot. `None` without Redis.
    ///
    /// # Panics
    /// If that does not come.
    #[must_use]
    pub fn start(policy: Policy, store: Store, scale: &Scale) -> Option<Self> {
        let mut master = RedisServer::builder();
        if store == Store::ReplicatedOrReadOnly {
            master = master.arguments([
                "--min-replicas-to-write",
                "1",
                "--min-replicas-max-lag",
                "1",
            ]);
        }
        if store == Store::OfItsOwnClock {
            master = master.own_clock();
        }
        let redis = master.start()?;
        let replica = match store {
            Store::Alone | Store::OfItsOwnClock => None,
            Store::Replicated | Store::ReplicatedOrReadOnly => {
                let link = TcpProxy::start(redis.address());
                let replica = RedisServer::builder().replica_through(&redis, link.address());
                Some((replica.start()?, link))
            }
        };
        let mut committed = Committed::new(policy.memory(scale));
        committed.follow(redis.address());
        let mut backend = Backend::builder().service_time(scale.service);
        if scale.estimate == Estimate::Fleet {
            backend = backend.capacity(scale.limit);
        }
        let backend = backend.start();
        let links: Vec<TcpProxy> = (0..scale.gateways)
            .map(|_| TcpProxy::start(redis.address()))
            .collect();
        let gateways: Vec<Gateway> = links
            .iter()
            .enumerate()
            .map(|(number, link)| {
                let url = redis.url_through(link.address());
                gateway(number, &url, &backend.url(), policy, scale)
            })
            .collect();
        let addresses: Vec<SocketAddr> = gateways.iter().map(Gateway::address).collect();
        let fleet = Self {
            load: Load::start(3 * scale.limit, addresses),
            gateways,
            links,
            replica,
            redis,
            backend,
            committed,
            policy,
            scale: scale.clone(),
        };
        assert!(fleet.wait_until_shared(), "{}", fleet.tell());
        // Enough to see it if more were admitted.
        let filled = || fleet.backend.stats().max_in_flight >= scale.limit;
        assert!(eventually(PATIENCE, filled), "too little load");
        if let Some((replica, _)) = &fleet.replica {
            let copied = || replica.cli(&["DBSIZE"]).integer() > 0;
            assert!(eventually(PATIENCE, copied), "nothing is replicated");
        }
        Some(fleet)
    }

    /// Waits until each gateway has a part of the limit, all have all of it, and the backend is full; whether that
    /// came.
    #[must_use]
    pub fn wait_until_shared(&self) -> bool {
        // Of a policy that holds slots for long, the store learns as long what may be in use.
        eventually(3 * PATIENCE, || {
            let shares = self.shares();
            let all = match self.scale.estimate {
                Estimate::Fixed => Some(self.scale.limit as u64),
                Estimate::Fleet => self.told_limit(),
            };
            let used = self.backend.stats().in_flight;
            Some(shares.iter().sum::<u64>()) == all && !shares.contains(&0) && used > 0
        })
    }

    /// The gateways' addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(Gateway::address).collect()
    }

    /// The gateways' addresses but for the last one's.
    #[must_use]
    pub fn others(&self) -> Vec<SocketAddr> {
        let (_, others) = self.gateways.split_last().expect("there are gateways");
        others.iter().map(Gateway::address).collect()
    }

    /// The last gateway, to which things happen, and its link.
    ///
    /// # Panics
    /// Never: there are gateways.
    #[must_use]
    pub fn victim(&self) -> (&Gateway, &TcpProxy) {
        let gateway = self.gateways.last().expect("there are gateways");
        (gateway, self.links.last().expect("as many links"))
    }

    /// Starts the last gateway again, under its name.
    ///
    /// # Panics
    /// If it does not start.
    pub fn replace_victim(&mut self) {
        let number = self.gateways.len() - 1;
        let url = self.redis.url_through(self.links[number].address());
        let again = gateway(number, &url, &self.backend.url(), self.policy, &self.scale);
        self.gateways[number] = again;
        self.load.send_to(self.addresses());
    }

    /// Shares as told, 0 by those that do not answer or are on their own.
    fn shares(&self) -> Vec<u64> {
        self.gateways
            .iter()
            .map(|gateway| gateway.count("share").unwrap_or(0))
            .collect()
    }

    /// The limit that all gateways tell; `None` if they do not tell the same.
    fn told_limit(&self) -> Option<u64> {
        let limits = self.gateways.iter().map(|gateway| gateway.count("limit"));
        limits
            .reduce(|a, b| if a == b { a } else { None })
            .flatten()
    }

    fn tell(&self) -> String {
        let said: Vec<String> = self
            .gateways
            .iter()
            .map(|gateway| gateway.process.output().text())
            .collect();
        format!("shares {:?}; {}", self.shares(), said.join("\n"))
    }
}

fn gateway(number: usize, store: &str, upstream: &str, policy: Policy, scale: &Scale) -> Gateway {
    let in_ms = |time: std::time::Duration| format!("{}ms", time.as_millis());
    let (node, limit) = (format!("node-{number}"), scale.limit.to_string());
    let framework = if number.is_multiple_of(2) {
        "axum"
    } else {
        "actix"
    };
    let estimate = match scale.estimate {
        Estimate::Fixed => format!("fixed:{limit}"),
        Estimate::Fleet => "fleet".to_owned(),
    };
    let outage = policy.argument(scale);
    let times = [scale.heartbeat, scale.ttl, scale.drain].map(in_ms);
    Gateway::start([
        "--node",
        &node,
        "--framework",
        framework,
        "--upstream",
        upstream,
        "--store",
        store,
        "--estimate",
        &estimate,
        "--local-limit",
        &limit,
        "--outage",
        &outage,
        "--heartbeat",
        &times[0],
        "--ttl",
        &times[1],
        "--drain",
        &times[2],
        // Nobody uses it yet, and learning would take as long as slots may be held.
        "--empty-store",
        "trust",
    ])
}
