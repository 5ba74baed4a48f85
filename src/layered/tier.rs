//! The layered tier of one limit: decides from views, and says what to read, to tell and to publish.
//!
//! ```text
//!   decide ----> denied by what is known: final, counts only grow
//!         \----> would fit:  cold, stale, strict, or too far ahead of origin?  Wait (read or flush, then ask again)
//!                            else accepted, and queued for the next flush
//! ```
//!
//! A node may be ahead of origin by its *lead*: a 16th of the room it sees, at least a 32nd of the limit. So a burst
//! over many nodes, each of which sees all of the room, cannot spend it many times.

use crate::decision::{Decision, NO_WAIT, NOT_DRAWN, Verdict};
use crate::key::Key;
use crate::layered::flush::{FlushQueue, Pending};
use crate::layered::hold::Hold;
use crate::layered::link::{Link, RETRY};
use crate::layered::refresh::Need;
use crate::layered::setup::Setup;
use crate::layered::slots::{Placement, Slot, Slots};
use crate::layered::time::Moment;
use crate::layered::window::SlidingWindow;
use crate::limiter::count::Booking;
use crate::rule::View;
use crate::time::LocalTime;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What a caller is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Decided {
        decision: Decision,
        /// Where the cost was counted, if it was.
        hold: Option<Hold>,
    },
    /// Origin is being asked about this key; ask again when it has answered.
    Wait,
}

/// What a tier thinks of a cost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weighed {
    /// It fits, and nothing is booked: to be booked, or not, under the same lock.
    Fits(Fit),
    /// The last word, and nothing is to be booked.
    Said(Decision),
    /// Origin is being asked about this key.
    Wait,
}

/// A cost that fits a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    /// Of a slot; `None` for the overflow cell.
    number: Option<u32>,
    cost: u32,
    view: View,
}

/// What has happened, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Decisions for keys for which there was no room.
    pub(crate) overflowed: u64,
    /// Accepts that origin did not hear of before their windows were over.
    pub(crate) expired: u64,
    /// Counts of other regions for which there was no room.
    pub(crate) unheard: u64,
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |one, other| Self {
            overflowed: one.overflowed + other.overflowed,
            expired: one.expired + other.expired,
            unheard: one.unheard + other.unheard,
        })
    }
}

/// One limit's views, and what is to be done about them.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(super) setup: Setup,
    share: Option<SlidingWindow>,
    pub(super) slots: Slots,
    /// The cell of all keys for which there is no room. Known to this node alone.
    pub(super) overflow: Slot,
    /// Slots to be read.
    pub(super) wanted: VecDeque<u32>,
    /// A slot was added to them since that was last asked.
    wants_more: bool,
    pub(super) flushes: FlushQueue,
    pub(super) publish: VecDeque<Key>,
    /// What other regions used of keys that have no slot here, or in windows that these have not entered.
    pub(super) foreign: HashMap<(Key, u64), u64>,
    /// The window in which what is over was last taken from there.
    pub(super) foreign_swept: u64,
    holders: u64,
    pub(super) tally: Tally,
}

