//! What is on its way between nodes and the store.

use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push, Snapshot, Ticket};
use crate::fleet::plan::plan;
use crate::fleet::proof::number::{Number, StoreNumbers};
use crate::time::StoreTime;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// A message, and whose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    Beat(Beat),
    /// With the plan that its ticket, if any, will lead to: planning is a pure function, so it may as well be done
    /// before the answer leaves as after it has arrived.
    Answer(u64, Answer, Option<Commit>),
    Commit(Commit),
    CommitAnswer(u64, CommitAnswer, Option<Commit>),
    Push(u64, Push),
}

impl Message {
    /// The node that sent it or is to get it.
    pub(super) const fn incarnation(&self) -> u64 {
        match self {
            Self::Beat(beat) => beat.incarnation,
            Self::Commit(commit) => commit.incarnation,
            Self::Answer(to, ..) | Self::CommitAnswer(to, ..) | Self::Push(to, _) => *to,
        }
    }

    pub(super) fn answer(to: u64, mut answer: Answer) -> Self {
        let commit = answer.ticket.take().and_then(|ticket| plan(&ticket, to));
        // What only says when to beat.
        answer.nodes = 0;
        answer.learning = answer.learning.min(Duration::from_nanos(1));
        answer.again_in = answer.again_in.map(|_| Duration::ZERO);
        Self::Answer(to, answer, commit.map(plain))
    }

    pub(super) fn commit_answer(to: u64, mut answer: CommitAnswer) -> Self {
        let commit = answer.ticket.take().and_then(|ticket| plan(&ticket, to));
        answer.nodes = 0;
        Self::CommitAnswer(to, answer, commit.map(plain))
    }

    /// Takes over what became of the store's numbers.
    pub(super) fn follow(&mut self, store: &StoreNumbers, slack: Duration) {
        match self {
            Self::Beat(beat) => {
                let same = beat.epoch.is_some() && beat.epoch == store.epoch;
                beat.echo = if same { store.stamp(beat.echo) } else { 0 };
                // A time that has passed tells nothing.
                beat.store_time = beat
                    .store_time
                    .filter(|told| same && *told > store.time)
                    .map(|told| store.moment(told, Duration::ZERO));
            }
            Self::Answer(_, answer, commit) => {
                if Some(answer.epoch) == store.epoch {
                    answer.stamp = store.stamp(answer.stamp);
                    answer.store_time = store.moment(answer.store_time, slack);
                } else {
                    (answer.stamp, answer.store_time) = (0, StoreTime::ZERO);
                }
                commit.iter_mut().for_each(|commit| follow(commit, store));
            }
            Self::CommitAnswer(_, _, commit) => {
                commit.iter_mut().for_each(|commit| follow(commit, store));
            }
            Self::Commit(commit) => follow(commit, store),
            Self::Push(..) => {}
        }
    }

    pub(super) fn numbers(&mut self, visit: &mut impl FnMut(Number, &mut u64)) {
        match self {
            Self::Beat(beat) => {
                let epoch = beat.epoch.unwrap_or(0);
                visit(Number::Sequence(beat.incarnation), &mut beat.sequence);
                visit(
                    Number::Generation(epoch, beat.incarnation),
                    &mut beat.generation,
                );
                visit(Number::Plan, &mut beat.plan);
                beat.epoch
                    .iter_mut()
                    .for_each(|epoch| visit(Number::Epoch, epoch));
            }
            Self::Answer(to, answer, commit) => {
                visit(Number::Sequence(*to), &mut answer.sequence);
                let generation = Number::Generation(answer.epoch, *to);
                visit(generation, &mut answer.grant.generation);
                visit(Number::Plan, &mut answer.plan);
                visit(Number::Epoch, &mut answer.epoch);
                commit
                    .iter_mut()
                    .for_each(|commit| visit(Number::Epoch, &mut commit.epoch));
            }
            Self::CommitAnswer(to, answer, commit) => {
                let generation = Number::Generation(answer.epoch, *to);
                visit(generation, &mut answer.grant.generation);
                visit(Number::Plan, &mut answer.plan);
                visit(Number::Epoch, &mut answer.epoch);
                commit
                    .iter_mut()
                    .for_each(|commit| visit(Number::Epoch, &mut commit.epoch));
            }
            Self::Commit(commit) => visit(Number::Epoch, &mut commit.epoch),
            Self::Push(to, push) => {
                let generation = Number::Generation(push.epoch, *to);
                visit(generation, &mut push.grant.generation);
                visit(Number::Epoch, &mut push.epoch);
            }
        }
    }
}

/// Without what only says when to beat.
fn plain(commit: Commit) -> Commit {
    Commit { nodes: 0, ..commit }
}

/// A commit that cannot be applied any more is like any other of its kind.
fn follow(commit: &mut Commit, store: &StoreNumbers) {
    let same = Some(commit.epoch) == store.epoch;
    let token = if same { store.token(commit.token) } else { 0 };
    let spent = commit.token == store.committed;
    let fresh = token > 0 && !spent && commit.version == store.version;
    commit.token = token;
    commit.version = u64::from(fresh);
    if !fresh {
        (commit.limit, commit.hungry) = (0, false);
        commit.changes.clear();
    }
}

/// For the machine, which only looks whether there is one: the plan is already made.
pub(super) fn some_ticket() -> Box<Ticket> {
    Box::new(Ticket {
        token: 0,
        snapshot: Snapshot {
            epoch: 0,
            version: 0,
            store_time: StoreTime::ZERO,
            limit: 0,
            plan: 0,
            settings: Arc::from(""),
            memory: Arc::default(),
            nodes: Vec::new(),
        },
    })
}

impl Hash for Message {
    /// All that differs between messages of one model, and no more than that.
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Beat(beat) => {
                (beat.incarnation, beat.sequence, beat.epoch, beat.store_time).hash(state);
                (beat.echo, beat.generation, beat.share, beat.in_flight).hash(state);
                (beat.mode, beat.starved, beat.limit, beat.plan).hash(state);
                (beat.report.local_limit, beat.settings.revision).hash(state);
            }
            Self::Answer(to, answer, commit) => {
                (to, answer.sequence, answer.epoch, &answer.welcome).hash(state);
                (answer.stamp, answer.store_time, answer.grant, answer.target).hash(state);
                (answer.limit, answer.plan, answer.learning, answer.again_in).hash(state);
                commit.iter().for_each(|commit| hash(commit, state));
            }
            Self::CommitAnswer(to, answer, commit) => {
                (to, answer.epoch, answer.grant, answer.target).hash(state);
                (answer.limit, answer.plan).hash(state);
                commit.iter().for_each(|commit| hash(commit, state));
            }
            Self::Commit(commit) => hash(commit, state),
            Self::Push(to, push) => (to, push).hash(state),
        }
    }
}

fn hash<H: Hasher>(commit: &Commit, state: &mut H) {
    (
        commit.incarnation,
        commit.epoch,
        commit.token,
        commit.version,
    )
        .hash(state);
    (commit.limit, commit.hungry, &commit.memory).hash(state);
    for change in &commit.changes {
        (change.incarnation, change.share, change.safe, change.target).hash(state);
    }
}
