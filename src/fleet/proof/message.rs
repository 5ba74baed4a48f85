//! What is on its way between nodes and the store.

use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Push, Snapshot, Ticket};
use crate::fleet::proof::bounds::Bounds;
use crate::fleet::proof::number::{Number, StoreNumbers};
use crate::fleet::proof::symmetry::{plans, sort};
use crate::time::StoreTime;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// A message, and whose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    Beat(Beat),
    /// With the plans that its ticket, if any, may lead to: planning is a pure function, so it may as well be done
    /// before the answer leaves as after it has arrived.
    Answer(u64, Answer, Vec<Commit>),
    Commit(Commit),
    CommitAnswer(u64, CommitAnswer, Vec<Commit>),
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

    /// How many plans the one to whom it comes may make of it, or one if it has nothing to plan.
    pub(super) fn choices(&self) -> usize {
        match self {
            Self::Answer(_, _, plans) | Self::CommitAnswer(_, _, plans) => plans.len().max(1),
            Self::Beat(_) | Self::Commit(_) | Self::Push(..) => 1,
        }
    }

    /// Whether it is a plan, or leads to one.
    pub(super) fn has_plan(&self) -> bool {
        match self {
            Self::Answer(_, _, plans) | Self::CommitAnswer(_, _, plans) => !plans.is_empty(),
            Self::Commit(_) => true,
            Self::Beat(_) | Self::Push(..) => false,
        }
    }

    pub(super) fn answer(bounds: &Bounds, to: u64, mut answer: Answer) -> Self {
        let ticket = answer.ticket.take();
        let plans = ticket.map_or_else(Vec::new, |ticket| plans(bounds, &ticket, to));
        // What only says when to beat.
        answer.nodes = 0;
        answer.learning = answer.learning.min(Duration::from_nanos(1));
        answer.again_in = answer.again_in.map(|_| Duration::ZERO);
        Self::Answer(to, answer, plans)
    }

    pub(super) fn commit_answer(bounds: &Bounds, to: u64, mut answer: CommitAnswer) -> Self {
        let ticket = answer.ticket.take();
        let plans = ticket.map_or_else(Vec::new, |ticket| plans(bounds, &ticket, to));
        answer.nodes = 0;
        Self::CommitAnswer(to, answer, plans)
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
            Self::Answer(_, answer, commits) => {
                if Some(answer.epoch) == store.epoch {
                    answer.stamp = store.stamp(answer.stamp);
                    answer.store_time = store.moment(answer.store_time, slack);
                } else {
                    (answer.stamp, answer.store_time) = (0, StoreTime::ZERO);
                }
                commits.iter_mut().for_each(|commit| follow(commit, store));
            }
            Self::CommitAnswer(_, _, commits) => {
                commits.iter_mut().for_each(|commit| follow(commit, store));
            }
            Self::Commit(commit) => follow(commit, store),
            Self::Push(..) => {}
        }
    }

    /// Has everybody in it be another.
    pub(super) fn relabel(&mut self, moved: &impl Fn(u64) -> u64, name: &impl Fn(u64) -> Arc<str>) {
        let commit_of = |commit: &mut Commit| {
            commit.incarnation = moved(commit.incarnation);
            for change in &mut commit.changes {
                change.incarnation = moved(change.incarnation);
            }
            commit
                .changes
                .sort_by_key(|change| (change.incarnation, change.share, change.target));
        };
        match self {
            Self::Beat(beat) => {
                beat.incarnation = moved(beat.incarnation);
                beat.name = name(beat.incarnation);
            }
            Self::Answer(to, _, plans) | Self::CommitAnswer(to, _, plans) => {
                *to = moved(*to);
                plans.iter_mut().for_each(commit_of);
                sort(plans);
            }
            Self::Commit(commit) => commit_of(commit),
            Self::Push(to, _) => *to = moved(*to),
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
            Self::Answer(to, answer, commits) => {
                visit(Number::Sequence(*to), &mut answer.sequence);
                let generation = Number::Generation(answer.epoch, *to);
                visit(generation, &mut answer.grant.generation);
                visit(Number::Plan, &mut answer.plan);
                visit(Number::Epoch, &mut answer.epoch);
                commits
                    .iter_mut()
                    .for_each(|commit| visit(Number::Epoch, &mut commit.epoch));
            }
            Self::CommitAnswer(to, answer, commits) => {
                let generation = Number::Generation(answer.epoch, *to);
                visit(generation, &mut answer.grant.generation);
                visit(Number::Plan, &mut answer.plan);
                visit(Number::Epoch, &mut answer.epoch);
                commits
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
pub(super) fn plain(commit: Commit) -> Commit {
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
                (beat.report, beat.settings.revision).hash(state);
            }
            Self::Answer(to, answer, commits) => {
                (to, answer.sequence, answer.epoch, &answer.welcome).hash(state);
                (answer.stamp, answer.store_time, answer.grant, answer.target).hash(state);
                (answer.limit, answer.plan, answer.learning, answer.again_in).hash(state);
                commits.iter().for_each(|commit| hash(commit, state));
            }
            Self::CommitAnswer(to, answer, commits) => {
                (to, answer.epoch, answer.grant, answer.target).hash(state);
                (answer.limit, answer.plan).hash(state);
                commits.iter().for_each(|commit| hash(commit, state));
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