impl Tier {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            setup,
            share: setup.share(),
            slots: Slots::new(setup.room, Placement(setup.seed)),
            overflow: Slot::new(Key::EVERYONE, 0, setup.seed),
            wanted: VecDeque::new(),
            wants_more: false,
            flushes: FlushQueue::default(),
            publish: VecDeque::new(),
            foreign: HashMap::new(),
            foreign_swept: 0,
            holders: setup.seed,
            tally: Tally::default(),
        }
    }

    pub(crate) const fn tally(&self) -> Tally {
        Tally {
            expired: self.tally.expired + self.slots.expired(),
            ..self.tally
        }
    }

    pub(crate) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Whether there was more to ask or to tell since this was last asked.
    #[inline]
    pub(crate) const fn take_growth(&mut self) -> bool {
        self.flushes.take_growth() | std::mem::replace(&mut self.wants_more, false)
    }

    /// When there is something to ask or to tell: [`LocalTime::ZERO`] if at once, [`LocalTime::NEVER`] if nothing.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> LocalTime {
        if self.wanted.is_empty() {
            self.flushes.poll_timeout().unwrap_or(LocalTime::NEVER)
        } else {
            LocalTime::ZERO
        }
    }

    /// Units that were accepted and that origin has not confirmed, of a few slots from `number`; and where to go on.
    #[must_use]
    pub(crate) fn unheard(&mut self, number: u32) -> (u64, Option<u32>) {
        let (numbers, next) = self.slots.numbers_from(number);
        let units = numbers
            .filter_map(|number| self.slots.occupied(number))
            .map(|slot| {
                u64::from(slot.current.unconfirmed()) + u64::from(slot.previous.unconfirmed())
            })
            .sum();
        (units, next)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes()
            + self.foreign.capacity() * size_of::<((Key, u64), u64, u8)>()
            + size_of::<Self>()
    }

    /// Books `cost` on `key` if it fits. A cost of 0 books nothing, waits for nothing and tells how things stand.
    #[inline]
    pub(crate) fn decide(&mut self, key: Key, cost: u32, booking: Booking, now: &Moment) -> Answer {
        match self.weigh(key, cost, now) {
            Weighed::Fits(fit) => {
                let (decision, hold) = self.book(fit, booking, now);
                Answer::Decided {
                    decision,
                    hold: Some(hold),
                }
            }
            Weighed::Said(decision) => Answer::Decided {
                decision,
                hold: None,
            },
            Weighed::Wait => Answer::Wait,
        }
    }

    /// As [`Self::decide`] of what is spent; none if origin is being asked.
    #[inline]
    pub(crate) fn spend(&mut self, key: Key, cost: u32, now: &Moment) -> Option<Decision> {
        match self.weigh(key, cost, now) {
            Weighed::Fits(fit) => Some(self.book(fit, Booking::Spent, now).0),
            Weighed::Said(decision) => Some(decision),
            Weighed::Wait => None,
        }
    }

    /// Says whether `cost` fits, and asks origin if that has to be heard first. Books nothing.
    #[inline]
    pub(crate) fn weigh(&mut self, key: Key, cost: u32, now: &Moment) -> Weighed {
        let window = self.setup.window;
        let limit = window.limit();
        if limit == 0 || cost > limit || cost == 0 {
            return Weighed::Said(self.ask(key, cost, now));
        }
        let number = match self.slots.find(key) {
            Some(number) => number,
            None => match self.admit(key, now) {
                Some(number) => number,
                None => return self.weigh_overflow(cost, now),
            },
        };
        self.turn(number, now);
        let slot = self.slots.at(number);
        let view = window.view(slot, now.shared);
        let room = u64::from(limit - cost);
        let unheard = self.setup.unheard(slot, view.used(), now);
        if view.used().saturating_add(unheard) > room {
            slot.strict.handle_denial(now.local, self.setup.span());
            let wait = self.setup.wait(slot, &view, room, now);
            let mut decision = self.tell(Verdict::Deny, &view, wait);
            // It only shrinks, so it fits.
            decision.remaining = u64::from(decision.remaining).saturating_sub(unheard) as u32;
            return Weighed::Said(decision);
        }
        let view = view.spending(unheard);
        if self.must_wait(number, cost, &view, now) {
            return Weighed::Wait;
        }
        if let Some(wait) = self.beyond_share(self.slots.seen(number), cost, now) {
            let decision = self.tell(Verdict::Deny, &view, wait);
            return Weighed::Said(decision);
        }
        Weighed::Fits(Fit {
            number: Some(number),
            cost,
            view,
        })
    }

    /// Counts what fits.
    #[inline]
    pub(crate) fn book(&mut self, fit: Fit, booking: Booking, now: &Moment) -> (Decision, Hold) {
        let Fit { number, cost, view } = fit;
        let slot = match number {
            Some(number) => self.slots.at(number),
            None => &mut self.overflow,
        };
        let hold = Hold {
            sequence: slot.sequence,
            holder: slot.holder,
        };
        slot.strict.handle_allowed();
        let view = view.spending(u64::from(cost));
        match (booking, number) {
            (Booking::Kept, _) => slot.current.reserve(cost),
            (Booking::Spent, None) => slot.current.accept(cost),
            (Booking::Spent, Some(number)) => {
                slot.current.accept(cost);
                self.flush_soon(number, view.used(), now);
            }
        }
        (self.tell(Verdict::Allow, &view, NO_WAIT), hold)
    }

    /// What would be said to `cost` from what is known here. Books nothing and asks nobody.
    pub(crate) fn ask(&self, key: Key, cost: u32, now: &Moment) -> Decision {
        let window = &self.setup.window;
        let limit = window.limit();
        let present = window.sequence(now.shared);
        let view = match self.slots.get(key) {
            Some(slot) if slot.sequence <= present + 1 => window.view(slot, now.shared),
            _ => window.view_of(present, [0, 0], now.shared),
        };
        if limit == 0 {
            self.tell(Verdict::Deny, &view, NO_WAIT)
        } else if cost > limit {
            self.tell(Verdict::TooLarge, &view, NO_WAIT)
        } else if cost > 0 && view.used() > u64::from(limit - cost) {
            self.tell(Verdict::Deny, &view, view.wait(u64::from(limit - cost)))
        } else {
            self.tell(Verdict::Allow, &view, NO_WAIT)
        }
    }

    /// Something was accepted on a slot, of which `used` is used now.
    #[inline]
    pub(super) fn flush_soon(&mut self, number: u32, used: u64, now: &Moment) {
        let slot = self.slots.at(number);
        if slot.pending == Pending::NOTHING {
            let due = now.local.saturating_add(self.setup.flush_after);
            self.flushes.push(number, &mut slot.pending, due);
        }
        let plenty = self.setup.plenty(used);
        if now.link == Link::Up
            && slot.current.unsent() >= plenty
            && !slot.freshness.has_failed(now.local)
        {
            self.flushes.push_at_once(number, &mut slot.pending);
        }
    }

    /// Whether what would fit must hear from origin first, and asks for that.
    #[inline]
    fn must_wait(&mut self, number: u32, cost: u32, view: &View, now: &Moment) -> bool {
        let limit = u64::from(self.setup.window.limit());
        let used = view.used();
        let slot = self.slots.at(number);
        if slot.freshness.has_failed(now.local) {
            return false;
        }
        let calm = used + u64::from(cost) <= limit / 2;
        let mut need = slot.freshness.need(now.local, calm);
        let age = now.nanos_since(slot.freshness.synced_at());
        // Younger than its lag nothing can be.
        if need != Need::Wait && age > self.setup.lag(now) && slot.strict.affords_read() {
            // It fits, so the sum is not above.
            let room = limit - (used + u64::from(cost));
            let close = self.setup.window.may_have_used_more(room, view, age);
            if close || slot.strict.is_on(now.local) {
                slot.strict.pay();
                need = Need::Wait;
            }
        }
        if need != Need::Nothing && slot.freshness.begin_read() {
            self.wanted.push_back(number);
            self.wants_more = true;
        }
        let unconfirmed = u64::from(slot.current.unconfirmed());
        let room = limit.saturating_sub(used.saturating_sub(unconfirmed));
        let lead = (room / 16).max(limit / 32);
        let ahead = unconfirmed > 0 && unconfirmed + u64::from(cost) > lead;
        // An answer that takes longer than a window says nothing of the one in which it comes.
        if now.link != Link::Up || now.round_trip >= self.setup.span() {
            return false;
        }
        if ahead {
            self.flushes.push_at_once(number, &mut slot.pending);
        }
        ahead || need == Need::Wait
    }

    /// While origin is away: the wait of who would exceed this node's share, if it has one.
    #[inline]
    fn beyond_share(&self, slot: &Slot, cost: u32, now: &Moment) -> Option<u64> {
        let share = self.share.filter(|_| now.link == Link::Away)?;
        let own = [&slot.current, &slot.previous].map(|cell| u64::from(cell.unconfirmed()));
        let own = share.view_of(slot.sequence, own, now.shared);
        match share.limit().checked_sub(cost) {
            Some(room) if own.used() <= u64::from(room) => None,
            Some(room) => Some(own.wait(u64::from(room))),
            None => Some(RETRY.as_nanos() as u64),
        }
    }

    /// A slot for a key that has none.
    pub(super) fn admit(&mut self, key: Key, now: &Moment) -> Option<u32> {
        self.holders = self.holders.wrapping_add(1);
        let present = self.setup.window.sequence(now.shared);
        let mut slot = Slot::new(key, present, self.holders);
        recall(&self.foreign, &mut slot);
        self.slots.insert(slot, now.local)
    }

    /// Brings a slot into the present window.
    #[inline]
    pub(super) fn turn(&mut self, number: u32, now: &Moment) {
        let window = self.setup.window;
        if !window.is_in(self.slots.at(number).sequence, now.shared) {
            self.roll_over(number, window.sequence(now.shared), now);
        }
    }

    fn roll_over(&mut self, number: u32, present: u64, now: &Moment) {
        let elapsed = self.setup.window.elapsed(now.shared);
        let begun = now.local.saturating_sub(Duration::from_nanos(elapsed));
        let grace = self.setup.grace();
        let slot = self.slots.at(number);
        let jitter = Key::of(&(slot.key, present, self.setup.seed)).halves()[0] >> 34;
        // At most a second times at most 2^30.
        let jitter = Duration::from_nanos((grace.as_nanos() as u64 * jitter) >> 30);
        let refresh_at = begun.saturating_add(grace).saturating_add(jitter);
        let before = slot.sequence;
        self.tally.expired += slot.turn(present, refresh_at);
        recall(&self.foreign, slot);
        if slot.sequence < before {
            // These cells may have been told of before.
            self.holders = self.holders.wrapping_add(1);
            slot.holder = self.holders;
        }
    }

    /// Weighs for a key without a slot, on the cell that all of them share.
    #[cold]
    fn weigh_overflow(&mut self, cost: u32, now: &Moment) -> Weighed {
        self.tally.overflowed += 1;
        let window = self.setup.window;
        self.overflow.roll(window.sequence(now.shared));
        let view = window.view(&self.overflow, now.shared);
        let room = u64::from(window.limit() - cost);
        if view.used() > room {
            return Weighed::Said(self.tell(Verdict::Deny, &view, view.wait(room)));
        }
        if let Some(wait) = self.beyond_share(&self.overflow, cost, now) {
            return Weighed::Said(self.tell(Verdict::Deny, &view, wait));
        }
        Weighed::Fits(Fit {
            number: None,
            cost,
            view,
        })
    }

    #[inline]
    fn tell(&self, outcome: Verdict, view: &View, retry_after_nanos: u64) -> Decision {
        let limit = self.setup.window.limit();
        Decision {
            outcome,
            limit,
            // At most `limit`, so it fits.
            remaining: u64::from(limit).saturating_sub(view.used()) as u32,
            chance: NOT_DRAWN,
            retry_after_nanos,
            reset_after_nanos: view.wait(0),
            policy: self.setup.policy,
        }
    }
}

/// Tells a slot what other regions used of it, as far as that was heard before it was in its window.
pub(super) fn recall(foreign: &HashMap<(Key, u64), u64>, slot: &mut Slot) {
    if foreign.is_empty() {
        return;
    }
    let (key, present) = (slot.key, slot.sequence);
    let before = present.saturating_sub(1);
    for (sequence, cell) in [(present, &mut slot.current), (before, &mut slot.previous)] {
        if let Some(used) = foreign.get(&(key, sequence)) {
            cell.handle_import(0, *used);
        }
    }
}
