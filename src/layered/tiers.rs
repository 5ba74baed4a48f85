//! All policies of a limiter for one share of its keys: a tier each, asked together under one lock.
//!
//! First all of them weigh a cost, then all book it or none. What one of them denies is denied, for counts only grow;
//! what none denies and some must hear of first waits, and is weighed again by all.

use crate::decision::{Decision, Decisions};
use crate::key::Key;
use crate::layered::hold::Hold;
use crate::layered::setup::Setup;
use crate::layered::tier::{self, Tally, Tier, Weighed};
use crate::layered::time::Moment;
use crate::limiter::count::Booking;
use crate::time::LocalTime;
use std::iter;

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum Answer {
    Decided {
        decisions: Decisions,
        /// Where the cost was counted, if it was.
        holds: Holds,
    },
    /// Origin is being asked about this key; ask again when it has answered.
    Wait,
}

/// Where each of the tiers has counted a cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds {
    first: Option<Hold>,
    more: Box<[Option<Hold>]>,
}

/// The tiers. With one policy nothing is allocated for a decision.
#[derive(Debug)]
pub(crate) struct Tiers {
    first: Tier,
    more: Box<[Tier]>,
    waits: u64,
}

impl Tiers {
    pub(crate) fn new(mut setups: impl Iterator<Item = Setup>) -> Self {
        Self {
            first: Tier::new(setups.next().expect("a limiter has a policy")),
            more: setups.map(Tier::new).collect(),
            waits: 0,
        }
    }

    /// As [`Self::decide`] of what is spent, with the binding decision alone; none if origin is being asked.
    #[inline]
    pub(crate) fn spend(&mut self, key: Key, cost: u32, now: &Moment) -> Option<Decision> {
        if !self.more.is_empty() {
            return match self.decide_together(key, cost, Booking::Spent, now) {
                Answer::Decided { decisions, .. } => Some(*decisions.binding()),
                Answer::Wait => None,
            };
        }
        let told = self.first.spend(key, cost, now);
        self.waits += u64::from(told.is_none());
        told
    }

    /// Books `cost` on `key` with all policies, if it fits all of them.
    #[inline]
    pub(crate) fn decide(&mut self, key: Key, cost: u32, booking: Booking, now: &Moment) -> Answer {
        if !self.more.is_empty() {
            return self.decide_together(key, cost, booking, now);
        }
        match self.first.decide(key, cost, booking, now) {
            tier::Answer::Decided { decision, hold } => Answer::Decided {
                decisions: decision.into(),
                holds: hold.into(),
            },
            tier::Answer::Wait => {
                self.waits += 1;
                Answer::Wait
            }
        }
    }

    fn decide_together(&mut self, key: Key, cost: u32, booking: Booking, now: &Moment) -> Answer {
        let weighed: Vec<Weighed> = self
            .iter_mut()
            .map(|tier| tier.weigh(key, cost, now))
            .collect();
        let mut said = weighed.iter().filter_map(|it| match it {
            Weighed::Said(decision) => Some(decision),
            _ => None,
        });
        // Also what costs nothing is only told.
        let booked = cost > 0 && said.all(Decision::is_allowed);
        if booked && weighed.iter().any(|it| matches!(it, Weighed::Wait)) {
            self.waits += 1;
            return Answer::Wait;
        }
        let mut holds = Vec::with_capacity(weighed.len());
        let decisions = iter::zip(self.iter_mut(), weighed).map(|(tier, weighed)| match weighed {
            Weighed::Said(decision) => decision,
            Weighed::Fits(fit) if booked => {
                let (decision, hold) = tier.book(fit, booking, now);
                holds.push(Some(hold));
                decision
            }
            // How it stands, for nothing was booked.
            _ => tier.ask(key, 0, now),
        });
        let decisions = Decisions::of(decisions.collect());
        Answer::Decided {
            decisions,
            holds: Holds {
                first: holds.first().copied().flatten(),
                more: holds.get(1..).unwrap_or_default().into(),
            },
        }
    }

    /// What would be said to `cost` from what is known here. Books nothing and asks nobody.
    pub(crate) fn ask(&self, key: Key, cost: u32, now: &Moment) -> Decisions {
        let mut each: Vec<Decision> = self.iter().map(|tier| tier.ask(key, cost, now)).collect();
        if !each.iter().all(Decision::is_allowed) {
            for (decision, tier) in iter::zip(&mut each, self.iter()) {
                if decision.is_allowed() {
                    *decision = tier.ask(key, 0, now);
                }
            }
        }
        Decisions::of(each)
    }

    /// What was held for `cost` came to `actual`, with all policies.
    pub(crate) fn settle(&mut self, key: Key, holds: &Holds, cost: u32, actual: u32, now: &Moment) {
        self.first.settle(key, holds.first, cost, actual, now);
        let more = holds.more.iter().copied().chain(iter::repeat(None));
        for (tier, hold) in iter::zip(&mut self.more, more) {
            tier.settle(key, hold, cost, actual, now);
        }
    }

