//! What nodes and the store tell each other, as a value; and what a node that counts wrong tells.

use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push};
use crate::fleet::sim::bytes;

/// What is on its way.
#[derive(Clone, Debug)]
pub struct Message(pub(super) Payload);

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Beat(Box<Beat>),
    Answer(Box<Answer>),
    Commit(Box<Commit>),
    CommitAnswer(Box<CommitAnswer>),
    Push(Push),
}

impl Message {
    /// How many bytes it takes between a node and a Redis, framing included and that of the network not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = match &self.0 {
            Payload::Beat(beat) => bytes::beat(beat),
            Payload::Answer(answer) => bytes::answer(answer),
            Payload::Commit(commit) => bytes::commit(commit),
            Payload::CommitAnswer(answer) => bytes::commit_answer(answer),
            Payload::Push(push) => bytes::push(push),
        };
        bytes as u64
    }
}

/// What a node that counts wrong reports wrongly. Its protocol, such as what it acknowledges and when, is as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lie {
    /// All that it tells of its work but the two below: demand, latencies, arrivals, refusals, drops, its own limit.
    Work,
    /// How many requests were served.
    Completions,
    /// How many requests it runs.
    InFlight,
}

impl Message {
    /// The same, with what `lie` is about times `factor`, saturating.
    #[must_use]
    pub fn misreported(mut self, lie: Lie, factor: f64) -> Self {
        let few = |field: &mut u32| *field = (f64::from(*field) * factor) as u32;
        let many = |field: &mut u64| *field = (*field as f64 * factor) as u64;
        if let Payload::Beat(beat) = &mut self.0 {
            let report = &mut beat.report;
            match lie {
                Lie::Work => {
                    few(&mut report.local_limit);
                    few(&mut report.demand);
                    few(&mut report.peak);
                    report.ranked.iter_mut().for_each(few);
                    many(&mut report.baseline_us);
                    many(&mut report.latency_us);
                    many(&mut report.latency_us2);
                    many(&mut report.held_us);
                    many(&mut report.lingered_us);
                    many(&mut report.arrivals);
                    many(&mut report.sheds);
                    many(&mut report.other_sheds);
                    many(&mut report.drops);
                }
                Lie::Completions => many(&mut report.completions),
                Lie::InFlight => few(&mut beat.in_flight),
            }
        }
        self
    }
}
