//! The way between nodes and the store: how long messages take, which are lost, and what each node's clock shows.

use crate::engine::{MS, Nanos, SECOND};
use crate::random::{Stream, exponential, stream};
use crate::scenario::{Delay, NetworkSpec, Scenario, Way};
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
        let chosen = spec
            .clocks
            .values()
            .map(|(offset, _)| offset.unsigned_abs());
        let base = SECOND + chosen.fold(spec.clock_offset, Nanos::max);
        let clock = |node| {
            let mut way = || 2.0 * rng.f64() - 1.0;
            // Drawn in any case, so that a chosen one does not move the others.
            let drawn = (
                base as f64 + way() * spec.clock_offset as f64,
                way() * spec.clock_drift,
            );
            let (offset, drift) = match spec.clocks.get(&node) {
                Some((offset, drift)) => (base.saturating_add_signed(*offset), *drift),
                None => (drawn.0 as Nanos, drawn.1),
            };
            (offset, drift / 1e6)
        };
        let clocks = (0..scenario.all_nodes()).map(clock).collect();
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

    /// By what part the slowest and the fastest of all clocks run too fast; below 0 if it is slow.
    pub(super) fn drifts(&self) -> (f64, f64) {
        let drifts = self.clocks.iter().map(|(_, drift)| *drift);
        let (slowest, fastest) = (f64::INFINITY, f64::NEG_INFINITY);
        drifts.fold((slowest, fastest), |(slowest, fastest), drift| {
            (slowest.min(drift), fastest.max(drift))
        })
    }

    /// After how long a message between `node` and the store arrives: not at all, once or twice.
    pub(super) fn deliveries(
        &mut self,
        now: Nanos,
        node: usize,
        way: Way,
    ) -> impl Iterator<Item = Nanos> + use<> {
        let cut = self.spec.is_cut(now, node, way);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn network(fields: &str) -> Network {
        let text = format!(
            "duration = 9\n[backend]\ncapacity = 5\nlatency_ms = 1\n[load]\nlevel = 1\n[nodes]\ncount = 3\n\
             [network]\n{fields}\n"
        );
        Network::new(&Scenario::parse("test", &text).unwrap(), 1)
    }

    #[test]
    fn a_link_may_be_open_one_way_alone() {
        for (way, to_store, to_node) in [
            ("", false, false),
            (", way = \"beats\"", false, true),
            (", way = \"answers\"", true, false),
        ] {
            let partition = format!("partitions = [{{ at = 1, length = 1, nodes = [1]{way} }}]");
            let mut network = network(&partition);
            let mut arrives = |at, node, way| network.deliveries(at, node, way).count() > 0;
            let within = SECOND + MS;
            assert_eq!(arrives(within, 1, Way::ToStore), to_store, "{way}");
            assert_eq!(arrives(within, 1, Way::ToNode), to_node, "{way}");
            for (at, node) in [(within, 0), (2 * SECOND, 1), (MS, 1)] {
                assert!(arrives(at, node, Way::ToStore) && arrives(at, node, Way::ToNode));
            }
        }
    }

    #[test]
    fn a_chosen_clock_is_off_by_what_is_said_and_moves_no_other() {
        let drawn = network("clock_offset_ms = 5000\nclock_drift_ppm = 100");
        let chosen = network(
            "clock_offset_ms = 5000\nclock_drift_ppm = 100\n\
             clocks = [{ nodes = [1], offset_ms = -3000, drift_ppm = 200 }]",
        );
        assert_eq!(chosen.clock(1), (3 * SECOND, 200e-6));
        for node in [0, 2] {
            assert_eq!(chosen.clock(node), drawn.clock(node));
        }
        assert_eq!(chosen.drifts().1, 200e-6);
        let early = network("clocks = [{ nodes = [0], offset_ms = -9000 }]");
        assert_eq!((early.clock(0).0, early.clock(1).0), (SECOND, 10 * SECOND));
    }
}
