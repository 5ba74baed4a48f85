//! Requests that are answered by streams of events: the backend is done with them, and their slots are kept.

use super::request::State;
use super::{Event, World};
use crate::engine::Nanos;
use crate::limiter::{Goes, Outcome};
use crate::random::exponential;
use fastrand::Rng;

impl World<'_> {
    /// For how long the answer to a request streams events, if it does.
    pub(super) fn draw_stream(&self, rng: &mut Rng) -> Option<Nanos> {
        let streams = self.scenario.load.streams?;
        let is_one = rng.f64() < streams.part;
        is_one.then(|| (streams.mean as f64 * exponential(rng)) as Nanos)
    }

    /// The backend is done with the request, whose events come for so long from now on.
    pub(super) fn stream_on(&mut self, index: u32, length: Nanos, latency: Nanos) {
        let now = self.agenda.now();
        let held = self.take_held(index);
        let held = held.map(|held| self.limit(|it, scene| it.headed(scene, held, Goes::Events)));
        let request = &mut self.requests[index as usize];
        (request.state, request.held, request.latency) = (State::Streaming, held, latency);
        // Nobody hangs up who has an answer.
        request.life += 1;
        self.agenda
            .at(now + length, Event::StreamOver(index, request.life));
    }

    pub(super) fn stream_over(&mut self, index: u32, life: u32) {
        let request = &self.requests[index as usize];
        if request.state != State::Streaming || request.life != life {
            return;
        }
        let (node, user, latency) = (request.node, request.user, request.latency);
        let held = self.take_held(index);
        self.release_request(index);
        self.user_thinks(user);
        self.give_back(node, held, Outcome::Success, latency);
    }
}

#[cfg(test)]
mod tests {
    use crate::limiter;
    use crate::metrics::Metric;
    use crate::scenario::Scenario;
    use crate::world::run;

    /// 40 of 100 requests a second stream for 2 s each: 80 slots that are not the backend's.
    #[test]
    fn streams_keep_slots_and_nothing_of_the_backend() {
        let text = "duration = 30\nwarmup = 10\nslo_ms = 200\n[backend]\ncapacity = 10\nlatency_ms = 50\n[load]\n\
                    level = 0.5\nstreams = { part = 0.4, seconds = 2 }\n[limiter]\nname = ";
        let served = |limiter: &str| {
            let scenario = Scenario::parse("test", &format!("{text}{limiter:?}\n")).unwrap();
            let values = run(&scenario, limiter::build(&scenario, 1), 1).values;
            [Metric::Rate, Metric::InFlightMean].map(|metric| values.get(metric))
        };
        let [rate, in_flight] = served("none");
        assert!((rate - 100.0).abs() < 10.0, "{rate} a second");
        assert!((in_flight - 0.5).abs() < 0.1, "{in_flight} of ten");
        // Ten slots are nearly all kept by streams.
        let [rate, _] = served("fixed");
        assert!(rate < 30.0, "{rate} a second");
    }
}
