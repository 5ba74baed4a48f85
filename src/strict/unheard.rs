//! What the store was told and has not confirmed: it goes out again as the message that it was, which the store knows by
//! its number, so that it counts once however often it is sent.
//!
//! ```text
//!   untold, fresh, going back --> message, in hand --> heard: gone, unless some of it was not used
//!                                    |   ^
//!                            unheard v   | the next turn
//!                                  message
//! ```
//! Of a key one message is under way at a time: whoever has it in hand has the key's turn. What is to be booked goes
//! before what goes back, which meanwhile is gathered, many bookings to a message.
//!
//! A limiter that takes over has the messages of the one before as they were, besides its own. Whoever settles then what
//! that one had admitted finds it there.

use crate::key::Key;
use crate::rule::{Carry, Moment, Rule};
use crate::store::redis::rates::{GiveBack, MessageId};
use crate::strict::looked_through::AT_A_TIME;
use crate::strict::spent::Spent;
use crate::strict::untold::Untold;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

mod entry;
mod message;

use self::entry::{Entries, Entry};
use self::message::{Admitted, Message, Says};
pub(super) use self::message::{Sent, What};

/// A limiter's messages to the store.
#[derive(Debug)]
pub(super) struct Unheard {
    sender: AtomicU64,
    next: AtomicU64,
    untold: Arc<Untold>,
    /// The most keys, half of them of which only something goes back, and as many bookings that go back.
    max_keys: usize,
    entries: Mutex<Entries>,
    /// Keys in nobody's hand, to be read without the lock.
    idle: AtomicUsize,
    /// Units that were to go back and for which there was no room.
    kept: AtomicU64,
    successor: OnceLock<(Arc<Self>, Carry)>,
}

impl Unheard {
    /// `sender` is drawn: no two limiters have the same.
    pub(super) fn new(sender: u64, untold: Arc<Untold>, max_keys: usize) -> Self {
        Self {
            // As many as a script can tell from each other.
            sender: AtomicU64::new(sender >> 11),
            next: AtomicU64::new(1),
            entries: Mutex::new(Entries::new(Arc::clone(&untold))),
            untold,
            max_keys,
            idle: AtomicUsize::new(0),
            kept: AtomicU64::new(0),
            successor: OnceLock::new(),
        }
    }

    /// Whether there is anything that nobody is telling.
    pub(super) fn is_left(&self) -> bool {
        self.idle.load(Ordering::Acquire) > 0 || self.untold.keys() > 0
    }

    /// Keys of which the store does not know everything, or has not said so.
    pub(super) fn keys(&self) -> usize {
        self.untold.known()
    }

    /// Units that were to go back and stay booked, since there was no room to remember them.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Keys that nobody is telling of, at most so many.
    pub(super) fn some(&self, most: usize) -> Vec<Key> {
        let entries = self.lock();
        let mut some: Vec<Key> = entries.idle().take(most).collect();
        drop(entries);
        let mut untold = self.untold.some(most - some.len());
        untold.retain(|key| !some.contains(key));
        some.extend(untold);
        some
    }

    /// `units` were booked on `key`: the next message says so.
    pub(super) fn add(&self, key: Key, units: u32, at: Moment) {
        let mut entries = self.lock();
        if self.has_room(&mut entries, key, at) {
            entries.entry(key).fresh += u64::from(units);
            self.count(&entries);
        } else {
            drop(entries);
            self.untold.add(key, units, at);
        }
    }

    /// `what`, of so many units, goes back on `key` with one of the next messages, if there is room to remember it.
    pub(super) fn go_back(&self, key: Key, units: u32, what: GiveBack) {
        let mut entries = self.lock();
        let place = entries.contains(key) || entries.len() < self.max_keys / 2;
        if place && entries.going_back < self.max_keys {
            entries.entry(key).going_back.push(what);
            entries.going_back += 1;
            self.count(&entries);
        } else {
            self.kept.fetch_add(units.into(), Ordering::Relaxed);
        }
    }

    /// The last `units` that were booked on `key` at `at` go back, as [`Self::go_back`].
    pub(super) fn go_back_last(&self, key: Key, units: u32, at: Moment) {
        let last = GiveBack::last(self.each(units.into()), self.untold.rules(), at);
        self.go_back(key, units, last);
    }

