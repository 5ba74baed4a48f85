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
use crate::layered::flush::FlushQueue;
use crate::layered::hold::{Booking, Hold};
use crate::layered::link::{Link, RETRY};
use crate::layered::refresh::Need;
use crate::layered::setup::Setup;
use crate::layered::slots::{Placement, Slot, Slots};
use crate::layered::time::Moment;
use crate::layered::views::{Views, part_of};
use crate::layered::window::{Place, SlidingWindow};
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
    views: Views,
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
    pub(super) flushes: FlushQueue,
    pub(super) publish: VecDeque<Key>,
    /// What other regions used of keys that have no slot here.
    pub(super) foreign: HashMap<(Key, u64), u64>,
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
            flushes: FlushQueue::default(),
            publish: VecDeque::new(),
            foreign: HashMap::new(),
            holders: setup.seed,
            tally: Tally::default(),
        }
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) const fn slots(&self) -> &Slots {
        &self.slots
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

    /// Units that were accepted and that origin has not confirmed.
    pub(crate) fn unheard(&mut self) -> u64 {
        let slots = self.slots.numbers();
        slots
            .map(|number| {
                let slot = self.slots.at(number);
                u64::from(slot.current.unconfirmed()) + u64::from(slot.previous.unconfirmed())
            })
            .sum()
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

    /// Says whether `cost` fits, and asks origin if that has to be heard first. Books nothing.
    #[inline]
    pub(crate) fn weigh(&mut self, key: Key, cost: u32, now: &Moment) -> Weighed {
        let window = self.setup.window;
        let limit = window.limit();
        let place = window.place(now.shared);
        if limit == 0 || cost > limit || cost == 0 {
            return Weighed::Said(self.ask(key, cost, now));
        }
        let number = match self.slots.find(key) {
            Some(number) => number,
            None => match self.admit(key, place, now) {
                Some(number) => number,
                None => return self.weigh_overflow(cost, place),
            },
        };
        self.turn(number, place, now);
        let slot = self.slots.at(number);
        let age = now.local.since(slot.freshness.synced_at());
        let mut views = Views::of(slot, place);
        let mut used = views.used(&window);
        if now.link == Link::Up && used + used / 8 > u64::from(limit) {
            // Close to the limit it matters what the other nodes use while nobody hears of it.
            let age = age.min(self.setup.flush_after + now.round_trip);
            let unheard = part_of(slot.previous.others(), age, window.nanos());
            views.current = views.current.saturating_add(unheard);
            used = used.saturating_add(unheard);
        }
        let after = used.saturating_add(u64::from(cost));
        if after > u64::from(limit) {
            slot.strict.handle_denial(now.local, self.setup.span());
            let decision = self.tell(Verdict::Deny, views, views.wait(&window, cost));
            return Weighed::Said(decision);
        }
        if self.must_wait(number, cost, views, now) {
            return Weighed::Wait;
        }
        if now.link == Link::Away
            && let Some(wait) = self.beyond_share(number, cost, views.elapsed)
        {
            let decision = self.tell(Verdict::Deny, views, wait);
            return Weighed::Said(decision);
        }
        Weighed::Fits(Fit {
            number: Some(number),
            cost,
            views,
        })
    }

    /// Counts what fits.
    #[inline]
    pub(crate) fn book(&mut self, fit: Fit, booking: Booking, now: &Moment) -> (Decision, Hold) {
        let Fit {
            number,
            cost,
            views,
        } = fit;
        let slot = match number {
            Some(number) => self.slots.at(number),
            None => &mut self.overflow,
        };
        let hold = Hold {
            sequence: slot.sequence,
            holder: slot.holder,
        };
        slot.strict.handle_allowed();
        let views = views.after(cost);
        match (booking, number) {
            (Booking::Reserve, _) => slot.current.reserve(cost),
            (Booking::Accept, None) => slot.current.accept(cost),
            (Booking::Accept, Some(number)) => {
                slot.current.accept(cost);
                self.flush_soon(number, views.used(&self.setup.window), now);
            }
        }
        (self.tell(Verdict::Allow, views, NO_WAIT), hold)
    }

    /// What would be said to `cost` from what is known here. Books nothing and asks nobody.
    pub(crate) fn ask(&self, key: Key, cost: u32, now: &Moment) -> Decision {
        let window = &self.setup.window;
        let limit = window.limit();
        let place = window.place(now.shared);
        let views = match self.slots.get(key) {
            Some(slot) if slot.sequence + 1 == place.sequence => Views {
                current: 0,
                previous: slot.current.view(),
                elapsed: place.elapsed,
            },
            // Of this window, or of the next if the clock was set back.
            Some(slot) if [place.sequence, place.sequence + 1].contains(&slot.sequence) => {
                Views::of(slot, place)
            }
            _ => Views {
                current: 0,
                previous: 0,
                elapsed: place.elapsed,
            },
        };
        if limit == 0 {
            self.tell(Verdict::Deny, views, NO_WAIT)
        } else if cost > limit {
            self.tell(Verdict::TooLarge, views, NO_WAIT)
        } else if cost > 0 && views.used(window).saturating_add(u64::from(cost)) > u64::from(limit)
        {
            self.tell(Verdict::Deny, views, views.wait(window, cost))
        } else {
            self.tell(Verdict::Allow, views, NO_WAIT)
        }
    }

    /// Something was accepted on a slot, of which `used` is used now.
    #[inline]
    pub(super) fn flush_soon(&mut self, number: u32, used: u64, now: &Moment) {
        let slot = self.slots.at(number);
        let due = now.local.saturating_add(self.setup.flush_after);
        self.flushes.push(number, &mut slot.pending, due);
        if now.link == Link::Up && slot.current.unsent() >= self.setup.plenty(used) {
            self.flushes.push_at_once(number, &mut slot.pending);
        }
    }

    /// Whether what would fit must hear from origin first, and asks for that.
    #[inline]
    fn must_wait(&mut self, number: u32, cost: u32, views: Views, now: &Moment) -> bool {
        let limit = u64::from(self.setup.window.limit());
        let used = views.used(&self.setup.window);
        let slot = self.slots.at(number);
        let calm = used + u64::from(cost) <= limit / 2;
        let mut need = slot.freshness.need(now.local, calm);
        let age = now.local.since(slot.freshness.synced_at());
        // Younger than this nothing can be.
        let lag = self.setup.flush_after + now.round_trip;
        if need != Need::Wait && age > lag && slot.strict.affords_read() {
            let unseen = views.unseen(used, age, &self.setup.window);
            let close = used + unseen + u64::from(cost) > limit;
            if close || slot.strict.is_on(now.local) {
                slot.strict.pay();
                need = Need::Wait;
            }
        }
        if need != Need::Nothing && slot.freshness.begin_read() {
            self.wanted.push_back(number);
        }
        let unconfirmed = u64::from(slot.current.unconfirmed());
        let room = limit.saturating_sub(used.saturating_sub(unconfirmed));
        let lead = (room / 16).max(limit / 32);
        let ahead = unconfirmed > 0 && unconfirmed + u64::from(cost) > lead;
        if now.link != Link::Up {
            return false;
        }
        if ahead {
            self.flushes.push_at_once(number, &mut slot.pending);
        }
        ahead || need == Need::Wait
    }

    /// While origin is away: the wait of who would exceed this node's share, if it has one.
    fn beyond_share(&mut self, number: u32, cost: u32, elapsed: u64) -> Option<u64> {
        let share = self.share?;
        let slot = self.slots.at(number);
        let own = Views {
            current: u64::from(slot.current.unconfirmed()),
            previous: u64::from(slot.previous.unconfirmed()),
            elapsed,
        };
        if own.used(&share) + u64::from(cost) <= u64::from(share.limit()) {
            return None;
        }
        let never = cost > share.limit();
        Some(if never {
            RETRY.as_nanos() as u64
        } else {
            own.wait(&share, cost)
        })
    }

    /// A slot for a key that has none.
    pub(super) fn admit(&mut self, key: Key, place: Place, now: &Moment) -> Option<u32> {
        self.holders = self.holders.wrapping_add(1);
        let mut slot = Slot::new(key, place.sequence, self.holders);
        let before = place.sequence.saturating_sub(1);
        for (sequence, cell) in [
            (place.sequence, &mut slot.current),
            (before, &mut slot.previous),
        ] {
            if let Some(foreign) = self.foreign.get(&(key, sequence)) {
                cell.handle_import(0, *foreign);
            }
        }
        self.slots.insert(slot, now.local)
    }

    /// Brings a slot into the window of `place`.
    #[inline]
    pub(super) fn turn(&mut self, number: u32, place: Place, now: &Moment) {
        if self.slots.at(number).sequence != place.sequence {
            self.roll_over(number, place, now);
        }
    }

    fn roll_over(&mut self, number: u32, place: Place, now: &Moment) {
        let begun = now
            .local
            .saturating_sub(Duration::from_nanos(place.elapsed));
        let grace = self.setup.grace();
        let slot = self.slots.at(number);
        let jitter = Key::of(&(slot.key, place.sequence, self.setup.seed)).halves()[0] >> 34;
        // At most a second times at most 2^30.
        let jitter = Duration::from_nanos((grace.as_nanos() as u64 * jitter) >> 30);
        let refresh_at = begun.saturating_add(grace).saturating_add(jitter);
        let before = slot.sequence;
        self.tally.expired += slot.turn(place.sequence, refresh_at);
        if slot.sequence < before {
            // These cells may have been told of before.
            self.holders = self.holders.wrapping_add(1);
            slot.holder = self.holders;
        }
    }

    /// Weighs for a key without a slot, on the cell that all of them share.
    #[cold]
    fn weigh_overflow(&mut self, cost: u32, place: Place) -> Weighed {
        self.tally.overflowed += 1;
        self.overflow.roll(place.sequence);
        let window = &self.setup.window;
        let views = Views::of(&self.overflow, place);
        if views.used(window) + u64::from(cost) > u64::from(window.limit()) {
            return Weighed::Said(self.tell(Verdict::Deny, views, views.wait(window, cost)));
        }
        Weighed::Fits(Fit {
            number: None,
            cost,
            views,
        })
    }

    #[inline]
    fn tell(&self, outcome: Verdict, views: Views, retry_after_nanos: u64) -> Decision {
        let window = &self.setup.window;
        let left = u64::from(window.limit()).saturating_sub(views.used(window));
        Decision {
            outcome,
            limit: window.limit(),
            remaining: left as u32,
            chance: NOT_DRAWN,
            retry_after_nanos,
            reset_after_nanos: window.reset(views.current, views.previous, views.elapsed),
            policy: self.setup.policy,
        }
    }
}
