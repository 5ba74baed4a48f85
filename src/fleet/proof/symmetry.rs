//! Nodes that differ in nothing but their place: of states that differ only by who is where, one stands for all.
//!
//! The store and the nodes compare incarnations and names with one another for equality alone. The planner does
//! not: who comes first by name, by incarnation or by turn gets what cannot be divided. So it is made to plan as if
//! the nodes stood in any order ([`plans`]), and what each of these plans leads to is looked at. What holds for all of
//! them holds whatever the names are.

use crate::fleet::message::{Commit, Ticket};
use crate::fleet::plan::plan;
use crate::fleet::proof::bounds::Bounds;
use crate::fleet::proof::message::plain;
use crate::fleet::proof::world::World;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// More lives than a place ever has.
const LIVES: u64 = 16;
/// The length of a planning round of a small fleet.
const ROUND: Duration = Duration::from_millis(100);

/// Who lives at `place`, for the time numbered `life`.
pub(super) const fn incarnation(place: usize, life: u8) -> u64 {
    1 + place as u64 * LIVES + life as u64
}

/// The place of which it is a life.
pub(super) const fn place_of(incarnation: u64) -> usize {
    ((incarnation - 1) / LIVES) as usize
}

/// The same life of another place: of the one that `to` has for its own.
pub(super) fn moved(who: u64, to: &[usize]) -> u64 {
    incarnation(to[place_of(who)], ((who - 1) % LIVES) as u8)
}

/// Every plan that `to` may make of the ticket, whichever round it is in and, where nodes are alike, whatever they are
/// called.
pub(super) fn plans(bounds: &Bounds, ticket: &Ticket, to: u64) -> Vec<Commit> {
    let mut plans: Vec<Commit> = Vec::new();
    let count = bounds.names.len();
    let same: Vec<usize> = (0..count).collect();
    let orders = if bounds.symmetric {
        permutations(count)
    } else {
        vec![same]
    };
    for order in &orders {
        for turn in 0..bounds.turns() {
            let mut ticket = ticket.clone();
            let snapshot = &mut ticket.snapshot;
            let later = ROUND * turn;
            snapshot.store_time = snapshot.store_time.saturating_add(later);
            for node in &mut snapshot.nodes {
                node.since = node.since.saturating_add(later);
                node.incarnation = moved(node.incarnation, order);
                if bounds.symmetric {
                    node.name = Arc::from(bounds.names[place_of(node.incarnation)]);
                }
            }
            snapshot.nodes.sort_by_key(|node| node.incarnation);
            if let Some(mut commit) = plan(&ticket, to) {
                for change in &mut commit.changes {
                    change.incarnation = moved(change.incarnation, &inverse(order));
                }
                commit.changes.sort_by_key(|change| change.incarnation);
                let commit = plain(commit);
                if !plans.contains(&commit) {
                    plans.push(commit);
                }
            }
        }
    }
    sort(&mut plans);
    plans
}

/// One order for what is a set.
pub(super) fn sort(plans: &mut [Commit]) {
    plans.sort_by_cached_key(|plan| {
        let changes = plan.changes.iter();
        changes
            .map(|change| (change.incarnation, change.share, change.safe, change.target))
            .collect::<Vec<_>>()
    });
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![Vec::new()], |shorter, next| {
        let with = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            (0..=order.len())
                .map(|at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
                .collect()
        };
        shorter.iter().flat_map(with).collect()
    })
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (from, to) in order.iter().enumerate() {
        inverse[*to] = from;
    }
    inverse
}

impl World {
    /// Moves everybody to the place that is theirs in the state that stands for all that differ by places alone. Of
    /// nodes that only the messages of others tell apart the order is left as it is.
    pub(super) fn find_places(&mut self, bounds: &Bounds) {
        let keys: Vec<u64> = (0..self.slots.len())
            .map(|place| self.key_of(bounds, place))
            .collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|place| keys[*place]);
        if order.is_sorted() {
            return;
        }
        let to = inverse(&order);
        let names = |place: usize| Arc::from(bounds.names[place]);
        self.store
            .relabel(&|who| moved(who, &to), &|who| names(place_of(who)));
        if let Some(backup) = &mut self.backup {
            backup.relabel(&|who| moved(who, &to), &|who| names(place_of(who)));
        }
        self.slots = order
            .iter()
            .map(|place| self.slots[*place].clone())
            .collect();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if let Some(process) = &mut slot.process {
                let who = moved(process.member.incarnation(), &to);
                process.member.relabel(names(place), who);
            }
        }
        for message in self.network.iter_mut().chain(&mut self.late) {
            message.relabel(&|who| moved(who, &to), &|who| names(place_of(who)));
        }
        self.sort_messages();
    }

    /// What there is of the node at `place`, whichever place it is.
    fn key_of(&self, bounds: &Bounds, place: usize) -> u64 {
        let mut state = DefaultHasher::new();
        let away = |who: u64| {
            if place_of(who) == place {
                1 + (who - 1) % LIVES
            } else {
                u64::MAX
            }
        };
        let slot = &self.slots[place];
        (slot.life, slot.grace, slot.beats, slot.asked, slot.lent).hash(&mut state);
        if let Some(process) = &slot.process {
            (process.in_flight, process.parked).hash(&mut state);
            process.member.hash_but_the_name(&mut state);
        }
        let name = bounds.names[place];
        for store in std::iter::once(&self.store).chain(&self.backup) {
            store.hash_of(name, &away, &mut state);
        }
        for message in self.network.iter().chain(&self.late) {
            let mut message = message.clone();
            message.relabel(&away, &|_| Arc::from(""));
            message.hash(&mut state);
        }
        state.finish()
    }
}
