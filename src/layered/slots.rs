//! The keys that a node has a view of: at most so many, and which may go for a new one.
//!
//! Whatever goes is known to origin, so forgetting costs a read when the key comes back and nothing else; or its windows
//! are over, and what origin has not heard of them is of no use to anybody: it is counted. A slot with accepts that
//! still count and that origin has not confirmed never goes.

use crate::key::Key;
use crate::layered::cell::Cell;
use crate::layered::flush::Pending;
use crate::layered::load::MOST_STEPS;
use crate::layered::refresh::Freshness;
use crate::layered::strict_mode::StrictMode;
use crate::time::LocalTime;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

/// One key: its two cells, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) sequence: u64,
    pub(crate) current: Cell,
    pub(crate) previous: Cell,
    pub(crate) freshness: Freshness,
    pub(crate) strict: StrictMode,
    /// Under which name origin keeps what this slot tells. A key that was forgotten and came back counts anew, so it
    /// has another.
    pub(crate) holder: u64,
    pub(crate) pending: Pending,
    /// In the queue of what is to be published.
    pub(crate) publishing: bool,
    vacant: bool,
}

impl Slot {
    pub(crate) fn new(key: Key, sequence: u64, holder: u64) -> Self {
        Self {
            key,
            sequence,
            current: Cell::default(),
            previous: Cell::default(),
            freshness: Freshness::COLD,
            strict: StrictMode::NEW,
            holder,
            pending: Pending::NOTHING,
            publishing: false,
            vacant: false,
        }
    }

    /// What the other regions should hear of the window before and of this one. Regions that shared a key in one of the two
    /// share it in the other: what is told only from a good part of the limit on comes too late in each new window.
    pub(crate) const fn poll_publish(&self, limit: u32) -> [Option<u64>; 2] {
        let elsewhere = self.previous.is_used_elsewhere() || self.current.is_used_elsewhere();
        [
            self.previous.poll_publish(limit, elsewhere),
            self.current.poll_publish(limit, elsewhere),
        ]
    }

    /// The cell of `sequence`, if it still matters.
    pub(crate) fn cell(&mut self, sequence: u64) -> Option<&mut Cell> {
        if sequence == self.sequence {
            Some(&mut self.current)
        } else if sequence + 1 == self.sequence {
            Some(&mut self.previous)
        } else {
            None
        }
    }

    /// Goes over to the window of `sequence`, to be read again at `refresh_at`. Answers how many accepts nobody will
    /// hear of any more.
    ///
    /// If the clock was set back by less than a window nothing happens; by more, what origin does not know counts in
    /// the window that it now is.
    pub(crate) fn turn(&mut self, sequence: u64, refresh_at: LocalTime) -> u64 {
        if sequence == self.sequence || sequence + 1 == self.sequence {
            return 0;
        }
        let (adjacent, back) = (sequence == self.sequence + 1, sequence < self.sequence);
        let (current, previous) = (self.current, self.previous);
        self.freshness.handle_rollover(refresh_at, adjacent);
        self.sequence = sequence;
        self.current = Cell::default();
        self.previous = if adjacent { current } else { Cell::default() };
        if back {
            self.current.accept(current.unconfirmed());
            self.current.accept(previous.unconfirmed());
            return 0;
        }
        let kept = if adjacent { current.unconfirmed() } else { 0 };
        u64::from(current.unconfirmed()) + u64::from(previous.unconfirmed()) - u64::from(kept)
    }

    /// Goes over to the window of `sequence`, if it is a later one; what nobody hears of is not counted.
    pub(crate) fn roll(&mut self, sequence: u64) {
        if self.sequence < sequence {
            self.turn(sequence, LocalTime::NEVER);
        }
    }

    /// Whether its windows are over when that of `present` is the current one: nothing in it counts any more.
    const fn is_over(&self, present: u64) -> bool {
        self.sequence + 2 <= present
    }

    /// Whether the key can be forgotten without a loss.
    fn is_settled(&self) -> bool {
        self.current.is_settled()
            && self.previous.is_settled()
            && self.pending == Pending::NOTHING
            && !self.freshness.is_reading()
            && !self.publishing
    }
}

/// How keys are placed: under a secret of the process, so that nobody outside can aim at one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement(pub(crate) u64);

/// A folded multiplication: both halves of a key are hashes already.
#[derive(Debug)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_ne_bytes(padded));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for Placement {
    type Hasher = Fold;

    #[inline]
    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

