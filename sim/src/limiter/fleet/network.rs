//! The way between nodes and the store: how long messages take, which are lost, and what each node's clock shows.

use crate::engine::{MS, Nanos, SECOND};
use crate::random::{Stream, exponential, stream};
use crate::scenario::{Delay, NetworkSpec, Scenario};
use fastrand::Rng;

#[derive(Debug)]
pub(super) struct Network {
    spec: NetworkSpec,
    rng: Rng,
    clocks: Vec<(Nanos, f64)>,
}

impl Network {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let spec = scenario.network.clone();
        let mut rng = stream(seed, Stream::Store);
        // Clocks do not start at zero, so that one that is behind is not before its beginning.
        let base = SECOND + spec.clock_offset;
        let clock = |rng: &mut Rng| {
            let way = |rng: &mut Rng| 2.0 * rng.f64() - 1.0;
            let offset = base as f64 + way(rng) * spec.clock_offset as f64;
            (offset as Nanos, way(rng) * spec.clock_drift / 1e6)
        };
        let clocks = (0..scenario.all_nodes()).map(|_| clock(&mut rng)).collect();
        Self {
            spec,
            rng: stream(seed, Stream::Network),
            clocks,
        }
    }

    /// A node's clock: what it shows at time zero, and how much too fast it runs.
    pub(super) fn clock(&self, node: usize) -> (Nanos, f64) {
        self.clocks[node]
    }

    /// After how long a message of `node` arrives: not at all, once or twice.
    pub(super) fn deliveries(
        &mut self,
        now: Nanos,
        node: usize,
    ) -> impl Iterator<Item = Nanos> + use<> {
        let cut = self.spec.partitions.iter().any(|partition| {
            (partition.from..partition.until).contains(&now)
                && (partition.nodes.is_empty() || partition.nodes.contains(&node))
        });
        // Drawn in any case, so that one fault does not move the others.
        let lost = self.rng.f64() < self.spec.loss;
        let doubled = self.rng.f64() < self.spec.duplication;
        let (first, second) = (self.delay(now), self.delay(now));
        let arrives = !cut && !lost;
        let first = arrives.then_some(first);
        first
            .into_iter()
            .chain((arrives && doubled).then_some(second))
    }

    fn delay(&mut self, now: Nanos) -> Nanos {
        let way = self.spec.store.at(now) / 2.0;
        let drawn = exponential(&mut self.rng);
        let (part, by) = self.spec.late;
        let late = if self.rng.f64() < part {
            exponential(&mut self.rng) * by as f64
        } else {
            0.0
        };
        let took = match self.spec.delay {
            Delay::Constant => way,
            Delay::Exponential => way * drawn,
        };
        // Nothing is slower than a minute: by then it is lost.
        ((took + late) as Nanos).min(60_000 * MS)
    }
}
