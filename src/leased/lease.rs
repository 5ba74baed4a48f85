//! Units in hand under one rule: booked in the store, spent here, each until its time is over.

use crate::quota::TICKS_PER_NANO;
use crate::rule::{Term, ticks};
use crate::time::LocalTime;

/// Units that were booked together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    pub(super) units: u32,
    /// When the last of them is over, in ticks of [`LocalTime`].
    ends: u64,
    /// By how much earlier each one before is over; 0 where all are over at once.
    interval: u64,
    /// The exchange that brought them.
    pub(super) number: u64,
}

impl Lease {
    /// `units` that were booked after `sent` and keep for `term` from then.
    ///
    /// No clock is read but this process's own: counted from before the store booked them, and by a thousandth less, so
    /// that they are over here before they are there.
    pub(super) fn new(units: u32, term: Term, sent: LocalTime, number: u64) -> Self {
        let (keeps, interval) = match term {
            Term::Window(left) => (ticks(left), 0),
            Term::Slots { lead, interval } => {
                // The last slot's end: a unit is over where its slot begins.
                let slots = interval.saturating_mul(units.into());
                (lead.saturating_add(slots), interval)
            }
        };
        let margin = keeps.div_ceil(DRIFT);
        Self {
            units,
            ends: in_ticks(sent).saturating_add(keeps - margin),
            interval,
            number,
        }
    }

    /// How many may be spent at `now`.
    fn alive(&self, now: LocalTime) -> u32 {
        let left = self.ends.saturating_sub(in_ticks(now));
        match self.interval {
            0 if left > 0 => self.units,
            0 => 0,
            interval => u32::try_from(left / interval).map_or(self.units, |it| it.min(self.units)),
        }
    }

    /// Those of its units that may be spent at `now`, if there are any.
    fn living(self, now: LocalTime) -> Option<Self> {
        let units = self.alive(now);
        (units > 0).then_some(Self { units, ..self })
    }

    /// Units that are over, and may be kept for all that. Those of a window never are.
    const fn late(&self, alive: u32) -> u32 {
        if self.interval == 0 {
            0
        } else {
            self.units - alive
        }
    }

    /// Takes out those that are over first.
    pub(super) fn split(&mut self, units: u32) -> Self {
        let units = units.min(self.units);
        self.units -= units;
        let later = self.interval.saturating_mul(self.units.into());
        Self {
            units,
            ends: self.ends.saturating_sub(later),
            ..*self
        }
    }

    /// Takes out those that keep longest.
    fn split_last(&mut self, units: u32) -> Self {
        let units = units.min(self.units);
        let last = Self { units, ..*self };
        self.units -= units;
        let apart = self.interval.saturating_mul(units.into());
        self.ends = self.ends.saturating_sub(apart);
        last
    }

    /// Whether no slot is between the end of `before` and the first one here. Of windows there is only one at a time.
    const fn follows(&self, before: &Self) -> bool {
        let all = self.interval.saturating_mul(self.units as u64);
        self.interval == 0 || self.ends.saturating_sub(all) <= before.ends
    }

    /// One lease for two, of which `self` was before `later`: under it no unit keeps longer.
    fn merge(self, later: Self) -> Self {
        let apart = self.interval.saturating_mul(later.units.into());
        Self {
            units: self.units.saturating_add(later.units),
            ends: self.ends.saturating_add(apart).min(later.ends),
            ..later
        }
    }
}

/// All leases of a key under one rule, in the order in which they are spent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Hand {
    leases: Vec<Lease>,
    /// What was spent last, so far as it can come back.
    spent: Option<Lease>,
}

impl Hand {
    /// Units that may be spent at `now`, among them up to `late` whose time is over.
    pub(super) fn usable(&self, now: LocalTime, late: u32) -> u32 {
        let (mut alive, mut over) = (0_u32, 0_u32);
        for lease in &self.leases {
            let here = lease.alive(now);
            alive = alive.saturating_add(here);
            over = over.saturating_add(lease.late(here));
        }
        alive.saturating_add(over.min(late))
    }

    /// Until when units are in hand; `None` where they come back one by one, or there are none.
    pub(super) fn window_ends(&self) -> Option<LocalTime> {
        let windows = self.leases.iter().filter(|lease| lease.interval == 0);
        windows
            .map(|lease| LocalTime::from_nanos(lease.ends / TICKS_PER_NANO))
            .min()
    }

    /// Forgets what is over: those come back, or have come back, by themselves.
    pub(super) fn trim(&mut self, now: LocalTime, late: u32) {
        let mut over = 0;
        // The latest are kept, so that what goes is what was over first.
        for lease in self.leases.iter_mut().rev() {
            let alive = lease.alive(now);
            let kept = lease.late(alive).min(late.saturating_sub(over));
            over += kept;
            lease.units = alive + kept;
        }
        self.leases.retain(|lease| lease.units > 0);
    }

