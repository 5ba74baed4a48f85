//! A state of the model: nodes, store, network and backend; and what may happen to them.

use crate::fleet::key_state::{EmptyStore, KeyState};
use crate::fleet::member::{Event, Sample};
use crate::fleet::message::{Beat, Commit, Committed, Grant, Report};
use crate::fleet::proof::bounds::{Bounds, Budget, TICK};
use crate::fleet::proof::lives::start;
use crate::fleet::proof::message::{Message, some_ticket};
use crate::fleet::proof::symmetry::place_of;
use crate::fleet::record::Life;
use crate::fleet::witness::ledger::Broken;
use crate::fleet::witness::{Ledger, Process};
use crate::time::LocalTime;
use std::time::Duration;

/// What every node's clock says in a state of the model.
pub(super) const NOW: LocalTime = LocalTime::from_nanos(1_000_000_000_000_000);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct World {
    pub(super) store: KeyState,
    /// How often the store has changed its identity.
    pub(super) server: u8,
    pub(super) backup: Option<KeyState>,
    pub(super) slots: Vec<Slot>,
    /// Requests whose process is gone, and how many ticks they may still run.
    pub(super) ghosts: Vec<(u32, u8)>,
    pub(super) network: Vec<Message>,
    /// What will come late, if ever.
    pub(super) late: Vec<Message>,
    /// What every node finds the backend to be able to take.
    pub(super) capacity: u32,
    pub(super) budget: Budget,
    pub(super) ledger: Ledger,
    /// Every slot was in use, in a model where that is to come about.
    pub(super) was_full: bool,
    /// A promise that was broken in a single step.
    pub(super) misstep: Option<Misstep>,
}

/// A place for a process, and its name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Slot {
    pub(super) process: Option<Process>,
    /// Which life of the place it is.
    pub(super) life: u8,
    /// How many ticks what was cancelled may still run.
    pub(super) grace: u8,
    /// How often it has beaten in this tick, if that is bounded.
    pub(super) beats: u8,
    /// Whether requests come to it.
    pub(super) asked: bool,
    /// Another had its slots when it was last without requests.
    pub(super) lent: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Misstep {
    /// I9: a node's share rose by an answer of a store that is learning.
    RaisedWhileLearning,
    /// I10: a node that had left was alive again for the store.
    Resurrected,
    /// I10: refused, although no other living process had its name.
    LockedOut,
}

