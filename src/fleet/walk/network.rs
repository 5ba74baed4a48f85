//! What is on its way: lost, late, repeated and swapped between the nodes and the store.

use crate::fleet::message::{Answer, Beat, Commit, CommitAnswer, Committed, Push};
use crate::fleet::plan::plan;
use crate::fleet::walk::{MS, Node, World};

#[derive(Clone)]
pub(super) enum Message {
    Beat(Beat),
    Answer(u64, Answer),
    Commit(Commit),
    CommitAnswer(u64, CommitAnswer),
    Push(u64, Push),
}

impl World<'_> {
    pub(super) fn send(&mut self, message: Message) {
        let node = match &message {
            Message::Beat(beat) => beat.incarnation,
            Message::Commit(commit) => commit.incarnation,
            Message::Answer(to, _) | Message::CommitAnswer(to, _) | Message::Push(to, _) => *to,
        };
        let is_cut = |of: &Node| of.incarnation() == node && self.now < of.cut_until;
        if self.nodes.iter().any(is_cut) {
            return;
        }
        let late = self.slow && self.rng.u32(..25) == 0;
        let wait = if late {
            self.rng.u64(50..2_000) * MS
        } else {
            0
        };
        self.network.push((self.now + wait, message));
    }

    fn server(&self) -> String {
        format!("server-{}", self.server)
    }

    pub(super) fn deliver(&mut self, message: Message) {
        self.replies += usize::from(matches!(message, Message::Beat(_) | Message::Commit(_)));
        match message {
            Message::Beat(beat) => {
                let answer = self.store.beat(&beat, &self.server(), self.empty);
                if let Some(twin) = &mut self.twin {
                    assert_eq!(
                        twin.beat(&beat, self.empty),
                        answer,
                        "the twin answers {beat:?} otherwise"
                    );
                }
                self.send(Message::Answer(beat.incarnation, answer));
            }
            Message::Commit(commit) => {
                let before = self.store.reserved(commit.acknowledged);
                let (answer, pushes) = self.store.commit(&commit, &self.server());
                if answer.outcome == Committed::Applied {
                    let after = self.store.reserved(commit.acknowledged);
                    self.ledger.apply(commit.limit, before, after);
                }
                if let Some(twin) = &mut self.twin {
                    assert_eq!(
                        twin.commit(&commit),
                        answer,
                        "the twin answers {commit:?} otherwise"
                    );
                }
                self.send(Message::CommitAnswer(commit.incarnation, answer));
                for (to, push) in pushes {
                    self.send(Message::Push(to, push));
                }
            }
            Message::Answer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    let (events, ticket) = node.process.member.handle_answer(now, answer);
                    commits.extend(ticket.and_then(|ticket| plan(&ticket, to)));
                    events
                });
                commits
                    .into_iter()
                    .for_each(|commit| self.send(Message::Commit(commit)));
            }
            Message::CommitAnswer(to, answer) => {
                let mut commits = Vec::new();
                self.with(to, |node, now| {
                    let events = node.process.member.handle_commit(now, &answer);
                    commits.extend(answer.ticket.and_then(|ticket| plan(&ticket, to)));
                    events
                });
                commits
                    .into_iter()
                    .for_each(|commit| self.send(Message::Commit(commit)));
            }
            Message::Push(to, push) => {
                self.with(to, |node, now| node.process.member.handle_push(now, push));
            }
        }
    }
}
