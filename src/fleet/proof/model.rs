//! The model: which steps a state allows, and what must hold in every state.

use crate::fleet::member::Phase;
use crate::fleet::proof::bounds::{Bounds, Budget};
use crate::fleet::proof::world::{Misstep, NOW, Slot, World};
use crate::fleet::witness::ledger::Broken;
use stateright::{Model, Property};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Tick,
    Beat(usize),
    /// A message arrives; with the number of the plan that the node makes, where it has a choice.
    Deliver(usize, usize),
    /// A message arrives, and will once more.
    Repeat(usize),
    Lose(usize),
    Admit(usize),
    End(usize),
    /// The process dies and is started again under its name.
    Crash(usize),
    Leave(usize),
    Flush,
    BackUp,
    Restore,
    Move,
    /// A message is overtaken by whatever comes until...
    Delay(usize),
    /// ...it arrives, with the number of the plan as above.
    Arrive(usize, usize),
    /// A node is asked no more, or again.
    Turn(usize),
}

impl Model for Bounds {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let budget = &world.budget;
        let all_have_beaten = self.pace.is_none_or(|pace| {
            let alive = |slot: &&Slot| slot.process.is_some();
            world
                .slots
                .iter()
                .filter(alive)
                .all(|slot| slot.beats >= pace)
        });
        if world.network.len() <= self.late && Budget::is_left(budget.ticks) && all_have_beaten {
            steps.push(Step::Tick);
        }
        for index in 0..world.network.len() {
            let choices = world.network[index].choices();
            steps.extend((0..choices).map(|choice| Step::Deliver(index, choice)));
            if Budget::is_left(budget.repeated) && world.network.len() < self.room {
                steps.push(Step::Repeat(index));
            }
            if Budget::is_left(budget.lost) {
                steps.push(Step::Lose(index));
            }
            if Budget::is_left(budget.delays) {
                steps.push(Step::Delay(index));
            }
        }
        for (index, message) in world.late.iter().enumerate() {
            steps.extend((0..message.choices()).map(|choice| Step::Arrive(index, choice)));
        }
        // Until some of these have arrived nobody beats and no time passes. What else a node does meanwhile that they are
        // not from or for, it may as well have done before the last of them set out.
        let is_taken_up =
            self.reduced && world.network.len() >= self.room && world.network.len() > self.late;
        for (place, slot) in world.slots.iter().enumerate() {
            let Some(process) = &slot.process else {
                continue;
            };
            let may_beat = self.pace.is_none_or(|pace| slot.beats < pace);
            if may_beat && world.network.len() < self.room && process.member.awaits().is_none() {
                steps.push(Step::Beat(place));
            }
            if is_taken_up && !world.is_spoken_to(place) {
                continue;
            }
            let over = process.in_flight > process.member.ceiling();
            if process.in_flight > 0 && (over || !self.saturated || !slot.asked) {
                steps.push(Step::End(place));
            }
            if !self.saturated && process.admits(NOW) {
                steps.push(Step::Admit(place));
            }
            if Budget::is_left(budget.turns) {
                steps.push(Step::Turn(place));
            }
            if Budget::is_left(budget.crashes) {
                steps.push(Step::Crash(place));
            }
            if Budget::is_left(budget.leaves) && process.member.phase() != Phase::Closing {
                steps.push(Step::Leave(place));
            }
        }
        if Budget::is_left(budget.flushes) && world.store.time().is_some() {
            steps.push(Step::Flush);
        }
        if Budget::is_left(budget.restores) {
            steps.push(match world.backup {
                None => Step::BackUp,
                Some(_) => Step::Restore,
            });
        }
        // What moves is heard of in later beats.
        if Budget::is_left(budget.moves) && !is_taken_up {
            steps.push(Step::Move);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        self.take(&mut next, step);
        while let Some(step) = self.only_step(&next) {
            self.take(&mut next, step);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(
                "I1 no more is committed than the limit",
                |_, world: &World| !matches!(world.check(), Err(Broken::Committed { .. })),
            ),
            Property::always(
                "I2 no more is in flight than the limit",
                |_, world: &World| {
                    !matches!(
                        world.check(),
                        Err(Broken::InFlight { .. } | Broken::Unreserved { .. })
                    )
                },
            ),
            Property::always(
                "I3 what is reserved never rises above the limit",
                |_, world: &World| !matches!(world.check(), Err(Broken::Rose { .. })),
            ),
            Property::always("I9 a learning store raises nobody", |_, world: &World| {
                world.misstep != Some(Misstep::RaisedWhileLearning)
            }),
            Property::always("I10 who has left stays away", |_, world: &World| {
                world.misstep != Some(Misstep::Resurrected)
            }),
            Property::always("I10 nobody is locked out", |_, world: &World| {
                world.misstep != Some(Misstep::LockedOut)
            }),
        ];
        if self.recovers.is_some() {
            properties.push(Property::always(
                "I5, I6 calm brings every slot into use",
                |bounds: &Self, world: &World| {
                    bounds
                        .recovers
                        .is_none_or(|ticks| world.recovers(bounds, ticks))
                },
            ));
        }
        if self.pace.is_some() {
            properties.push(Property::eventually(
                "I5 every slot is in use",
                |_, world: &World| world.was_full,
            ));
        }
        let sights = self.sights.iter();
        properties.extend(sights.map(|(name, seen)| Property::sometimes(name, *seen)));
        properties
    }
}

