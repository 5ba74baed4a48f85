//! What must be seen in some state, so that a model that keeps its promises shows something.

use crate::fleet::member::Phase;
use crate::fleet::proof::bounds::Bounds;
use crate::fleet::proof::message::Message;
use crate::fleet::proof::world::{NOW, Slot, World};
use crate::fleet::settings::Outage;

pub(super) type Sight = (&'static str, fn(&Bounds, &World) -> bool);

pub(super) const FULL: Sight = ("every slot is in use, by all nodes", |bounds, world| {
    let busy = |slot: &Slot| {
        slot.process
            .as_ref()
            .is_some_and(|process| process.in_flight > 0)
    };
    world.ghosts.is_empty() && world.running() == bounds.limit && world.slots.iter().all(busy)
});

pub(super) const ABANDONED: Sight = ("requests outlive their process", |_, world| {
    !world.ghosts.is_empty()
});

pub(super) const LEARNING: Sight = ("the store learns what is in use", |_, world| {
    world.store.is_learning() && world.running() > 0
});

pub(super) const TAKEN_OVER: Sight = (
    "another has all the slots of a node that is gone",
    |bounds, world| {
        let gone = |slot: &Slot| slot.process.is_none() || slot.life > 0;
        let all = |slot: &Slot| {
            slot.process
                .as_ref()
                .is_some_and(|process| process.in_flight == bounds.limit)
        };
        world.slots.iter().any(gone) && world.slots.iter().any(all)
    },
);

pub(super) const REFUSED: Sight = ("one of two processes of one name is refused", |_, world| {
    world
        .slots
        .iter()
        .filter(|slot| slot.process.is_some())
        .count()
        == 1
});

pub(super) const DRAINING: Sight = ("more is in flight than the limit that fell", |_, world| {
    world.running() > world.capacity
});

pub(super) const ORPHANED: Sight = ("a planner has died with its ticket", |_, world| {
    let died = world.slots.iter().any(|slot| slot.life > 0);
    died && world.store.awaits_a_plan() && world.network.iter().all(|message| !message.has_plan())
});

pub(super) const OVERTAKEN: Sight = ("a message is late by more than a lease", |_, world| {
    let Some((_, time)) = world.store.time() else {
        return false;
    };
    let past = |message: &Message| match message {
        Message::Beat(beat) => beat.store_time.is_none_or(|told| told < time),
        _ => false,
    };
    world.late.iter().any(past)
});

pub(super) const LENT: Sight = ("a slot of an idle node is in use elsewhere", |_, world| {
    world.slots.iter().any(|slot| !slot.asked && slot.lent)
});

pub(super) const RETURNED: Sight = ("a lent slot came back at the first want", |_, world| {
    let back = |slot: &Slot| {
        slot.process
            .as_ref()
            .is_some_and(|process| process.in_flight > 0)
    };
    world
        .slots
        .iter()
        .any(|slot| slot.asked && slot.lent && back(slot))
});

pub(super) const SAFE: Sight = ("a safe slot is in use behind the fence", |_, world| {
    world.slots.iter().any(|slot| {
        slot.process.as_ref().is_some_and(|process| {
            matches!(process.member.phase(), Phase::Fenced(_)) && process.in_flight > process.parked
        })
    })
});

pub(super) const FROZEN: Sight = ("a frozen share is in use", |bounds, world| {
    let Outage::Frozen { hold } = bounds.settings.outage else {
        return false;
    };
    world.slots.iter().any(|slot| {
        slot.process.as_ref().is_some_and(|process| {
            process.in_flight > 0
                && process.member.phase() == Phase::Active
                && process.member.fence_at() <= NOW.saturating_add(hold)
        })
    })
});
