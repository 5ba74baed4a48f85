//! This process as a node of its fleet: the guard, and what is said about it on stdout.

use crate::BoxError;
use crate::options::{Limits, Options};
use std::time::Duration;
use tidegate::ConfigError;
use tidegate::adaptive::Gradient2;
use tidegate::fleet::{DistributedGuard, NodeState, StillDraining};

/// The guard, unless limits are off.
pub(crate) struct Node {
    guard: Option<DistributedGuard>,
}

/// How often to look whether there is something to say.
const LOOK: Duration = Duration::from_millis(50);

impl Node {
    /// Begins to join the fleet.
    pub(crate) fn start(options: &Options) -> Result<Self, ConfigError> {
        let mut builder = DistributedGuard::builder(options.store.clone(), options.key.clone())
            .estimate(options.estimate)
            .allocation(options.allocation)
            .handoff(options.handoff)
            .outage(options.outage)
            .heartbeat(options.heartbeat)
            .ttl(options.ttl)
            .drain(options.drain)
            .revision(options.revision)
            .drain_timeout(options.drain_timeout)
            .local(Gradient2::new(options.local_limit));
        if let Some(node) = &options.node {
            builder = builder.node(node.clone());
        }
        if let Some(empty) = options.empty_store {
            builder = builder.empty_store(empty);
        }
        let guard = match options.limits {
            Limits::On => Some(builder.build()?),
            Limits::Off => None,
        };
        Ok(Self { guard })
    }

    pub(crate) const fn guard(&self) -> Option<&DistributedGuard> {
        self.guard.as_ref()
    }

    /// Says when slots are granted, when they are lost and what is wrong with the store. Ends when there is no use
    /// in going on.
    pub(crate) async fn watch(&self) -> BoxError {
        let Some(guard) = &self.guard else {
            println!("ready: without limits");
            return std::future::pending().await;
        };
        let mut said = Said::default();
        loop {
            // The first slot may be lent on before anybody looks: here it is told of all the same.
            let granted = if said.was_ready {
                tokio::time::sleep(LOOK).await;
                None
            } else {
                tokio::time::timeout(LOOK, guard.ready()).await.ok()
            };
            let stats = guard.stats();
            let granted = match granted {
                None if stats.state == NodeState::Refused => Some(guard.ready().await),
                granted => granted,
            };
            if let Some(Err(error)) = granted {
                return error.into();
            }
            let ready = granted.is_some() || stats.state == NodeState::Active && stats.share > 0;
            if ready && !said.ready {
                let (node, key) = (&stats.node, &stats.key);
                let (share, limit) = (stats.share, stats.limit);
                println!("ready: node {node} of key {key} has {share} of {limit} slots");
            }
            if stats.fences > said.fences {
                println!("fenced: the lease ran out, and what was running is cut");
            }
            match &stats.trouble {
                Some(trouble) if !said.trouble => println!("store trouble: {trouble}"),
                None if said.trouble => println!("store trouble is over"),
                _ => {}
            }
            said = Said {
                ready: if stats.state == NodeState::Fenced {
                    false
                } else {
                    ready || said.ready
                },
                was_ready: ready || said.was_ready,
                fences: stats.fences,
                trouble: stats.trouble.is_some(),
            };
        }
    }

    /// Waits for what is running and leaves the fleet.
    pub(crate) async fn leave(&self) -> Result<(), StillDraining> {
        match &self.guard {
            Some(guard) => guard.close().await,
            None => Ok(()),
        }
    }
}

/// So that everything is said once.
#[derive(Default)]
struct Said {
    ready: bool,
    was_ready: bool,
    fences: u64,
    trouble: bool,
}