    /// `units` of those that were `spent` on `key`, so many at a moment, go back, as [`Self::go_back`]. That is what is left of
    /// them at `at`: of a bucket the store leaves out what has come back since the moment, and is told of that besides.
    pub(super) fn go_back_of(&self, key: Key, units: u32, spent: (u32, Moment), at: Moment) {
        let (rules, (all, moment)) = (self.untold.rules(), spent);
        let spent = Spent::of(rules, &self.each(all.into()), moment);
        let each = rules.iter().zip(spent.outstanding(rules, at));
        let each = each.map(|(rule, left)| match rule {
            Rule::Gcra(_) => u64::from(units) + u64::from(all).saturating_sub(left),
            _ => units.into(),
        });
        self.go_back(key, units, GiveBack::last(each.collect(), rules, moment));
    }

    /// Whether there is a message about `key` that was not heard.
    pub(super) fn has_message(&self, key: Key) -> bool {
        let entries = self.lock();
        let entry = entries.get(key);
        entry.is_some_and(|entry| !entry.messages.is_empty())
    }

    /// Whether all that the store is yet to hear of `key` is what goes back.
    pub(super) fn only_gives_back(&self, key: Key) -> bool {
        let entries = self.lock();
        let gives_back = |entry: &Entry| {
            let mut messages = entry.messages.iter();
            entry.fresh == 0 && messages.all(|message| message.gives_back() > 0)
        };
        entries.get(key).is_none_or(gives_back) && !self.untold.has(key)
    }

    /// Takes the next message about `key` in hand, where nobody else may have one: the one that was not heard, or else
    /// what is to be told. None if that is nothing.
    ///
    /// # Errors
    /// If there is no room for another message.
    pub(super) fn next(&self, key: Key, at: Moment) -> Result<Option<Sent>, NoRoom> {
        let mut guard = self.lock();
        let entries = &mut *guard;
        if !entries.contains(key) && !self.untold.has(key) {
            return Ok(None);
        }
        if !self.has_room(entries, key, at) {
            return Err(NoRoom);
        }
        let entry = entries.entry(key);
        let before = entry.goes_back();
        let again = entry.again(&self.untold, at);
        let sent = again.or_else(|| self.new_message(key, entry, at));
        let after = entry.goes_back();
        entry.in_hand = sent.is_some();
        entries.going_back -= before - after;
        match sent {
            Some(_) => entries.in_hand += 1,
            None => entries.clear(key),
        }
        self.count(entries);
        Ok(sent)
    }

    /// The store has confirmed the message in hand.
    pub(super) fn heard(&self, key: Key, at: Moment) {
        let mut entries = self.lock();
        entries.put_down(key, |entry| {
            let Some(message) = entry.messages.pop_front() else {
                return;
            };
            if let Says::Admitted(Admitted {
                unused: Some(unused),
                ..
            }) = message.says
            {
                let rules = self.untold.rules();
                let units = unused.outstanding(rules, at).collect();
                let last = GiveBack::last(units, rules, at);
                entry.going_back.push(last);
            }
        });
        self.pass_on(&mut entries, key, at);
    }

    /// The message in hand may have been heard or not, or there was none to be made.
    pub(super) fn unheard(&self, key: Key, at: Moment) {
        let mut entries = self.lock();
        entries.put_down(key, |entry| self.leave_fresh(key, entry, at));
        self.pass_on(&mut entries, key, at);
    }