impl World {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let mut world = Self {
            store: KeyState::default(),
            server: 0,
            backup: None,
            slots: Vec::new(),
            ghosts: Vec::new(),
            network: Vec::new(),
            late: Vec::new(),
            capacity: bounds.limit,
            budget: bounds.budget,
            ledger: Ledger::new(bounds.limit),
            was_full: false,
            misstep: None,
        };
        for place in 0..bounds.names.len() {
            world.slots.push(Slot {
                process: Some(start(bounds, place, 0, &bounds.settings)),
                life: 0,
                grace: 0,
                beats: 0,
                asked: true,
                lent: false,
            });
        }
        world.settle(bounds, false);
        world
    }

    fn server(&self) -> String {
        format!("server {}", self.server)
    }

    pub(super) fn running(&self) -> u32 {
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        let processes: u32 = processes.map(|process| process.in_flight).sum();
        processes + self.ghosts.iter().map(|(count, _)| count).sum::<u32>()
    }

    fn place(&self, incarnation: u64) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.process
                .as_ref()
                .is_some_and(|process| process.member.incarnation() == incarnation)
        })
    }

    /// Whether a message from or to the process at `place`, or one that was there before it, is on its way.
    pub(super) fn is_spoken_to(&self, place: usize) -> bool {
        let messages = self.network.iter().chain(&self.late);
        let mut owners = messages.map(Message::incarnation);
        owners.any(|incarnation| place_of(incarnation) == place)
    }

    /// Runs `step` on the process at `place`, if there is one, and cancels what its events cancel.
    fn with<T>(
        &mut self,
        bounds: &Bounds,
        place: usize,
        step: impl FnOnce(&mut Process) -> (Vec<Event>, T),
    ) -> Option<T> {
        let slot = &mut self.slots[place];
        let process = slot.process.as_mut()?;
        let (events, result) = step(process);
        if process.obey(&events) {
            slot.grace = bounds.drain;
        }
        Some(result)
    }

    /// A tick passes. Every process's fence is enforced by its own clock.
    pub(super) fn tick(&mut self, bounds: &Bounds) {
        for (place, rate) in bounds.rates.iter().enumerate() {
            let slot = &mut self.slots[place];
            slot.beats = 0;
            if slot.grace > 0 {
                slot.grace -= 1;
                if let (0, Some(process)) = (slot.grace, &mut slot.process) {
                    process.end_parked();
                }
            }
            let now = NOW.saturating_add(TICK * *rate / 100);
            self.with(bounds, place, |process| {
                (process.member.handle_timeout(now).into_iter().collect(), ())
            });
        }
        self.ghosts.iter_mut().for_each(|(_, ticks)| *ticks -= 1);
        self.ghosts.retain(|(_, ticks)| *ticks > 0);
    }

    /// What there is room for sets out; the rest is lost.
    pub(super) fn send(&mut self, room: usize, messages: Vec<Message>) {
        let room = room.saturating_sub(self.network.len());
        self.network.extend(messages.into_iter().take(room));
    }

    pub(super) fn check(&self) -> Result<(), Broken> {
        self.ledger.check(&self.store, self.running())
    }

    pub(super) fn admit(&mut self, place: usize) {
        if let Some(process) = &mut self.slots[place].process {
            process.ask(NOW);
        }
    }

    /// A request of the process ends.
    pub(super) fn end(&mut self, place: usize) {
        if let Some(process) = &mut self.slots[place].process {
            process.in_flight -= 1;
            process.parked = process.parked.min(process.in_flight);
            process.member.handle_drained();
        }
    }

    pub(super) fn beat(&mut self, bounds: &Bounds, place: usize) -> Option<Message> {
        let slot = &mut self.slots[place];
        slot.beats += u8::from(bounds.pace.is_some());
        let process = slot.process.as_mut()?;
        process.member.beat_now(NOW);
        let refuses = slot.asked && !process.admits(NOW);
        if bounds.starving && refuses {
            process.member.handle_starved();
        }
        let demand = if bounds.has_idle() {
            process.in_flight + u32::from(refuses)
        } else {
            2 * bounds.limit
        };
        let report = Report {
            local_limit: self.capacity,
            demand,
            weight: 1,
            ..Report::default()
        };
        let in_flight = process.in_flight;
        let beat = process
            .member
            .poll_beat(NOW, || Sample { in_flight, report }, 0);
        beat.map(Message::Beat)
    }

    pub(super) fn flush(&mut self) {
        self.store = KeyState::default();
        self.ledger.disturb(&self.store);
    }

    pub(super) fn restore(&mut self) {
        self.store = self.backup.clone().unwrap_or_default();
        self.server += 1;
        self.ledger.disturb(&self.store);
    }

    /// A message arrives; answers what is said in return, most important first. Of several plans the node makes the
    /// one numbered `choice`.
    pub(super) fn deliver(
        &mut self,
        bounds: &Bounds,
        message: Message,
        choice: usize,
    ) -> Vec<Message> {
        match message {
            Message::Beat(beat) => vec![self.deliver_beat(bounds, beat)],
            Message::Commit(commit) => {
                let before = self.store.reserved(commit.acknowledged);
                let (answer, pushes) = self.store.commit(&commit, &self.server());
                if answer.outcome == Committed::Applied {
                    let after = self.store.reserved(commit.acknowledged);
                    self.ledger.apply(commit.limit, before, after);
                }
                let answer = Message::commit_answer(bounds, commit.incarnation, answer);
                let pushes = pushes
                    .into_iter()
                    .filter(|(to, _)| *to != commit.incarnation);
                let pushes = pushes.filter(|_| bounds.pushes);
                std::iter::once(answer)
                    .chain(pushes.map(|(to, push)| Message::Push(to, push)))
                    .collect()
            }
            Message::Answer(to, mut answer, plans) => {
                let Some(place) = self.place(to) else {
                    return Vec::new();
                };
                answer.ticket = (!plans.is_empty()).then(some_ticket);
                self.bend(bounds, to, &mut answer.epoch, &mut answer.grant);
                let learning = answer.learning > Duration::ZERO;
                let mut raised = false;
                let planned = self.with(bounds, place, |process| {
                    let before = process.member.ceiling();
                    let (events, ticket) = process.member.handle_answer(NOW, answer);
                    raised = process.member.ceiling() > before;
                    (events, ticket.is_some())
                });
                if learning && raised {
                    self.misstep = Some(Misstep::RaisedWhileLearning);
                }
                self.depart(bounds, place);
                if planned == Some(true) {
                    chosen(plans, choice)
                } else {
                    Vec::new()
                }
            }
            Message::CommitAnswer(to, mut answer, plans) => {
                self.bend(bounds, to, &mut answer.epoch, &mut answer.grant);
                if let Some(place) = self.place(to) {
                    self.with(bounds, place, |process| {
                        (process.member.handle_commit(NOW, &answer), ())
                    });
                    chosen(plans, choice)
                } else {
                    Vec::new()
                }
            }
            Message::Push(to, mut push) => {
                self.bend(bounds, to, &mut push.epoch, &mut push.grant);
                if let Some(place) = self.place(to) {
                    self.with(bounds, place, |process| {
                        (process.member.handle_push(NOW, push), ())
                    });
                }
                Vec::new()
            }
        }
    }

    /// What the node hears of what the store said.
    fn bend(&self, bounds: &Bounds, to: u64, epoch: &mut u64, grant: &mut Grant) {
        let process = self
            .place(to)
            .and_then(|place| self.slots[place].process.as_ref());
        if let (Some(mutant), Some(process)) = (bounds.mutant, process) {
            mutant.bend_grant(&process.member, epoch, grant);
        }
    }

    fn deliver_beat(&mut self, bounds: &Bounds, mut beat: Beat) -> Message {
        let left = |(_, life): &(u64, Life)| *life == Life::Left;
        let gone: Vec<u64> = self
            .store
            .lives()
            .into_iter()
            .filter(left)
            .map(|(who, _)| who)
            .collect();
        if let Some(mutant) = bounds.mutant {
            mutant.bend_beat(&mut beat);
        }
        // Drawn by the sender, and new in every beat: here it gets its name when it may be needed.
        beat.fresh_epoch = u64::MAX;
        let empty = if bounds.trusts {
            EmptyStore::Trust
        } else {
            EmptyStore::Learn
        };
        let answer = self.store.beat(&beat, &self.server(), empty);
        let alive = self.store.lives().into_iter().filter(|life| !left(life));
        if alive.into_iter().any(|(who, _)| gone.contains(&who)) {
            self.misstep = Some(Misstep::Resurrected);
        }
        Message::answer(bounds, beat.incarnation, answer)
    }

    /// What follows from every step: processes end, waiting requests get in, and the state gets its normal form.
    pub(super) fn settle(&mut self, bounds: &Bounds, ticked: bool) {
        for place in 0..self.slots.len() {
            self.depart(bounds, place);
        }
        self.ledger.settle(&self.store);
        let server = self.server();
        self.normalize(bounds, &server, ticked);
        self.occupy(bounds);
        if bounds.has_idle() {
            self.see_what_is_lent(bounds);
        }
        if bounds.symmetric {
            self.find_places(bounds);
        }
        self.was_full |= bounds.pace.is_some() && self.is_full();
    }

    /// Who has no slot and is not asked has lent it if all are in use.
    fn see_what_is_lent(&mut self, bounds: &Bounds) {
        let all_in_use = self.running() == bounds.limit;
        for slot in self.slots.iter_mut().filter(|slot| !slot.asked) {
            let has_none = |process: &Process| process.member.has_lent();
            slot.lent = all_in_use && slot.process.as_ref().is_some_and(has_none);
        }
    }

    /// Whoever waits for a slot takes it.
    pub(super) fn occupy(&mut self, bounds: &Bounds) {
        let asked = self.slots.iter_mut().filter(|slot| slot.asked);
        let processes = asked.filter_map(|slot| slot.process.as_mut());
        for process in processes.filter(|_| bounds.saturated) {
            while process.admits(NOW) {
                process.ask(NOW);
            }
        }
    }
}

fn chosen(plans: Vec<Commit>, choice: usize) -> Vec<Message> {
    let plan = plans.into_iter().nth(choice);
    plan.map(Message::Commit).into_iter().collect()
}
