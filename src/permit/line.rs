//! The order of those who wait for a slot: who is next, who gives way, who is turned away. Pure.
//!
//! The most critical class goes first. Within a class some wait *in line*, as long as they please and however many
//! they are, and some *briefly*: the micro-queue. Whichever of the two has waited longest decides which group is next.
//! * In line: first come, first served.
//! * Briefly: first come, first served, until there is **pressure**: somebody has waited in vain, or found no room, and
//!   the micro-queue has not been empty since. Then the newest goes first, and whoever finds no room takes that of the
//!   oldest of the least critical. Whoever came first has little time left and a caller about to give up; the newest
//!   is served fresh. (Adaptive LIFO: Maurer, "Fail at Scale", ACM Queue 13(8), 2015; that the queue was not empty for
//!   as long as one may wait is CoDel's sign of a standing queue, RFC 8289.)

use crate::criticality::Criticality;
use crate::time::LocalTime;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the queue. Ordered by class and arrival.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Ticket {
    class: Criticality,
    number: u64,
}

#[cfg(feature = "sim")]
impl Ticket {
    pub(crate) const fn class(self) -> Criticality {
        self.class
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Line {
    next: u64,
    in_line: BTreeSet<Ticket>,
    /// Until when each of the micro-queue waits.
    briefly: BTreeMap<Ticket, LocalTime>,
    pressure: bool,
}

impl Line {
    /// Waits in line.
    pub(super) fn join(&mut self, class: Criticality) -> Ticket {
        let ticket = self.ticket(class);
        self.in_line.insert(ticket);
        ticket
    }

    /// Waits in the micro-queue until `until`, among at most `room`: the place, and who lost his to it. `None` if
    /// there is none for this class.
    pub(super) fn join_briefly(
        &mut self,
        class: Criticality,
        until: LocalTime,
        room: u32,
    ) -> Option<(Ticket, Option<Ticket>)> {
        let mut displaced = None;
        if self.briefly.len() >= room as usize {
            self.pressure = !self.briefly.is_empty();
            let oldest = self.oldest_of_the_least_critical()?;
            if oldest.class < class {
                return None;
            }
            // Not `leave`: with room for one, the queue has not been empty.
            self.briefly.remove(&oldest);
            displaced = Some(oldest);
        }
        let ticket = self.ticket(class);
        self.briefly.insert(ticket, until);
        Some((ticket, displaced))
    }

    /// Takes out who is next of the class first in line, at `now`. `Err` is one who has waited in vain, to be told;
    /// there may be others.
    pub(super) fn pop(&mut self, now: LocalTime) -> Option<Result<Ticket, Ticket>> {
        let first = self.first()?;
        if self.in_line.remove(&first) {
            return Some(Ok(first));
        }
        let ticket = if self.pressure {
            let same_class = ..=Ticket {
                number: u64::MAX,
                ..first
            };
            let newest = self.briefly.range(same_class).next_back();
            newest.map_or(first, |(ticket, _)| *ticket)
        } else {
            first
        };
        let in_vain = self.briefly.get(&ticket).is_some_and(|until| *until <= now);
        Some(if in_vain {
            self.give_up(ticket);
            Err(ticket)
        } else {
            self.leave(ticket);
            Ok(ticket)
        })
    }

    /// The class that is next.
    pub(super) fn first_class(&self) -> Option<Criticality> {
        self.first().map(|ticket| ticket.class)
    }

    /// Somebody has waited in vain.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        if self.briefly.contains_key(&ticket) {
            self.pressure = true;
            self.leave(ticket);
        }
        self.in_line.remove(&ticket);
    }