    pub(super) fn add(&mut self, lease: Lease) {
        if lease.units == 0 {
            return;
        }
        if self.leases.len() == MOST_LEASES {
            let first = self.leases.remove(0);
            self.leases[0] = first.merge(self.leases[0]);
        }
        let place = self.leases.partition_point(|it| it.ends <= lease.ends);
        self.leases.insert(place, lease);
    }

    /// Takes out `units` to be spent, which are there: first those that are over first. Answers them as one lease.
    pub(super) fn draw(&mut self, units: u32) -> Lease {
        let mut drawn: Option<Lease> = None;
        let mut missing = units;
        for lease in &mut self.leases {
            if missing == 0 {
                break;
            }
            let part = lease.split(missing);
            missing -= part.units;
            drawn = Some(drawn.map_or(part, |drawn| drawn.merge(part)));
        }
        debug_assert_eq!(missing, 0, "they are there");
        self.leases.retain(|lease| lease.units > 0);
        drawn.unwrap_or(Lease {
            units: 0,
            ends: 0,
            interval: 0,
            number: 0,
        })
    }

    /// Remembers what was spent. What was spent before is forgotten where slots of others lie between, so that the last
    /// ones come back as they were.
    pub(super) fn note_spent(&mut self, lease: Lease, now: LocalTime) {
        if lease.units == 0 {
            return;
        }
        let before = self.spent.and_then(|spent| spent.living(now));
        self.spent = Some(match before {
            Some(before) if lease.ends < before.ends && before.follows(&lease) => {
                lease.merge(before)
            }
            Some(before) if lease.ends >= before.ends && lease.follows(&before) => {
                before.merge(lease)
            }
            _ => lease,
        });
    }

    /// Puts up to `units` back that were spent last, and answers how many. What is over has come back by itself.
    pub(super) fn take_back(&mut self, units: u32, now: LocalTime) -> u32 {
        let Some(mut spent) = self.spent.and_then(|spent| spent.living(now)) else {
            return 0;
        };
        let back = spent.split_last(units);
        self.spent = (spent.units > 0).then_some(spent);
        self.add(back);
        back.units
    }

    /// Moves up to `units` that keep longest to another hand. Answers how many there were.
    pub(super) fn move_last(&mut self, units: u32, now: LocalTime, to: &mut Self) -> u32 {
        self.trim(now, 0);
        let mut moved = 0;
        for lease in self.leases.iter_mut().rev() {
            let last = lease.split_last(units - moved);
            moved += last.units;
            to.add(last);
        }
        self.leases.retain(|lease| lease.units > 0);
        moved
    }

    /// Takes out up to `units` for the store, which takes them back from a window that goes on, or from the end of the
    /// bucket: then they must be of the exchange `last`.
    pub(super) fn give(&mut self, units: u32, last: Option<u64>, now: LocalTime) -> u32 {
        self.trim(now, 0);
        let mut given = 0;
        for lease in self.leases.iter_mut().rev() {
            if lease.interval == 0 {
                let part = lease.units.min(units - given);
                lease.units -= part;
                given += part;
            } else if last == Some(lease.number) {
                let part = lease.units.min(units - given);
                lease.units -= part;
                lease.ends = lease.ends.saturating_sub(lease.interval * u64::from(part));
                given += part;
            }
        }
        self.leases.retain(|lease| lease.units > 0);
        given
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.leases.clear();
    }
}

fn in_ticks(at: LocalTime) -> u64 {
    at.as_nanos().saturating_mul(TICKS_PER_NANO)
}

