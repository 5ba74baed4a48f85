//! What a node makes of what the store says: answers, commits and pushes.

use crate::fleet::member::{Event, Member, Phase, Refusal};
use crate::fleet::message::{Answer, CommitAnswer, Grant, Push, Ticket, Welcome};
use crate::fleet::settings::Outage;
use crate::time::{LocalTime, StoreTime};
use std::sync::Arc;
use std::time::Duration;

/// So many beats more, at most, after the store has let the node go.
const MAX_FAREWELLS: u8 = 3;
/// Epochs that were left and must not come back.
const REMEMBERED_EPOCHS: usize = 16;

impl Member {
    /// An answer arrived. Late ones, and those to beats from before a fence, change nothing.
    pub(crate) fn handle_answer(
        &mut self,
        now: LocalTime,
        answer: Answer,
    ) -> (Vec<Event>, Option<Box<Ticket>>) {
        let mut events: Vec<Event> = self.handle_timeout(now).into_iter().collect();
        let pace = self.pace();
        let Some(sent) = self.schedule.handle_answer(now, answer.sequence, pace) else {
            return (events, None);
        };
        match &answer.welcome {
            Welcome::Member => {}
            // What this node gave back is not dealt yet: ask once more, else the others wait for a heartbeat.
            Welcome::Gone if answer.again_in.is_some() && self.farewells < MAX_FAREWELLS => {
                self.farewells += 1;
                self.schedule
                    .beat_after(now, answer.again_in.unwrap_or_default());
                return (events, answer.ticket);
            }
            Welcome::Gone => {
                self.phase = Phase::Left;
                events.push(Event::Left);
                return (events, answer.ticket);
            }
            Welcome::DuplicateName => {
                return (self.refuse(events, Refusal::DuplicateName), None);
            }
            Welcome::OtherSettings(line) => {
                return (
                    self.refuse(events, Refusal::OtherSettings(Arc::clone(line))),
                    None,
                );
            }
        }
        if answer.sequence <= self.barrier || self.left_epochs.contains(&answer.epoch) {
            return (events, None);
        }
        let before = self.grant.share;
        // The answer to a commit may overtake that to a beat from before it.
        let is_overtaken = self.epoch == Some(answer.epoch) && answer.plan < self.plan;
        if self.epoch == Some(answer.epoch) {
            if answer.grant.generation > self.grant.generation {
                self.grant = if self.confirmed {
                    answer.grant
                } else {
                    self.lower(answer.grant)
                };
            } else if answer.grant.generation == self.grant.generation {
                // The beat that is answered has acknowledged it, and told what this node has.
                self.confirmed = true;
            }
        } else {
            self.grant = self.lower(answer.grant);
            self.anchor = None;
            if let Some(left) = self.epoch.replace(answer.epoch) {
                events.push(Event::NewEpoch);
                self.left_epochs.push_back(left);
                if self.left_epochs.len() > REMEMBERED_EPOCHS {
                    self.left_epochs.pop_front();
                }
                self.confirmed = false;
            }
        }
        self.stamp = answer.stamp;
        self.longest = self.settings.lease().max(answer.longest);
        self.anchor_to(answer.store_time, now);
        self.lease_ends = self.lease_from(sent);
        self.lease_over = self.lease_ends <= now;
        if matches!(self.phase, Phase::Joining | Phase::Fenced(_)) && self.lease_ends > now {
            self.phase = Phase::Active;
        }
        if !is_overtaken {
            self.learn(answer.target, answer.limit, answer.plan, answer.nodes);
        }
        if answer.learning > Duration::ZERO {
            if !self.learning {
                events.push(Event::Learning(answer.learning));
            }
            // Come back when it is over, not a heartbeat later.
            self.schedule.beat_within(now, answer.learning);
        }
        self.learning = answer.learning > Duration::ZERO;
        if let Some(wait) = answer.again_in {
            self.schedule.beat_within(now, wait);
        }
        self.settle(before, &mut events);
        (events, answer.ticket)
    }

    /// The store took this node's plan, or not.
    pub(crate) fn handle_commit(&mut self, now: LocalTime, answer: &CommitAnswer) -> Vec<Event> {
        let events = self.handle_push(
            now,
            Push {
                epoch: answer.epoch,
                grant: answer.grant,
                target: answer.target,
            },
        );
        if self.phase == Phase::Active
            && self.epoch == Some(answer.epoch)
            && answer.plan > self.plan
        {
            self.learn(answer.target, answer.limit, answer.plan, answer.nodes);
        }
        events
    }

    /// A grant was changed. Only a newer one of the same epoch counts, and no lease is renewed.
    pub(crate) fn handle_push(&mut self, now: LocalTime, push: Push) -> Vec<Event> {
        let mut events: Vec<Event> = self.handle_timeout(now).into_iter().collect();
        let newer = self.epoch == Some(push.epoch) && push.grant.generation > self.grant.generation;
        if newer && self.confirmed && self.phase == Phase::Active {
            let before = self.grant.share;
            self.grant = push.grant;
            self.target = push.target;
            self.settle(before, &mut events);
        }
        events
    }

    /// From which answer on the store's time is told (I11). Any of this epoch is right: it left the store at that time, and
    /// what passes here until a beat is sent has passed there before it comes. The last one is short of everything that
    /// was spent on the way since an earlier one: where a round trip is as long as the pause between two beats, no time
    /// would ever pass by it. So one is kept, as long as it is the better one, until it is two heartbeats old; nothing
    /// told by an older one counts.
    fn anchor_to(&mut self, answered: StoreTime, now: LocalTime) {
        let is_better = |(told, arrived): &(StoreTime, LocalTime)| {
            let age = now.since(*arrived);
            age < self.settings.slack() && told.saturating_add(age) > answered
        };
        let kept = self.anchor.filter(is_better);
        self.anchor = kept.or(Some((answered, now)));
    }

    fn refuse(&mut self, mut events: Vec<Event>, refusal: Refusal) -> Vec<Event> {
        self.phase = Phase::Refused;
        self.grant.share = 0;
        events.push(Event::Refused(refusal));
        events
    }

    /// `grant`, but nothing that this node does not have: the share the store knows of, and what a plan has made of
    /// it, may come from the claim of a delayed beat (I9).
    fn lower(&self, grant: Grant) -> Grant {
        Grant {
            generation: grant.generation,
            share: self.grant.share.min(grant.share),
            safe: self.grant.safe.min(grant.safe),
        }
    }

    fn learn(&mut self, target: u32, limit: u32, plan: u64, nodes: u32) {
        (self.target, self.limit, self.plan, self.nodes) = (target, limit, plan, nodes);
    }

    /// A grant was applied: tell the world of a first one, the store of a lower one.
    fn settle(&mut self, before: u32, events: &mut Vec<Event>) {
        if self.phase == Phase::Closing {
            self.grant.share = 0;
            return;
        }
        if self.grant.share < before {
            self.schedule.beat_soon();
        }
        if self.phase == Phase::Active && self.grant.share > 0 && !self.granted {
            self.granted = true;
            events.push(Event::Granted);
        }
    }

    /// Counted from when the beat was sent, on this node's own clock (I11).
    fn lease_from(&self, sent: LocalTime) -> LocalTime {
        let frozen = match self.settings.outage {
            Outage::Frozen { hold } => hold,
            Outage::FailClosed | Outage::LocalOnly | Outage::SafeShare { .. } => Duration::ZERO,
        };
        sent.saturating_add(self.settings.ttl - self.settings.margin + frozen)
    }
}
