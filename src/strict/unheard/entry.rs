//! What is unheard of one key, and of all of them.

use crate::key::Key;
use crate::rule::Moment;
use crate::store::redis::rates::GiveBack;
use crate::strict::looked_through::LookedThrough;
use crate::strict::unheard::message::{Message, Sent};
use crate::strict::untold::Untold;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Entries {
    keys: LookedThrough<Entry>,
    /// Counts the keys with its own.
    untold: Arc<Untold>,
    pub(super) in_hand: usize,
    /// Bookings that go back, in messages or not.
    pub(super) going_back: usize,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Told one after the other: the first is in hand, or next. Of more than one, all but one were left by limiters before.
    pub(super) messages: VecDeque<Message>,
    /// Units that were booked just now under every rule: as they are in the next message.
    pub(super) fresh: u64,
    /// What goes back with the messages after that.
    pub(super) going_back: Vec<GiveBack>,
    pub(super) in_hand: bool,
}

impl Entries {
    pub(super) fn new(untold: Arc<Untold>) -> Self {
        Self {
            keys: LookedThrough::default(),
            untold,
            in_hand: 0,
            going_back: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry> {
        self.keys.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.keys.get_mut(key)
    }

    pub(super) fn at(&self, place: usize) -> Option<Key> {
        self.keys.at(place)
    }

    /// Keys in nobody's hand.
    pub(super) fn idle(&self) -> impl Iterator<Item = Key> {
        let idle = self.keys.iter().filter(|(_, entry)| !entry.in_hand);
        idle.map(|(key, _)| key)
    }

    pub(super) fn entry(&mut self, key: Key) -> &mut Entry {
        let untold = &self.untold;
        self.keys.get_or_insert_with(key, || {
            untold.begin_unheard(key);
            Entry::default()
        })
    }

    /// Nobody has it in hand any more; what is left after `change` may be nothing.
    pub(super) fn put_down(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.keys.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut entry.in_hand) {
            self.in_hand -= 1;
        }
        self.going_back -= entry.goes_back();
        change(entry);
        self.going_back += entry.goes_back();
        self.clear(key);
    }

    /// Of the next `most` keys what has come back by itself.
    pub(super) fn forget(&mut self, most: usize, at: Moment) {
        let (untold, going_back) = (&self.untold, &mut self.going_back);
        self.keys.look_through(most, |key, entry| {
            if !entry.in_hand {
                let before = entry.goes_back();
                entry.forget(untold, at);
                *going_back -= before - entry.goes_back();
            }
            if entry.is_empty() {
                untold.end_unheard(key);
            }
            !entry.is_empty()
        });
    }

    /// Removes what is empty.
    pub(super) fn clear(&mut self, key: Key) {
        if self.keys.get(key).is_some_and(Entry::is_empty) {
            self.keys.remove(key);
            self.untold.end_unheard(key);
        }
    }
}

impl Entry {
    /// The first message that was not heard, but for those of which all has come back by itself.
    pub(super) fn again(&mut self, untold: &Untold, at: Moment) -> Option<Sent> {
        while let Some(message) = self.messages.front() {
            if let Some(sent) = message.sent(untold, at) {
                return Some(sent);
            }
            self.messages.pop_front();
        }
        None
    }

    /// What is next of that which goes back.
    pub(super) fn some_back(&mut self, at: Moment) -> Option<Arc<[GiveBack]>> {
        self.going_back.retain(|it| !it.is_over(at));
        let most = self.going_back.len().min(A_MESSAGE);
        (most > 0).then(|| self.going_back.drain(..most).collect())
    }

    pub(super) fn forget(&mut self, untold: &Untold, at: Moment) {
        self.messages
            .retain(|message| message.sent(untold, at).is_some());
        self.going_back.retain(|it| !it.is_over(at));
    }

    pub(super) fn goes_back(&self) -> usize {
        let messages = self.messages.iter().map(Message::gives_back);
        self.going_back.len() + messages.sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.fresh == 0 && self.going_back.is_empty() && !self.in_hand
    }
}

/// Bookings that go back with one message: the script takes two or three microseconds for each, so that nobody else waits
/// for it longer than a millisecond, and at 20 ms to the store 12 000 a second go back on one key.
const A_MESSAGE: usize = 256;