impl Bounds {
    /// The step that must follow, if there is no other and it is that a message arrives.
    fn only_step(&self, world: &World) -> Option<Step> {
        if !self.reduced
            || world.network.is_empty()
            || world.misstep.is_some()
            || world.check().is_err()
        {
            return None;
        }
        let mut steps = Vec::new();
        self.actions(world, &mut steps);
        match steps[..] {
            [step @ Step::Deliver(..)] => Some(step),
            _ => None,
        }
    }

    fn take(&self, world: &mut World, step: Step) {
        let mut said = Vec::new();
        let mut room = self.room;
        match step {
            Step::Tick => {
                Budget::spend(&mut world.budget.ticks);
                world.tick(self);
            }
            Step::Beat(place) => said.extend(world.beat(self, place)),
            Step::Deliver(index, choice) => {
                let message = world.network.remove(index);
                said = world.deliver(self, message, choice);
            }
            Step::Repeat(index) => {
                Budget::spend(&mut world.budget.repeated);
                let message = world.network[index].clone();
                said = world.deliver(self, message, 0);
            }
            Step::Lose(index) => {
                Budget::spend(&mut world.budget.lost);
                world.network.remove(index);
            }
            Step::Admit(place) => world.admit(place),
            Step::End(place) => world.end(place),
            Step::Crash(place) => {
                Budget::spend(&mut world.budget.crashes);
                world.crash(self, place);
            }
            Step::Leave(place) => {
                Budget::spend(&mut world.budget.leaves);
                world.close(place);
            }
            Step::Flush => {
                Budget::spend(&mut world.budget.flushes);
                world.flush();
            }
            Step::BackUp => world.backup = Some(world.store.clone()),
            Step::Restore => {
                Budget::spend(&mut world.budget.restores);
                world.restore();
            }
            Step::Delay(index) => {
                Budget::spend(&mut world.budget.delays);
                let message = world.network.remove(index);
                world.late.push(message);
            }
            Step::Arrive(index, choice) => {
                let message = world.late.remove(index);
                said = world.deliver(self, message, choice);
                // Beside what is on its way in time.
                room += 1;
            }
            Step::Turn(place) => {
                Budget::spend(&mut world.budget.turns);
                world.slots[place].asked ^= true;
            }
            Step::Move => {
                Budget::spend(&mut world.budget.moves);
                world.capacity = self.limit + self.moved - world.capacity;
            }
        }
        world.send(room, said);
        world.settle(self, step == Step::Tick);
    }
}