/// A bounded table of slots, which keep their numbers while they live.
#[derive(Debug)]
pub(crate) struct Slots {
    numbers: HashMap<Key, u32, Placement>,
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    room: usize,
    hand: usize,
    evicted: u64,
    expired: u64,
    /// Slots that were looked at to make room.
    #[cfg(test)]
    looked: usize,
}

impl Slots {
    pub(crate) fn new(room: usize, placement: Placement) -> Self {
        Self {
            numbers: HashMap::with_hasher(placement),
            slots: Vec::new(),
            vacant: Vec::new(),
            room,
            hand: 0,
            evicted: 0,
            expired: 0,
            #[cfg(test)]
            looked: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Keys that were forgotten though their windows were not over.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Accepts of keys that were forgotten after their windows, and that origin did not hear of before.
    pub(crate) const fn expired(&self) -> u64 {
        self.expired
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.numbers.capacity() * size_of::<(Key, u32, u8)>()
            + self.vacant.capacity() * size_of::<u32>()
    }

    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        self.numbers.get(&key).copied()
    }

    #[inline]
    pub(crate) fn at(&mut self, number: u32) -> &mut Slot {
        &mut self.slots[number as usize]
    }

    #[inline]
    pub(crate) fn seen(&self, number: u32) -> &Slot {
        &self.slots[number as usize]
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Slot> {
        self.find(key).map(|number| &self.slots[number as usize])
    }

    /// The slot of `key`, if it has one and is called `holder` at origin.
    pub(crate) fn held(&mut self, key: Key, holder: u64) -> Option<(u32, &mut Slot)> {
        let number = self.find(key)?;
        let slot = &mut self.slots[number as usize];
        (slot.holder == holder).then_some((number, slot))
    }

    /// A few of the numbers that are or were in use, from `number`; and where to go on.
    pub(crate) fn numbers_from(&self, number: u32) -> (Range<u32>, Option<u32>) {
        let end = self.slots.len() as u32;
        let next = end.min(number + MOST_STEPS as u32);
        (number..next, (next < end).then_some(next))
    }

    /// Puts in a key that has no slot; `None` if nobody can go for it.
    pub(crate) fn insert(&mut self, slot: Slot, now: LocalTime) -> Option<u32> {
        if self.numbers.len() >= self.room && !self.make_room(slot.sequence, now) {
            return None;
        }
        let key = slot.key;
        let number = match self.vacant.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.numbers.insert(key, number);
        Some(number)
    }

    /// Looks at the next few slots, and further only if none of them may go. Those that are over go first, then the
    /// least used that is not being denied.
    fn make_room(&mut self, sequence: u64, now: LocalTime) -> bool {
        for looks in [SWEEP, SEARCH] {
            let mut least: Option<(u64, u32)> = None;
            let mut room = false;
            for _ in 0..looks.min(self.slots.len()) {
                self.hand = (self.hand + 1) % self.slots.len();
                #[cfg(test)]
                {
                    self.looked += 1;
                }
                let slot = &self.slots[self.hand];
                if slot.vacant || slot.freshness.is_reading() {
                    continue;
                }
                if slot.is_over(sequence) {
                    let unheard = [&slot.current, &slot.previous].map(|cell| cell.unconfirmed());
                    self.expired += unheard.map(u64::from).iter().sum::<u64>();
                    self.remove(self.hand as u32);
                    room = true;
                } else if slot.is_settled() && !slot.strict.is_on(now) {
                    let used = slot.current.view();
                    if least.is_none_or(|(least, _)| used < least) {
                        least = Some((used, self.hand as u32));
                    }
                }
            }
            if let Some((_, number)) = least.filter(|_| !room) {
                self.remove(number);
                self.evicted += 1;
                room = true;
            }
            if room {
                return true;
            }
        }
        false
    }

    /// The slot, if a key is in it.
    pub(crate) fn occupied(&self, number: u32) -> Option<&Slot> {
        let slot = &self.slots[number as usize];
        (!slot.vacant).then_some(slot)
    }

    /// Gives back the memory of a table without keys. Nobody may go on with the number of a slot.
    pub(crate) fn free(&mut self) {
        (self.slots, self.vacant, self.hand) = (Vec::new(), Vec::new(), 0);
        self.numbers.shrink_to_fit();
    }

    /// Takes out the key of an occupied slot.
    pub(crate) fn remove(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.vacant = true;
        slot.pending = Pending::NOTHING;
        self.numbers.remove(&slot.key);
        self.vacant.push(number);
    }
}

/// Slots looked at for each new key.
const SWEEP: usize = 8;
/// Slots looked at when nothing in the first look may go.
const SEARCH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(room: usize) -> Slots {
        Slots::new(room, Placement(7))
    }

    fn slot(number: u64, sequence: u64) -> Slot {
        Slot::new(Key::of(&number), sequence, number)
    }

    #[test]
    fn a_slot_takes_200_bytes() {
        assert_eq!(size_of::<Slot>(), 200);
    }

    #[test]
    fn what_is_over_goes_first_and_what_counts_and_origin_does_not_know_never() {
        let now = LocalTime::from_nanos(1);
        let mut slots = slots(3);
        let mut unsettled = slot(0, 4);
        unsettled.current.accept(1);
        slots.insert(unsettled, now).expect("room");
        slots.insert(slot(1, 5), now).expect("room");
        slots.insert(slot(2, 1), now).expect("room");
        slots.insert(slot(3, 5), now).expect("the third is over");
        assert!(slots.find(Key::of(&2u64)).is_none());
        assert_eq!((slots.len(), slots.evicted()), (3, 0));
        slots.insert(slot(4, 5), now).expect("one may go");
        assert_eq!((slots.len(), slots.evicted()), (3, 1));
        assert!(slots.find(Key::of(&0u64)).is_some());
        for number in slots.numbers_from(0).0 {
            slots.at(number).current.accept(1);
        }
        assert_eq!(slots.insert(slot(5, 5), now), None);
    }

    /// As when origin is away for longer than the windows are.
    #[test]
    fn what_is_over_goes_though_origin_never_heard_of_it_and_is_counted() {
        let now = LocalTime::from_nanos(1);
        let mut slots = slots(9);
        for number in 0..9 {
            let mut unheard = slot(number, 5);
            unheard.current.accept(3);
            slots.insert(unheard, now).expect("room");
        }
        assert_eq!(slots.insert(slot(10, 5), now), None);
        assert_eq!(
            slots.insert(slot(10, 6), now),
            None,
            "the window before counts"
        );
        assert_eq!(slots.expired(), 0);
        slots.insert(slot(10, 7), now).expect("all are over");
        assert!(slots.expired() >= 3 && slots.expired().is_multiple_of(3));
        for number in 11..19 {
            slots.insert(slot(number, 7), now).expect("all others are");
        }
        assert_eq!((slots.len(), slots.expired()), (9, 27));
        assert_eq!(slots.evicted(), 0);
    }

    #[test]
    fn a_key_that_is_being_denied_stays_while_another_can_go() {
        let now = LocalTime::from_nanos(1);
        let mut slots = slots(2);
        let mut denied = slot(0, 5);
        let window = std::time::Duration::from_secs(1);
        denied.strict.handle_denial(now, window);
        slots.insert(denied, now).expect("room");
        for number in 1..100 {
            slots
                .insert(slot(number, 5), now)
                .expect("the other may go");
        }
        assert!(slots.find(Key::of(&0u64)).is_some());
    }

    /// Of a flood of new keys, some with accepts that cannot be told, none is kept waiting by the others.
    #[test]
    fn for_a_new_key_few_slots_are_looked_at_whatever_is_in_them() {
        let mut rng = fastrand::Rng::with_seed(7);
        for stuck in [0, 50, 99, 100] {
            let mut slots = slots(768);
            let (mut most, mut refused) = (0, 0);
            for number in 0..20_000 {
                let now = LocalTime::from_nanos(number);
                let mut new = slot(number, number / 5_000);
                new.current.accept(u32::from(rng.u32(..100) < stuck));
                let before = slots.looked;
                refused += u32::from(slots.insert(new, now).is_none());
                most = most.max(slots.looked - before);
            }
            assert!((1..=72).contains(&most), "{most} at {stuck} %");
            assert_eq!(refused > 0, stuck == 100 || refused > 10_000, "{refused}");
            assert_eq!(slots.slots.len(), 768);
        }
    }

    #[test]
    fn a_holder_that_was_forgotten_is_not_the_one_that_came_back() {
        let mut slots = slots(1);
        let now = LocalTime::from_nanos(1);
        slots.insert(slot(1, 5), now).expect("room");
        assert!(slots.held(Key::of(&1u64), 1).is_some());
        assert!(slots.held(Key::of(&1u64), 2).is_none());
    }
}