    /// The last `units` that were admitted on `key` without the store were not used after all. How many of them the store
    /// has heard of, or have come back by themselves.
    pub(super) fn give_back(&self, key: Key, units: u32, at: Moment) -> u32 {
        let mut units = self.untold.give_back(key, units, at);
        if units == 0 {
            return 0;
        }
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key) {
            for message in entry.messages.iter_mut().rev() {
                if let Says::Admitted(admitted) = &mut message.says {
                    units = admitted.give_back(units, self.untold.rules(), at);
                }
            }
        }
        // What is not here any more is there already.
        let successor = self.successor.get().filter(|_| units > 0);
        drop(entries);
        successor.map_or(units, |(next, _)| next.give_back(key, units, at))
    }

    /// How many keys [`Self::forget_some`] has to look at.
    pub(super) fn looks(&self) -> usize {
        self.lock().len()
    }

    /// Forgets of the next few keys what nobody is telling and what has come back by itself. How many it has looked at.
    pub(super) fn forget_some(&self, at: Moment) -> usize {
        let mut entries = self.lock();
        entries.forget(AT_A_TIME, at);
        self.count(&entries);
        AT_A_TIME
    }

    /// Leaves everything that was admitted, also what is still in hand, to `next`, under whose rules it counts as `carry`
    /// says. What counts under none of them stays, and so does what goes back: under the rules under which it was booked.
    ///
    /// A few keys at a time: whoever asks meanwhile waits for those.
    pub(super) fn hand_over(&self, next: &Arc<Self>, carry: Carry, at: Moment) {
        let entries = self.lock();
        // Who takes over first is the only one.
        let _ = self.successor.set((Arc::clone(next), carry));
        let mut left = entries.len();
        drop(entries);
        // What comes meanwhile is passed on when it is put down, and is at the end; nor does one that is removed put any but
        // the last in its place.
        while left > 0 {
            let mut entries = self.lock();
            for _ in 0..AT_A_TIME.min(left) {
                left -= 1;
                if let Some(key) = entries.at(left) {
                    self.pass_on(&mut entries, key, at);
                }
            }
        }
    }

    fn new_message(&self, key: Key, entry: &mut Entry, at: Moment) -> Option<Sent> {
        let says = match self.admitted(key, entry, at) {
            Some(admitted) => Says::Admitted(admitted),
            None => Says::GivesBack(entry.some_back(at)?),
        };
        let id = MessageId {
            sender: self.sender.load(Ordering::Relaxed),
            number: self.next.fetch_add(1, Ordering::Relaxed),
            again: false,
        };
        let mut message = Message { id, says };
        let sent = message.sent(&self.untold, at)?;
        message.id.again = true;
        entry.messages.push_back(message);
        Some(sent)
    }

    fn admitted(&self, key: Key, entry: &mut Entry, at: Moment) -> Option<Admitted> {
        let mut units = self.untold.take(key, at);
        let fresh = std::mem::take(&mut entry.fresh);
        if fresh > 0 {
            let units = units.get_or_insert_with(|| self.each(0));
            units.iter_mut().for_each(|units| *units += fresh);
        }
        Some(Admitted {
            spent: Spent::of(self.untold.rules(), &units?, at),
            unused: None,
        })
    }

    /// From now on what was booked just now is what was admitted without the store.
    fn leave_fresh(&self, key: Key, entry: &mut Entry, at: Moment) {
        let fresh = std::mem::take(&mut entry.fresh);
        if fresh > 0 {
            self.untold.add_each(key, &self.each(fresh), at);
        }
    }

    /// Gives a successor, if there is one, what was admitted on `key` and is in nobody's hand.
    fn pass_on(&self, entries: &mut Entries, key: Key, at: Moment) {
        if let Some((next, carry)) = self.successor.get()
            && let Some(entry) = entries.get_mut(key).filter(|it| !it.in_hand)
        {
            // Its ledger has been handed over before.
            self.leave_fresh(key, entry, at);
            let messages = entry.messages.len();
            entry.messages.retain(|message| {
                let Says::Admitted(admitted) = &message.says else {
                    return true;
                };
                let (rules, nexts) = (self.untold.rules(), next.untold.rules());
                let Some(carried) = admitted.carried(rules, carry, nexts, at) else {
                    return true;
                };
                // Both are locked, so that whoever looks for it finds it.
                next.take_over(key, message.id, carried, at);
                false
            });
            if entry.messages.len() < messages {
                // What is told by this one from now on must not overtake it.
                let sender = Key::of(&self.sender.load(Ordering::Relaxed));
                let sender = sender.halves()[0] >> 11;
                self.sender.store(sender, Ordering::Relaxed);
            }
            entries.clear(key);
        }
        self.count(entries);
    }

    fn take_over(&self, key: Key, id: MessageId, admitted: Admitted, at: Moment) {
        let mut entries = self.lock();
        if self.has_room(&mut entries, key, at) {
            let says = Says::Admitted(admitted);
            let entry = entries.entry(key);
            entry.messages.push_back(Message { id, says });
        } else {
            // This may count twice, and never not at all.
            let units = admitted.used(self.untold.rules(), at);
            if units.iter().any(|units| *units > 0) {
                self.untold.add_each(key, &units, at);
            }
        }
        // This one may have been replaced as well: then nobody asks it any more.
        self.pass_on(&mut entries, key, at);
    }

    /// Whether there is an entry for `key`, or room for one: what has come back by itself needs none.
    fn has_room(&self, entries: &mut Entries, key: Key, at: Moment) -> bool {
        if entries.len() < self.max_keys || entries.contains(key) {
            return true;
        }
        entries.forget(AT_A_TIME, at);
        entries.len() < self.max_keys
    }

    fn each(&self, units: u64) -> Box<[u64]> {
        vec![units; self.untold.rules().len()].into()
    }

    fn count(&self, entries: &Entries) {
        let idle = entries.len() - entries.in_hand;
        self.idle.store(idle, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There are more keys of which messages are unheard than are kept.
#[derive(Debug)]
pub(super) struct NoRoom;

#[cfg(test)]
mod tests;