    /// Somebody does not wait any more.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.in_line.remove(&ticket);
        self.briefly.remove(&ticket);
        self.pressure &= !self.briefly.is_empty();
    }

    /// Who has waited longest of the most critical class.
    fn first(&self) -> Option<Ticket> {
        let brief = self.briefly.keys().next();
        self.in_line.first().into_iter().chain(brief).min().copied()
    }

    fn oldest_of_the_least_critical(&self) -> Option<Ticket> {
        let (last, _) = self.briefly.last_key_value()?;
        let same_class = Ticket { number: 0, ..*last }..;
        self.briefly
            .range(same_class)
            .next()
            .map(|(ticket, _)| *ticket)
    }

    fn ticket(&mut self, class: Criticality) -> Ticket {
        let number = self.next;
        self.next += 1;
        Ticket { class, number }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;
    use crate::Criticality::{Bulk, Critical, Default as Ordinary, Sheddable};

    const SOON: LocalTime = LocalTime::from_nanos(10);

    /// Joins the micro-queue with room for `room`, which nobody has to give up.
    fn brief(line: &mut Line, class: Criticality, room: u32) -> Ticket {
        let (ticket, displaced) = line.join_briefly(class, SOON, room).unwrap();
        assert_eq!(displaced, None);
        ticket
    }

    /// Everybody, in the order in which they would be served at `now`.
    fn served(line: &mut Line, now: LocalTime) -> Vec<Ticket> {
        let mut order = Vec::new();
        while let Some(next) = line.pop(now) {
            order.extend(next.ok());
        }
        order
    }

    #[test]
    fn first_come_first_served_within_a_class_while_there_is_no_pressure() {
        let mut line = Line::default();
        let classes = [Bulk, Ordinary, Critical, Ordinary, Sheddable];
        let [bulk, first, critical, second, sheddable] =
            classes.map(|class| brief(&mut line, class, 9));
        let order = served(&mut line, LocalTime::ZERO);
        assert_eq!(order, [critical, first, second, sheddable, bulk]);
    }

    #[test]
    fn the_newest_of_a_class_goes_first_from_a_wait_in_vain_until_the_queue_is_empty() {
        let mut line = Line::default();
        let tickets = [(); 4].map(|()| brief(&mut line, Ordinary, 9));
        let critical = brief(&mut line, Critical, 9);
        line.give_up(tickets[0]);
        let order = served(&mut line, LocalTime::ZERO);
        assert_eq!(order, [critical, tickets[3], tickets[2], tickets[1]]);
        let calm = [(); 2].map(|()| brief(&mut line, Ordinary, 9));
        assert_eq!(served(&mut line, LocalTime::ZERO), calm);
    }

    #[test]
    fn who_leaves_on_his_own_is_no_pressure() {
        let mut line = Line::default();
        let tickets = [(); 3].map(|()| brief(&mut line, Ordinary, 9));
        line.leave(tickets[0]);
        assert_eq!(served(&mut line, LocalTime::ZERO), tickets[1..]);
    }

    #[test]
    fn whose_time_is_over_is_told_rather_than_served() {
        let mut line = Line::default();
        let late = brief(&mut line, Ordinary, 9);
        let (in_time, _) = line
            .join_briefly(Ordinary, LocalTime::from_nanos(11), 9)
            .unwrap();
        assert_eq!(line.pop(SOON), Some(Err(late)));
        assert_eq!(line.pop(SOON), Some(Ok(in_time)));
        assert_eq!(line.pop(SOON), None);
    }

    #[test]
    fn without_room_the_oldest_of_the_least_critical_gives_way() {
        let mut line = Line::default();
        let [old, new] = [(); 2].map(|()| brief(&mut line, Sheddable, 2));
        assert_eq!(line.join_briefly(Bulk, SOON, 2), None);
        let (newer, displaced) = line.join_briefly(Sheddable, SOON, 2).unwrap();
        assert_eq!(displaced, Some(old));
        let (critical, displaced) = line.join_briefly(Critical, SOON, 2).unwrap();
        assert_eq!(displaced, Some(new));
        assert_eq!(served(&mut line, LocalTime::ZERO), [critical, newer]);
    }

    #[test]
    fn with_room_for_one_pressure_lasts() {
        let mut line = Line::default();
        brief(&mut line, Ordinary, 1);
        let (second, _) = line.join_briefly(Ordinary, SOON, 1).unwrap();
        let third = brief(&mut line, Ordinary, 2);
        assert_eq!(served(&mut line, LocalTime::ZERO), [third, second]);
    }

    #[test]
    fn nobody_waits_where_there_is_no_room_at_all() {
        let mut line = Line::default();
        assert_eq!(line.join_briefly(Critical, SOON, 0), None);
        assert_eq!(line, Line::default());
    }

    #[test]
    fn those_in_line_take_no_room_and_are_overtaken_by_those_who_came_before_alone() {
        let mut line = Line::default();
        let [first, second] = [(); 2].map(|()| line.join(Ordinary));
        let third = brief(&mut line, Ordinary, 1);
        let fourth = line.join(Ordinary);
        let (fifth, displaced) = line.join_briefly(Ordinary, SOON, 1).unwrap();
        assert_eq!(displaced, Some(third));
        let order = served(&mut line, LocalTime::ZERO);
        assert_eq!(order, [first, second, fourth, fifth]);
    }
}