/// Two clocks differ by less than one part in so many: ten times what crystals drift.
const DRIFT: u64 = 1_000;
const MOST_LEASES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const fn at(millis: u64) -> LocalTime {
        LocalTime::from_nanos(millis * 1_000_000)
    }

    fn slots(units: u32, lead: u64, sent: u64, number: u64) -> Lease {
        let millis = |millis: u64| ticks(Duration::from_millis(millis));
        let (lead, interval) = (millis(lead), millis(10));
        Lease::new(units, Term::Slots { lead, interval }, at(sent), number)
    }

    fn window(units: u32, left: u64, sent: u64) -> Lease {
        let left = Duration::from_millis(left);
        Lease::new(units, Term::Window(left), at(sent), 1)
    }

    fn hand(leases: &[Lease]) -> Hand {
        let mut hand = Hand::default();
        leases.iter().for_each(|lease| hand.add(*lease));
        hand
    }

    #[test]
    fn a_window_is_over_at_once_and_a_little_before_the_stores() {
        let hand = hand(&[window(5, 1_000, 100)]);
        assert_eq!(hand.usable(at(1_098), 0), 5);
        assert_eq!(hand.usable(at(1_099), 0), 0);
        assert_eq!(hand.window_ends(), Some(at(1_099)));
    }

    #[test]
    fn in_a_bucket_each_unit_is_over_when_it_begins_to_come_back() {
        let hand = hand(&[slots(5, 100, 1_000, 1)]);
        // A thousandth of 150 ms less.
        for (now, usable) in [(1_099, 5), (1_100, 4), (1_109, 4), (1_139, 1), (1_140, 0)] {
            assert_eq!(hand.usable(at(now), 0), usable, "{now}");
        }
        assert_eq!(hand.usable(at(1_120), 0), 2);
        assert_eq!(hand.usable(at(1_120), 1), 3);
        assert_eq!(hand.usable(at(1_120), 9), 5);
    }

    #[test]
    fn what_is_over_first_is_spent_first_and_the_others_keep_as_long() {
        let mut hand = hand(&[slots(5, 100, 1_000, 1)]);
        let drawn = hand.draw(2);
        assert_eq!(hand.usable(at(1_119), 0), 3);
        assert_eq!(hand.usable(at(1_120), 0), 2);
        // They come back as if they had never been drawn.
        hand.add(drawn);
        assert_eq!(hand.usable(at(1_099), 0), 5);
        assert_eq!(hand.usable(at(1_100), 0), 4);
    }

    #[test]
    fn of_what_is_late_no_more_is_kept_than_is_allowed() {
        let mut hand = hand(&[slots(5, 100, 1_000, 1), slots(5, 150, 1_000, 2)]);
        hand.trim(at(1_160), 2);
        assert_eq!(hand.usable(at(1_160), 9), 5);
        assert_eq!(hand.usable(at(5_000), 2), 2);
        hand.trim(at(1_160), 0);
        assert_eq!(hand.usable(at(1_160), 9), 3);
    }

    #[test]
    fn only_the_end_of_the_bucket_can_be_given_back() {
        let two = [slots(5, 100, 1_000, 1), slots(5, 150, 1_000, 2)];
        let mut hand = hand(&two);
        assert_eq!(hand.give(9, Some(3), at(1_000)), 0);
        assert_eq!(hand.give(2, Some(2), at(1_000)), 2);
        assert_eq!(hand.usable(at(1_169), 0), 1);
        assert_eq!(hand.usable(at(1_170), 0), 0);
        assert_eq!(hand.give(9, Some(2), at(1_000)), 3);
        assert_eq!(hand.give(9, None, at(1_000)), 0);
        assert_eq!(hand.usable(at(1_000), 0), 5);
    }

    #[test]
    fn what_was_spent_last_comes_back_as_it_was_while_it_keeps() {
        let mut hand = hand(&[slots(5, 100, 1_000, 1), slots(5, 300, 1_000, 2)]);
        for units in [2, 3, 2, 1] {
            let spent = hand.draw(units);
            hand.note_spent(spent, at(1_000));
        }
        // Slots of others lie between the first five and the last: so only those of the latter come back.
        assert_eq!(hand.take_back(9, at(1_000)), 3);
        assert_eq!(hand.take_back(9, at(1_000)), 0);
        assert_eq!(hand.usable(at(1_000), 0), 5);
        assert_eq!(hand.usable(at(1_299), 0), 5);
        assert_eq!(hand.usable(at(1_300), 0), 4);
        let spent = hand.draw(5);
        hand.note_spent(spent, at(1_300));
        assert_eq!(hand.take_back(2, at(1_320)), 2);
        assert_eq!(hand.usable(at(1_329), 0), 2);
        assert_eq!(hand.take_back(9, at(1_320)), 0, "three are over");
        let mut hand = Hand::default();
        for sent in [0, 3] {
            hand.note_spent(window(5, 1_000, sent), at(sent));
        }
        assert_eq!(hand.take_back(7, at(900)), 7);
        assert_eq!(hand.take_back(7, at(1_100)), 0, "the window is over");
        hand.note_spent(window(4, 1_000, 1_200), at(1_200));
        assert_eq!(hand.take_back(7, at(1_200)), 4);
    }

    /// However leases are merged, never is more usable than of each by itself.
    #[test]
    fn many_leases_become_few_and_nothing_keeps_longer() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let leases: Vec<Lease> = (0..rng.u64(1..12))
                .map(|number| slots(rng.u32(1..9), rng.u64(0..300), rng.u64(900..1_100), number))
                .collect();
            let mut hand = hand(&leases);
            assert!(hand.leases.len() <= MOST_LEASES);
            for now in (900..1_600).step_by(7) {
                let each: u32 = leases.iter().map(|lease| lease.alive(at(now))).sum();
                assert!(hand.usable(at(now), 0) <= each);
            }
            let units = hand.usable(at(0), 0);
            assert_eq!(units, leases.iter().map(|lease| lease.units).sum::<u32>());
            let drawn = hand.draw(units);
            assert!(hand.is_empty());
            for now in (900..1_600).step_by(7) {
                let each: u32 = leases.iter().map(|lease| lease.alive(at(now))).sum();
                assert!(drawn.alive(at(now)) <= each);
            }
        }
    }
}
