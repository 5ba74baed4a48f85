//! What the store was told and has not confirmed: it goes out again as the message that it was, which the store knows by
//! its number, so that it counts once however often it is sent.
//!
//! ```text
//!   untold, fresh --> message, in hand --> heard: gone, unless some of it is to be taken back
//!                          |   ^
//!                  unheard v   | the next turn
//!                        message
//! ```
//! Of a key one message is under way at a time: whoever has it in hand has the key's turn.

use crate::key::Key;
use crate::rule::{Carry, Moment};
use crate::store::redis::rates::MessageId;
use crate::strict::untold::Untold;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A limiter's messages to the store.
#[derive(Debug)]
pub(super) struct Unheard {
    sender: AtomicU64,
    next: AtomicU64,
    untold: Arc<Untold>,
    max_keys: usize,
    entries: Mutex<Entries>,
    /// Keys in nobody's hand, to be read without the lock.
    idle: AtomicUsize,
    successor: OnceLock<(Arc<Self>, Carry)>,
}

#[derive(Debug, Default)]
struct Entries {
    keys: HashMap<Key, Entry>,
    in_hand: usize,
}

#[derive(Debug, Default)]
struct Entry {
    message: Option<Message>,
    /// Units that were booked just now under every rule: as they are in the next message.
    fresh: u64,
    in_hand: bool,
}

#[derive(Debug)]
struct Message {
    id: MessageId,
    what: What,
    /// Of the limiter's own rules: what has come back by itself need not be told.
    state: Box<[u64]>,
    /// The same of what turned out to have been counted otherwise.
    take_back: Option<Box<[u64]>>,
}

/// What a message says of its units.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Admitted,
    TakenBack,
}

/// A message as it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: MessageId,
    pub(super) what: What,
    pub(super) units: Box<[u64]>,
}

impl Unheard {
    /// `sender` is drawn: no two limiters have the same.
    pub(super) fn new(sender: u64, untold: Arc<Untold>, max_keys: usize) -> Self {
        Self {
            // As many as a script can tell from each other.
            sender: AtomicU64::new(sender >> 11),
            next: AtomicU64::new(1),
            untold,
            max_keys,
            entries: Mutex::default(),
            idle: AtomicUsize::new(0),
            successor: OnceLock::new(),
        }
    }

    /// Whether there is anything that nobody is telling.
    pub(super) fn is_left(&self) -> bool {
        self.idle.load(Ordering::Acquire) > 0 || self.untold.keys() > 0
    }

    /// Keys of which the store does not know everything, or has not said so.
    pub(super) fn keys(&self) -> usize {
        let entries = self.lock();
        self.untold.keys_with(entries.keys.keys())
    }

