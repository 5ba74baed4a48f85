//! A state in a few lines, for whoever reads a counterexample.

use crate::fleet::proof::message::Message;
use crate::fleet::proof::world::World;
use std::fmt;

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in &self.slots {
            if let Some(process) = &slot.process {
                let member = &process.member;
                writeln!(
                    f,
                    "{}: {:?}, share {} of generation {}, {} in flight ({} cancelled, {} ticks)",
                    member.incarnation(),
                    member.phase(),
                    member.ceiling(),
                    member.generation(),
                    process.in_flight,
                    process.parked,
                    slot.grace,
                )?;
            }
        }
        for (count, ticks) in &self.ghosts {
            writeln!(f, "gone: {count} in flight, {ticks} ticks")?;
        }
        self.store.tell(f)?;
        for message in self.network.iter().chain(&self.late) {
            match message {
                Message::Beat(beat) => writeln!(
                    f,
                    "  beat {} of {}: {:?}, epoch {:?}, share {} of generation {}, {} in flight, time {:?}",
                    beat.sequence,
                    beat.incarnation,
                    beat.mode,
                    beat.epoch,
                    beat.share,
                    beat.generation,
                    beat.in_flight,
                    beat.store_time,
                )?,
                Message::Answer(to, answer, commit) => writeln!(
                    f,
                    "  answer to {} of {to}: {:?}, epoch {}, share {} of generation {}, plan {:?}",
                    answer.sequence,
                    answer.welcome,
                    answer.epoch,
                    answer.grant.share,
                    answer.grant.generation,
                    commit
                        .iter()
                        .map(|commit| &commit.changes)
                        .collect::<Vec<_>>(),
                )?,
                Message::CommitAnswer(to, answer, commit) => writeln!(
                    f,
                    "  answer to the commit of {to}: {:?}, share {} of generation {}, plan {:?}",
                    answer.outcome,
                    answer.grant.share,
                    answer.grant.generation,
                    commit
                        .iter()
                        .map(|commit| &commit.changes)
                        .collect::<Vec<_>>(),
                )?,
                Message::Commit(commit) => writeln!(
                    f,
                    "  commit of {}: token {}, version {}, limit {}, {:?}",
                    commit.incarnation, commit.token, commit.version, commit.limit, commit.changes,
                )?,
                Message::Push(to, push) => writeln!(f, "  push to {to}: {push:?}")?,
            }
        }
        write!(
            f,
            "allowed {}, running {}, {:?}",
            self.ledger.allowed,
            self.running(),
            self.check()
        )
    }
}
