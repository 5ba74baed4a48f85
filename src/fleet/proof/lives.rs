//! Processes come and go.

use crate::fleet::member::{Member, Phase};
use crate::fleet::proof::bounds::Bounds;
use crate::fleet::proof::symmetry::incarnation;
use crate::fleet::proof::world::{Misstep, NOW, World};
use crate::fleet::settings::Settings;
use crate::fleet::witness::Process;
use std::sync::Arc;

impl World {
    pub(super) fn crash(&mut self, bounds: &Bounds, place: usize) {
        self.vanish(bounds, place);
        let slot = &mut self.slots[place];
        slot.life += 1;
        slot.process = Some(start(bounds, place, slot.life, &bounds.settings));
    }

    /// The process is gone; what it ran goes on as long as it may.
    fn vanish(&mut self, bounds: &Bounds, place: usize) {
        let slot = &mut self.slots[place];
        if let Some(process) = slot.process.take() {
            let (parked, others) = (process.parked, process.in_flight - process.parked);
            self.ghosts
                .extend((parked > 0).then_some((parked, slot.grace)));
            self.ghosts
                .extend((others > 0).then_some((others, bounds.drain)));
        }
        slot.grace = 0;
    }

    pub(super) fn close(&mut self, place: usize) {
        if let Some(process) = &mut self.slots[place].process {
            process.member.close(NOW);
        }
    }

    /// Whoever has left or was refused is gone.
    pub(super) fn depart(&mut self, bounds: &Bounds, place: usize) {
        let phase = self.slots[place]
            .process
            .as_ref()
            .map(|process| process.member.phase());
        match phase {
            Some(Phase::Refused) => {
                let alone = (0..bounds.names.len()).all(|other| {
                    other == place
                        || bounds.names[other] != bounds.names[place]
                        || self.slots[other].process.is_none()
                });
                if alone {
                    self.misstep = Some(Misstep::LockedOut);
                }
                self.vanish(bounds, place);
            }
            Some(Phase::Left) => self.vanish(bounds, place),
            _ => {}
        }
    }
}

pub(super) fn start(bounds: &Bounds, place: usize, life: u8, settings: &Settings) -> Process {
    let incarnation = incarnation(place, life);
    Process::new(Member::new(
        Arc::from(bounds.names[place]),
        incarnation,
        settings.clone(),
        NOW,
    ))
}
