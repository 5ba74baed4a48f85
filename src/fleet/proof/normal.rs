//! The normal form of a state: noon on every clock, small numbers, and no message that can do nothing.

use crate::fleet::member::canonical::Memory;
use crate::fleet::message::Grant;
use crate::fleet::proof::bounds::{Bounds, TICK};
use crate::fleet::proof::message::Message;
use crate::fleet::proof::mutant::Mutant;
use crate::fleet::proof::number::Number;
use crate::fleet::proof::world::{NOW, World};
use std::hash::{DefaultHasher, Hash, Hasher};

impl World {
    /// `ticked` tells whether the nodes' clocks have gone on by a tick.
    pub(super) fn normalize(&mut self, bounds: &Bounds, server: &str, ticked: bool) {
        let seniority = bounds.has_seniority();
        let numbers = self.store.forget(server, seniority);
        if let Some(backup) = &mut self.backup {
            backup.forget("nobody's", seniority);
        }
        let memory = self.memory(bounds);
        self.drop_the_idle(bounds, memory);
        let slack = bounds.settings.slack();
        let messages = self.network.iter_mut().chain(&mut self.late);
        messages.for_each(|message| message.follow(&numbers, slack));
        for (slot, rate) in self.slots.iter_mut().zip(bounds.rates) {
            let Some(process) = &mut slot.process else {
                continue;
            };
            let now = if ticked {
                NOW.saturating_add(TICK * *rate / 100)
            } else {
                NOW
            };
            let incarnation = process.member.incarnation();
            let answers: Vec<u64> = self
                .network
                .iter()
                .chain(&self.late)
                .filter_map(|message| match message {
                    Message::Answer(to, answer, _) if *to == incarnation => Some(answer.epoch),
                    _ => None,
                })
                .collect();
            process.member.forget(now, NOW, &numbers, &answers, memory);
        }
        self.rename();
        self.ghosts.sort_unstable();
        self.sort_messages();
    }

    /// Messages have no order.
    pub(super) fn sort_messages(&mut self) {
        for messages in [&mut self.network, &mut self.late] {
            messages.sort_by_cached_key(|message| {
                let mut hasher = DefaultHasher::new();
                message.hash(&mut hasher);
                hasher.finish()
            });
        }
    }

    /// Of what a node remembers of the fleet, claims matter only to a store that may have lost it.
    fn memory(&self, bounds: &Bounds) -> Memory {
        let stores_may_fail = self.budget.flushes > 0 || self.budget.restores > 0;
        let claims = stores_may_fail || self.store.is_learning() || self.ledger.disturbed.is_some();
        match (bounds.starving, claims || self.store.time().is_none()) {
            (true, _) => Memory::All,
            (false, true) => Memory::Claims,
            (false, false) => Memory::Grants,
        }
    }

    /// Drops what would change nothing whenever it arrived.
    fn drop_the_idle(&mut self, bounds: &Bounds, memory: Memory) {
        let any_epoch = bounds.mutant == Some(Mutant::ForgetTheEpoch);
        let known = self.store.time().map(|(epoch, _)| epoch);
        let slots = &self.slots;
        let mut matters = |message: &mut Message| {
            let to = message.incarnation();
            let member = slots
                .iter()
                .filter_map(|slot| slot.process.as_ref())
                .map(|process| &process.member)
                .find(|member| member.incarnation() == to);
            match (message, member) {
                (Message::Beat(beat), _) => {
                    if memory == Memory::Grants {
                        (beat.plan, beat.limit) = (0, 0);
                    }
                    true
                }
                (Message::Commit(commit), _) => Some(commit.epoch) == known,
                (_, None) => false,
                (Message::Answer(_, answer, _), Some(member)) => {
                    match memory {
                        Memory::All => {}
                        Memory::Claims => answer.target = 0,
                        Memory::Grants => (answer.target, answer.limit, answer.plan) = (0, 0, 0),
                    }
                    if member.epoch() == Some(answer.epoch)
                        && answer.grant.generation <= member.generation()
                    {
                        answer.grant = Grant {
                            generation: member.generation(),
                            share: 0,
                            safe: 0,
                        };
                    }
                    member.awaits() == Some(answer.sequence)
                }
                (Message::CommitAnswer(_, answer, plans), Some(member)) => {
                    match memory {
                        Memory::All => {}
                        Memory::Claims => answer.target = 0,
                        Memory::Grants => (answer.target, answer.limit, answer.plan) = (0, 0, 0),
                    }
                    let newer = answer.grant.generation > member.generation()
                        || answer.plan > member.plan();
                    let may_matter =
                        member.epoch() != Some(answer.epoch) && Some(answer.epoch) == known;
                    let same = member.epoch() == Some(answer.epoch);
                    !plans.is_empty() || any_epoch || may_matter || same && newer
                }
                (Message::Push(_, push), Some(member)) => {
                    if memory != Memory::All {
                        push.target = 0;
                    }
                    let newer = push.grant.generation > member.generation();
                    let may_matter =
                        member.epoch() != Some(push.epoch) && Some(push.epoch) == known;
                    any_epoch || may_matter || member.epoch() == Some(push.epoch) && newer
                }
            }
        };
        self.network.retain_mut(&mut matters);
        self.late.retain_mut(&mut matters);
    }

    fn numbers(&mut self, visit: &mut impl FnMut(Number, &mut u64)) {
        self.store.numbers(visit);
        if let Some(backup) = &mut self.backup {
            backup.numbers(visit);
        }
        for slot in &mut self.slots {
            if let Some(process) = &mut slot.process {
                process.member.numbers(visit);
            }
        }
        for message in self.network.iter_mut().chain(&mut self.late) {
            message.numbers(visit);
        }
        if let Some(Some(epoch)) = &mut self.ledger.disturbed {
            visit(Number::Epoch, epoch);
        }
    }

    /// The smallest numbers that compare as those that are there; zero stays zero.
    fn rename(&mut self) {
        let mut known: Vec<(Number, u64)> = Vec::with_capacity(32);
        self.numbers(&mut |number, value| known.push((number, *value)));
        known.retain(|(_, value)| *value > 0);
        known.sort_unstable();
        known.dedup();
        let rank = |number: Number, value: u64| {
            let first = known.partition_point(|(other, _)| *other < number);
            let place =
                known[first..].partition_point(|(other, known)| *other == number && *known < value);
            place as u64 + 1
        };
        self.numbers(&mut |number, value| {
            if *value > 0 {
                *value = rank(number, *value);
            }
        });
        let epoch = self.store.time().map_or(0, |(epoch, _)| epoch);
        let mut highest = 0;
        self.numbers(&mut |number, value| {
            if matches!(number, Number::Generation(of, _) if of == epoch) {
                highest = highest.max(*value);
            }
        });
        self.store.count_generations_from(highest);
    }
}