    /// Gives back the `units` that were booked last on `key`, with all policies.
    pub(crate) fn refund(&mut self, key: Key, units: u32, now: &Moment) {
        self.iter_mut()
            .for_each(|tier| tier.refund(key, units, now));
    }

    /// The tier of a policy, counted from 0.
    pub(crate) fn of(&mut self, policy: u8) -> &mut Tier {
        match policy {
            0 => &mut self.first,
            more => &mut self.more[usize::from(more) - 1],
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tier> {
        iter::once(&self.first).chain(&self.more)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tier> {
        iter::once(&mut self.first).chain(&mut self.more)
    }

    /// As [`Tier::poll_timeout`], of all.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> LocalTime {
        let first = self.first.poll_timeout();
        self.more
            .iter()
            .fold(first, |due, tier| due.min(tier.poll_timeout()))
    }

    /// Whether there was more to ask or to tell since this was last asked.
    #[inline]
    pub(crate) fn take_growth(&mut self) -> bool {
        let first = self.first.take_growth();
        let more = self.more.iter_mut();
        more.fold(first, |grew, tier| tier.take_growth() | grew)
    }

    /// Whether there ever was a key without room.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.first.tally().overflowed > 0
            || self.more.iter().any(|tier| tier.tally().overflowed > 0)
    }

    /// Times that a caller was told to wait.
    pub(crate) const fn waits(&self) -> u64 {
        self.waits
    }

    /// What has happened to all, added up.
    pub(crate) fn tally(&self) -> Tally {
        self.iter().map(Tier::tally).sum()
    }
}

impl From<Option<Hold>> for Holds {
    #[inline]
    fn from(first: Option<Hold>) -> Self {
        Self {
            first,
            more: Box::default(),
        }
    }
}

impl Holds {
    /// Where the tier of a policy has, counted from 0.
    pub(crate) fn of(&self, policy: u8) -> Option<Hold> {
        match policy {
            0 => self.first,
            more => self.more.get(usize::from(more) - 1).copied().flatten(),
        }
    }