    /// Keys that nobody is telling of, at most so many.
    pub(super) fn some(&self, most: usize) -> Vec<Key> {
        let entries = self.lock();
        let idle = entries.keys.iter().filter(|(_, entry)| !entry.in_hand);
        let mut some: Vec<Key> = idle.map(|(key, _)| *key).take(most).collect();
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
            entries.keys.entry(key).or_default().fresh += u64::from(units);
            self.count(&entries);
        } else {
            drop(entries);
            self.untold.add(key, units, at);
        }
    }

    /// Whether there is a message about `key` that was not heard.
    pub(super) fn has_message(&self, key: Key) -> bool {
        let entries = self.lock();
        let entry = entries.keys.get(&key);
        entry.is_some_and(|entry| entry.message.is_some())
    }

    /// Takes the next message about `key` in hand, where nobody else may have one: the one that was not heard, or else
    /// all that is to be told. None if that is nothing.
    ///
    /// # Errors
    /// If there is no room for another message.
    pub(super) fn next(&self, key: Key, at: Moment) -> Result<Option<Sent>, NoRoom> {
        let mut entries = self.lock();
        if !self.has_room(&mut entries, key, at) {
            return Err(NoRoom);
        }
        let entry = entries.keys.entry(key).or_default();
        let again = entry.again(&self.untold, at);
        let sent = again.or_else(|| self.new_message(key, entry, at));
        if sent.is_some() {
            entry.in_hand = true;
            entries.in_hand += 1;
        } else {
            entries.keys.remove(&key);
        }
        self.count(&entries);
        Ok(sent)
    }

    /// The store has confirmed the message in hand.
    pub(super) fn heard(&self, key: Key, at: Moment) {
        let mut entries = self.lock();
        entries.put_down(key, |entry| {
            let take_back = entry.message.take().and_then(|message| message.take_back);
            entry.message = take_back.map(|state| Message {
                id: self.id(),
                what: What::TakenBack,
                state,
                take_back: None,
            });
        });
        self.pass_on(entries, at);
    }

    /// The message in hand may have been heard or not, or there was none to be made.
    pub(super) fn unheard(&self, key: Key, at: Moment) {
        let mut entries = self.lock();
        entries.put_down(key, |entry| self.leave_fresh(key, entry, at));
        self.pass_on(entries, at);
    }

    /// The last `units` that were admitted on `key` without the store were not used after all, or it has counted them.
    pub(super) fn give_back(&self, key: Key, units: u32, at: Moment) {
        if self.untold.give_back(key, units, at) {
            return;
        }
        let mut entries = self.lock();
        let entry = entries.keys.get_mut(&key);
        let message = entry.and_then(|entry| entry.message.as_mut());
        if let Some(message) = message.filter(|message| message.what == What::Admitted) {
            let told = self.untold.outstanding(&message.state, at);
            let nothing = || vec![0; message.state.len()].into();
            let take_back = message.take_back.get_or_insert_with(nothing);
            let already = self.untold.outstanding(take_back, at);
            // Never more than was told.
            let left = told.iter().zip(&already);
            let more = left.map(|(told, already)| told.saturating_sub(*already).min(units.into()));
            let more: Vec<u64> = more.collect();
            self.untold.book(take_back, &more, at);
        }
    }

    /// Leaves everything, also what is still in hand, to `next`, under whose rules it counts as `carry` says.
    pub(super) fn hand_over(&self, next: &Arc<Self>, carry: Carry, at: Moment) {
        let entries = self.lock();
        // Who takes over first is the only one.
        if self.successor.set((Arc::clone(next), carry)).is_ok() {
            // What is told by this one from now on must not overtake what is handed over.
            let sender = Key::of(&self.sender.load(Ordering::Relaxed));
            let sender = sender.halves()[0] >> 11;
            self.sender.store(sender, Ordering::Relaxed);
        }
        self.pass_on(entries, at);
    }

    fn new_message(&self, key: Key, entry: &mut Entry, at: Moment) -> Option<Sent> {
        let mut units = self.untold.take(key, at);
        let fresh = std::mem::take(&mut entry.fresh);
        if fresh > 0 {
            let units = units.get_or_insert_with(|| self.each(0));
            units.iter_mut().for_each(|units| *units += fresh);
        }
        let units = units?;
        let (id, what) = (self.id(), What::Admitted);
        let mut state: Box<[u64]> = vec![0; self.untold.words()].into();
        self.untold.book(&mut state, &units, at);
        entry.message = Some(Message {
            id,
            what,
            state,
            take_back: None,
        });
        Some(Sent { id, what, units })
    }

    /// From now on what was booked just now is what was admitted without the store.
    fn leave_fresh(&self, key: Key, entry: &mut Entry, at: Moment) {
        let fresh = std::mem::take(&mut entry.fresh);
        if fresh > 0 {
            self.untold.add_each(key, &self.each(fresh), at);
        }
    }

    /// Gives a successor, if there is one, what is in nobody's hand.
    fn pass_on(&self, mut entries: MutexGuard<'_, Entries>, at: Moment) {
        self.count(&entries);
        let Some((next, carry)) = self.successor.get() else {
            return;
        };
        let idle = entries.keys.extract_if(|_, entry| !entry.in_hand);
        let idle: Vec<(Key, Entry)> = idle.collect();
        self.count(&entries);
        drop(entries);
        for (key, mut entry) in idle {
            // Its ledger has been handed over before.
            self.leave_fresh(key, &mut entry, at);
            if let Some(message) = entry.message {
                next.take_over(key, message, carry, at);
            }
        }
    }

    fn take_over(&self, key: Key, mut message: Message, carry: &Carry, at: Moment) {
        let words = self.untold.words();
        let states = [Some(&mut message.state), message.take_back.as_mut()];
        for state in states.into_iter().flatten() {
            let mut carried = vec![0; words];
            carry.carry(state, &mut carried, at);
            *state = carried.into();
        }
        let mut entries = self.lock();
        let room = self.has_room(&mut entries, key, at);
        let place = room.then(|| entries.keys.entry(key).or_default());
        match place.filter(|entry| entry.message.is_none()) {
            Some(entry) => entry.message = Some(message),
            // Two of one key: this may count twice, and never not at all.
            None if message.what == What::Admitted => {
                let units = self.untold.outstanding(&message.state, at);
                self.untold.add_each(key, &units, at);
            }
            None => {}
        }
        self.count(&entries);
    }

    /// Whether there is an entry for `key`, or room for one: what has come back by itself needs none.
    fn has_room(&self, entries: &mut Entries, key: Key, at: Moment) -> bool {
        let keys = &mut entries.keys;
        if keys.len() < self.max_keys || keys.contains_key(&key) {
            return true;
        }
        keys.retain(|_, entry| {
            let message = entry.message.as_ref();
            let counts = message.is_some_and(|message| message.counts(&self.untold, at));
            entry.in_hand || entry.fresh > 0 || counts
        });
        keys.len() < self.max_keys
    }

    fn each(&self, units: u64) -> Box<[u64]> {
        vec![units; self.untold.rules()].into()
    }

    fn id(&self) -> MessageId {
        MessageId {
            sender: self.sender.load(Ordering::Relaxed),
            number: self.next.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn count(&self, entries: &Entries) {
        let idle = entries.keys.len() - entries.in_hand;
        self.idle.store(idle, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There are more keys of which messages are unheard than are kept.
#[derive(Debug)]
pub(super) struct NoRoom;

impl Entries {
    /// Nobody has it in hand any more; what is left after `change` may be nothing.
    fn put_down(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        if std::mem::take(&mut entry.in_hand) {
            self.in_hand -= 1;
        }
        change(entry);
        if entry.message.is_none() && entry.fresh == 0 {
            self.keys.remove(&key);
        }
    }
}

impl Entry {
    /// The message that was not heard, unless all of it has come back by itself.
    fn again(&mut self, untold: &Untold, at: Moment) -> Option<Sent> {
        self.message = self.message.take().filter(|it| it.counts(untold, at));
        let message = self.message.as_ref()?;
        Some(Sent {
            id: message.id,
            what: message.what,
            units: untold.outstanding(&message.state, at),
        })
    }
}

impl Message {
    fn counts(&self, untold: &Untold, at: Moment) -> bool {
        let units = untold.outstanding(&self.state, at);
        units.iter().any(|units| *units > 0)
    }
}

#[cfg(test)]
mod tests;
