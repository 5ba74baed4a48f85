//! I5: from a state of the model, calm brings every slot into use. I6: and to everybody who wants one.

use crate::fleet::member::Phase;
use crate::fleet::proof::bounds::Bounds;
use crate::fleet::proof::world::{Slot, World};
use crate::fleet::witness::Process;

impl Slot {
    /// Whether something is in flight if it is asked, and not leaving.
    fn has_what_it_wants(&self) -> bool {
        let served =
            |process: &Process| process.in_flight > 0 || process.member.phase() == Phase::Closing;
        !self.asked || self.process.as_ref().is_none_or(served)
    }
}

impl World {
    /// Whether every slot of the limit is committed, known to the nodes and theirs alone.
    pub(super) fn is_full(&self) -> bool {
        let processes = || self.slots.iter().filter_map(|slot| slot.process.as_ref());
        let ceilings: u32 = processes().map(|process| process.member.ceiling()).sum();
        let (shares, reserved) = self.store.committed();
        let limit = u64::from(self.capacity);
        u64::from(ceilings) == limit && shares == limit && reserved == limit
    }

    /// Whether there are fewer slots than nodes.
    fn is_scarce(&self) -> bool {
        (self.capacity as usize) < self.slots.len()
    }

    /// Whether every slot is in use within `ticks` in which nothing goes wrong: all messages arrive at once, every
    /// node beats twice a tick, and what is above its share ends; and whether then whoever is asked has one, where there
    /// is one for everybody (I6).
    pub(super) fn recovers(&self, bounds: &Bounds, ticks: u8) -> bool {
        let mut world = self.clone();
        world.network.append(&mut world.late);
        for _ in 0..ticks {
            for _ in 0..2 {
                world.arrive(bounds);
                for place in 0..world.slots.len() {
                    world.end_what_is_over(place);
                    let beat = world.beat(bounds, place);
                    world.network.extend(beat);
                    world.arrive(bounds);
                }
            }
            let fair = world.is_scarce() || world.slots.iter().all(Slot::has_what_it_wants);
            if world.is_full() && fair || world.slots.iter().all(|slot| slot.process.is_none()) {
                return true;
            }
            world.tick(bounds);
            world.settle(bounds, true);
        }
        false
    }

    fn arrive(&mut self, bounds: &Bounds) {
        while !self.network.is_empty() {
            let message = self.network.remove(0);
            let said = self.deliver(bounds, message, 0);
            self.network.extend(said);
        }
        (0..self.slots.len()).for_each(|place| self.depart(bounds, place));
        self.occupy(bounds);
    }

    fn end_what_is_over(&mut self, place: usize) {
        let over = |world: &Self| {
            let process = world.slots[place].process.as_ref();
            process.is_some_and(|process| process.in_flight > process.member.ceiling())
        };
        while over(self) {
            self.end(place);
        }
    }
}