    /// Whether something was counted.
    pub(crate) const fn any(&self) -> bool {
        self.first.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{PolicyName, Verdict};
    use crate::layered::exchange::Totals;
    use crate::layered::link::{Link, Outage};
    use crate::layered::load::{Load, MOST_STEPS, Progress};
    use crate::layered::slots::{Placement, Slots};
    use crate::layered::window::SlidingWindow;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;
    const KEY: Key = Key::EVERYONE;

    /// 10 a second and 25 an hour.
    fn tiers() -> Tiers {
        let quotas = [("second", 10, SECOND), ("hour", 25, 3_600 * SECOND)];
        let setup = |(number, (name, limit, nanos))| {
            let window = SlidingWindow::new(limit, nanos);
            Setup {
                window,
                policy: PolicyName::new(name).expect("a name"),
                number,
                flush_after: Setup::flush_after(&window),
                outage: Outage::Local,
                global: false,
                room: 9,
                seed: 7,
            }
        };
        Tiers::new((0..).zip(quotas).map(setup))
    }

    fn at(seconds: u64, link: Link) -> Moment {
        let local = seconds * SECOND;
        Moment {
            local: LocalTime::from_nanos(local),
            // In the middle of an hour and of a second.
            shared: (1_800 + 3_600 * 9) * SECOND + SECOND / 2 + local,
            link,
            round_trip: Duration::ZERO,
        }
    }

    fn decide(tiers: &mut Tiers, cost: u32, booking: Booking, now: &Moment) -> (Decisions, Holds) {
        match tiers.decide(KEY, cost, booking, now) {
            Answer::Decided { decisions, holds } => (decisions, holds),
            Answer::Wait => panic!("nobody waits for an origin that is down"),
        }
    }

    fn left(tiers: &Tiers, now: &Moment) -> [u32; 2] {
        let stands = tiers.ask(KEY, 0, now);
        [0, 1].map(|at| stands.each()[at].remaining())
    }

    #[test]
    fn what_one_policy_denies_consumes_nothing_of_the_others() {
        let mut tiers = tiers();
        let now = at(0, Link::Down);
        let (allowed, _) = decide(&mut tiers, 10, Booking::Spent, &now);
        assert!(allowed.is_allowed() && left(&tiers, &now) == [0, 15]);
        assert_eq!(allowed.binding().policy().as_str(), "second");
        for booking in [Booking::Spent, Booking::Kept] {
            let (denied, holds) = decide(&mut tiers, 1, booking, &now);
            assert_eq!(denied.binding().policy().as_str(), "second");
            assert!(denied.binding().retry_after().is_some() && !holds.any());
            assert_eq!(denied.each()[1].outcome(), Verdict::Allow);
            assert_eq!(left(&tiers, &now), [0, 15]);
        }
        // The other way: the hour denies, two seconds later.
        let now = at(2, Link::Down);
        assert!(decide(&mut tiers, 10, Booking::Spent, &now).0.is_allowed());
        let now = at(4, Link::Down);
        let (denied, _) = decide(&mut tiers, 6, Booking::Spent, &now);
        assert_eq!(denied.binding().policy().as_str(), "hour");
        assert_eq!(left(&tiers, &now), [10, 5]);
        let (too_large, _) = decide(&mut tiers, 11, Booking::Spent, &now);
        assert_eq!(too_large.binding().outcome(), Verdict::TooLarge);
        assert_eq!(left(&tiers, &now), [10, 5]);
        assert_eq!(tiers.ask(KEY, 6, &now), denied);
    }

    #[test]
    fn what_is_held_is_held_and_settled_with_all() {
        let mut tiers = tiers();
        let now = at(0, Link::Down);
        let (_, first) = decide(&mut tiers, 6, Booking::Kept, &now);
        let (_, second) = decide(&mut tiers, 4, Booking::Kept, &now);
        assert_eq!(left(&tiers, &now), [0, 15]);
        tiers.settle(KEY, &first, 6, 0, &now);
        tiers.settle(KEY, &second, 4, 3, &now);
        assert_eq!(left(&tiers, &now), [7, 22]);
        let told: Vec<(u8, u32)> = tiers
            .iter_mut()
            .filter_map(|tier| tier.poll_flush(LocalTime::NEVER))
            .flat_map(|lines| lines.into_iter().flatten())
            .map(|line| (line.policy, line.told.accepted))
            .collect();
        assert_eq!(told, [(0, 3), (1, 3)]);
    }

    #[test]
    fn a_cold_key_is_read_for_all_at_once_and_a_denial_waits_for_nobody() {
        let mut tiers = tiers();
        let now = at(0, Link::Up);
        assert!(matches!(
            tiers.decide(KEY, 1, Booking::Spent, &now),
            Answer::Wait
        ));
        assert_eq!(tiers.waits(), 1);
        let lines: Vec<_> = tiers.iter_mut().filter_map(Tier::poll_read).collect();
        assert_eq!(lines.len(), 2);
        let totals = |current| Totals {
            current,
            previous: Some(0),
        };
        // The first is full, the other not heard of yet.
        tiers
            .of(0)
            .handle_read(&lines[0], totals(10), now.local, &now);
        let (denied, _) = decide(&mut tiers, 1, Booking::Spent, &now);
        assert!(!denied.is_allowed());
        let later = at(2, Link::Up);
        assert!(matches!(
            tiers.decide(KEY, 1, Booking::Spent, &later),
            Answer::Wait
        ));
        tiers
            .of(1)
            .handle_read(&lines[1], totals(24), now.local, &later);
        // Two seconds later the first has to be heard of anew.
        let line = tiers.of(0).poll_read().expect("a window was left out");
        tiers
            .of(0)
            .handle_read(&line, totals(0), later.local, &later);
        assert!(decide(&mut tiers, 1, Booking::Spent, &later).0.is_allowed());
        assert_eq!(left(&tiers, &later), [9, 0]);
    }

    #[test]
    fn the_task_takes_a_little_at_a_time_and_misses_nothing() {
        let mut tiers = tiers();
        tiers.iter_mut().for_each(|tier| tier.slots = roomy());
        let now = at(0, Link::Down);
        let key = |number: u32| Key::of(&number);
        for number in 0..700 {
            let answer = tiers.decide(key(number), 1, Booking::Spent, &now);
            assert!(matches!(answer, Answer::Decided { .. }));
        }
        let (mut load, mut reads, mut flushes, mut turns) = (Load::new(), 0, 0, 0);
        loop {
            let progress = tiers.poll_load(&mut load, LocalTime::NEVER);
            assert!(load.reads.len() + load.flushes.len() <= MOST_STEPS);
            (reads, flushes) = (reads + load.reads.len(), flushes + load.flushes.len());
            turns += 1;
            load.reads.clear();
            load.flushes.clear();
            if progress == Progress::Done {
                break;
            }
        }
        assert_eq!((reads, flushes), (1_400, 1_400));
        assert_eq!(turns, 2_800_usize.div_ceil(MOST_STEPS));
        assert_eq!(tiers.poll_timeout(), LocalTime::NEVER);
        // Nor is it long under the lock to count what was not heard, or to publish it all again.
        let (mut units, mut from, mut turns) = (0, Some(0), 0);
        while let Some(number) = from {
            let (some, next) = tiers.of(1).unheard(number);
            assert!(some <= MOST_STEPS as u64);
            (units, from, turns) = (units + some, next, turns + 1);
        }
        assert_eq!((units, turns), (700, 700_usize.div_ceil(MOST_STEPS)));
    }

    fn roomy() -> Slots {
        Slots::new(768, Placement(7))
    }
}
